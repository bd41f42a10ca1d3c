//! Bugs that a test may plant in the protocol, to show that its model or scenario finds them.
//! Owns: which one is planted. Both loom and shuttle run all threads of one test on one real
//! thread, so it is the test's own.

use super::Twin;
use std::cell::Cell;

std::thread_local! {
    static PLANTED: Cell<Option<Twin>> = const { Cell::new(None) };
}

/// Plants a bug in all that this test runs from now on, or takes it back.
pub fn plant(twin: Option<Twin>) {
    PLANTED.set(twin);
}

/// Whether `twin` is planted.
pub fn is_planted(twin: Twin) -> bool {
    PLANTED.get() == Some(twin)
}
