use super::*;
use crate::publish::{Bell, Pin};

#[test]
fn the_example_of_the_protocol() {
    let bell = Arc::new(Bell::new(|| ()));
    let mut reclaimer = Reclaimer::default();
    let (early, lease) = Pin::new(&bell);
    reclaimer.pin(Version(2), Generation(4), lease);
    let (seeing, lease) = Pin::new(&bell);
    reclaimer.pin(Version(5), Generation(7), lease);
    reclaimer.retire("page", Version(3), Generation(8));
    reclaimer.commit();
    let (late, lease) = Pin::new(&bell);
    reclaimer.pin(Version(9), Generation(9), lease);
    let mut out = Vec::new();
    reclaimer.take(&mut out);
    assert!(out.is_empty());
    drop(seeing);
    reclaimer.take(&mut out);
    assert_eq!(out, ["page"]);
    drop((early, late));
}
