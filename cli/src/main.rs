//! recto
mod debian;
mod shipped;
fn main() {}
