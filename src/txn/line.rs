//! The line before a full queue: tasks that wait for room without blocking a thread.
//! Owns: [`Line`]. Blocked threads are not here; they wait inside the channel, and come first.
//! Absent on purpose: room that is kept for a task. Whoever is called tries again like anyone else.

use std::{collections::BTreeMap, mem, task::Waker};

use super::answer::quietly;
use crate::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
    lock,
};

/// The tasks that stand in line for room, in the order in which they came.
///
/// No wake-up is lost: a task joins and then tries again, so room that it did not see is made after
/// it joined, by a receiver that finds it in the line (the channel's lock orders the two). A task
/// that was called and then leaves, with or without having used the room, calls the next one.
#[derive(Default)]
pub struct Line {
    /// How many wait to be called; read without the lock by a receiver that has just made room.
    waiting_len: AtomicUsize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last_place: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl Line {
    /// Stands in line, or stays there, at its old `place` if it has one.
    pub fn join(&self, place: &mut Option<u64>, waker: Waker) {
        let mut waiting = lock(&self.waiting);
        let place = *place.get_or_insert_with(|| {
            waiting.last_place += 1;
            waiting.last_place
        });
        let before = waiting.wakers.insert(place, waker);
        self.count(&waiting);
        drop(waiting);
        drop(before);
    }

    /// Leaves the line; whoever was called already calls the next one.
    pub fn leave(&self, place: u64) {
        let mut waiting = lock(&self.waiting);
        let waker = waiting.wakers.remove(&place);
        self.count(&waiting);
        drop(waiting);
        if waker.is_none() {
            self.call_next();
        }
    }

    /// Wakes the first in line.
    pub fn call_next(&self) {
        // Relaxed: see above, the channel's lock orders a joining before the room that it missed.
        if self.waiting_len.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut waiting = lock(&self.waiting);
        let first = waiting.wakers.pop_first();
        self.count(&waiting);
        drop(waiting);
        if let Some((_, waker)) = first {
            quietly(|| waker.wake());
        }
    }

    /// Wakes everyone in line.
    pub fn call_all(&self) {
        // Relaxed: at close the gate's word orders it, at an empty queue the channel's lock does.
        if self.waiting_len.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut waiting = lock(&self.waiting);
        let all = mem::take(&mut waiting.wakers);
        self.count(&waiting);
        drop(waiting);
        for (_, waker) in all {
            quietly(|| waker.wake());
        }
    }

    fn count(&self, waiting: &Waiting) {
        self.waiting_len.store(waiting.wakers.len(), Ordering::Relaxed);
    }
}
