//! Ends the process, with a word about where it was, if a test stands still.
//! Owns: [`Watchdog`].

use std::{
    sync::{Arc, Mutex, Weak},
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Barks unless it is touched.
pub struct Watchdog {
    last: Arc<Mutex<(Instant, String)>>,
}

impl Watchdog {
    pub fn begin() -> Watchdog {
        let last = Arc::new(Mutex::new((Instant::now(), String::new())));
        let watched = Arc::downgrade(&last);
        thread::spawn(move || watch(&watched));
        Watchdog { last }
    }

    pub fn touch(&self, place: &str) {
        let mut last = self.last.lock().unwrap();
        last.0 = Instant::now();
        place.clone_into(&mut last.1);
    }
}

fn watch(watched: &Weak<Mutex<(Instant, String)>>) {
    while let Some(last) = watched.upgrade() {
        let last = last.lock().unwrap().clone();
        if last.0.elapsed() > PATIENCE {
            eprintln!("nothing has moved for {PATIENCE:?}: {}", last.1);
            std::process::abort();
        }
        thread::sleep(Duration::from_millis(500));
    }
}
