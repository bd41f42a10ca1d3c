//! One process, one store: a second opener waits, and is told whom for.

use recto::{Error, Options, Result, Store, Table};
use std::{
    env,
    io::{BufRead, BufReader, Lines, Read, Write},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const ROWS: Table<u64, u64> = Table::new("rows");
const DIRECTORY: &str = "RECTO_TEST_LOCK_DIRECTORY";
const TURNS: &str = "RECTO_TEST_LOCK_TURNS";
/// Only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that holds the store until its standard input ends.
///
/// What it prints is kept open, or its test runner could not end well.
struct Holder(Child, Lines<BufReader<ChildStdout>>);

impl Holder {
    fn start(dir: &std::path::Path) -> Holder {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child_that_holds_a_store", "--nocapture"])
            .env(DIRECTORY, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "holding"), "the child could not open the store");
        Holder(child, lines)
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        self.1.by_ref().for_each(drop);
        assert!(self.0.wait().unwrap().success());
    }
}

#[test]
fn child_that_holds_a_store() -> Result<()> {
    let Ok(dir) = env::var(DIRECTORY) else { return Ok(()) };
    let store = Store::open(dir)?;
    store.write(|tx| tx.table(&ROWS)?.insert(1, 1))?;
    std::io::stdout().write_all(b"\nholding\n").unwrap();
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    store.close().map(drop)
}

/// Opens, and checks that this was refused after `lock_timeout`, naming `owner`.
fn expect_locked(dir: &std::path::Path, owner: u32) {
    let lock_timeout = Duration::from_millis(300);
    let began = Instant::now();
    let refused = Options::new().lock_timeout(lock_timeout).open(dir);
    let waited = began.elapsed();
    match refused {
        Err(Error::Locked { pid }) => assert_eq!(pid, Some(owner)),
        other => panic!("{other:?}"),
    }
    assert!(waited >= lock_timeout && waited < PATIENCE, "waited for {waited:?}");
}

#[test]
fn a_second_process_waits_and_is_told_the_owner() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path());
    expect_locked(dir.path(), holder.0.id());
    expect_locked(dir.path(), holder.0.id());
    holder.end();
    assert_eq!(Store::open(dir.path())?.get(&ROWS, 1)?, Some(1));
    Ok(())
}

#[test]
fn a_second_opener_in_the_same_process_is_told_so() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path())?;
    expect_locked(dir.path(), std::process::id());
    store.write(|tx| tx.table(&ROWS)?.insert(1, 1))?;
    drop(store);
    assert_eq!(Store::open(dir.path())?.get(&ROWS, 1)?, Some(1));
    Ok(())
}

#[test]
fn one_who_waits_gets_the_store_when_its_owner_goes() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path());
    let path = dir.path().to_owned();
    let waiting = thread::spawn(move || Options::new().lock_timeout(PATIENCE).open(path));
    thread::sleep(Duration::from_millis(100));
    assert!(!waiting.is_finished(), "opened beside its owner");
    holder.end();
    assert_eq!(waiting.join().unwrap()?.get(&ROWS, 1)?, Some(1));
    Ok(())
}

#[test]
fn the_lock_of_a_killed_process_is_free() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let mut holder = Holder::start(dir.path());
    holder.0.kill().unwrap();
    holder.0.wait().unwrap();
    assert_eq!(Store::open(dir.path())?.get(&ROWS, 1)?, Some(1));
    Ok(())
}

#[test]
fn a_locked_store_may_be_replaced_by_one_in_memory() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path());
    let options = Options::new().memory_if_locked(true);
    let lock_timeout = Duration::from_millis(200);
    let began = Instant::now();
    let store = options.clone().lock_timeout(lock_timeout).open(dir.path())?;
    let waited = began.elapsed();
    assert!(waited >= lock_timeout && waited < PATIENCE, "waited for {waited:?}");
    assert_eq!((store.snapshot().version(), store.tables()?.len()), (0, 0), "it is empty");
    store.write(|tx| tx.table(&ROWS)?.insert(2, 2))?;
    assert_eq!(store.get(&ROWS, 2)?, Some(2));
    store.close()?;
    holder.end();
    let store = options.open(dir.path())?;
    assert_eq!(store.get(&ROWS, 1)?, Some(1), "not locked: the real one");
    assert_eq!(store.get(&ROWS, 2)?, None, "the one in memory is gone");
    Ok(())
}

/// Ten processes that all want it at once, each for five turns: every turn's write is there.
#[test]
fn ten_processes_take_turns() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let children: Vec<Child> = (0..10)
        .map(|child| {
            Command::new(env::current_exe().unwrap())
                .args(["--exact", "child_that_takes_turns", "--nocapture"])
                .env(DIRECTORY, dir.path())
                .env(TURNS, child.to_string())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let store = Store::open(dir.path())?;
    assert_eq!(store.get(&ROWS, 0)?, Some(50), "an increment was lost");
    assert_eq!(store.snapshot().table(&ROWS)?.len()?, 51);
    assert_eq!(store.snapshot().version(), 50);
    store.check()?;
    Ok(())
}

#[test]
fn child_that_takes_turns() -> Result<()> {
    let (Ok(dir), Ok(child)) = (env::var(DIRECTORY), env::var(TURNS)) else { return Ok(()) };
    let child: u64 = child.parse().unwrap();
    for turn in 0..5 {
        let store = Options::new().lock_timeout(PATIENCE).open(&dir)?;
        store.write(|tx| {
            let mut rows = tx.table(&ROWS)?;
            rows.insert(1 + child * 5 + turn, turn)?;
            rows.update(0, |old| Some(old.unwrap_or(0) + 1))
        })?;
    }
    Ok(())
}
