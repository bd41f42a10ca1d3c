//! recto
mod debian;
mod shipped;
mod figures;
mod plot;
fn main() {}
