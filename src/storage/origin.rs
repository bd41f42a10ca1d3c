//! Whether this is still the process that opened a store, or one that was forked off it.
//! Owns: [`Origin`]. A forked process has none of the store's threads, and another's locks as they
//! happened to stand; it must neither wait for the ones nor take the others.
//! Absent on purpose: a system call for each question where the kernel can answer without one.

use super::map;
use memmap2::MmapMut;
use std::{hint, process};

/// What the page of the process that made it begins with; zero anywhere else.
const HERE: u8 = 1;

/// The process that made it.
pub struct Origin {
    /// A page that the kernel wipes in a forked process, so that asking is one load.
    page: Option<MmapMut>,
    pid: u32,
}

impl Origin {
    /// This process.
    pub fn here() -> Origin {
        let mut page = map::wiped_by_fork();
        if let Some(page) = &mut page {
            page[0] = HERE;
        }
        Origin { page, pid: process::id() }
    }

    /// Whether the calling process is the one that made it.
    ///
    /// Cost: one load; a system call where the kernel wipes nothing (before Linux 4.14, elsewhere).
    #[inline]
    pub fn is_here(&self) -> bool {
        match &self.page {
            // Behind a black box: no write that a compiler could see changes the byte.
            Some(page) => hint::black_box(page)[0] == HERE,
            None => self.pid == process::id(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another process is made by `tests/fork.rs`; here it is only another number.
    #[test]
    fn without_the_page_the_pid_tells() {
        let by_pid = |pid| Origin { page: None, pid };
        assert!(Origin::here().is_here());
        assert!(by_pid(process::id()).is_here());
        assert!(!by_pid(process::id() + 1).is_here());
    }
}
