//! One process, one store: a second opener waits, and is told whom for.

use recto::{Error, Event, Options, Result, Store, Table};
use std::{
    env, fs,
    io::{BufRead, BufReader, Lines, Read, Write},
    os::unix::fs::symlink,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

const ROWS: Table<u64, u64> = Table::new("rows");
const DIRECTORY: &str = "RECTO_TEST_LOCK_DIRECTORY";
const CHILD: &str = "RECTO_TEST_LOCK_CHILD";
const TURNS: &str = "RECTO_TEST_LOCK_TURNS";
/// Only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that holds the store until its standard input ends.
///
/// What it prints is kept open, or its test runner could not end well.
struct Holder(Child, Lines<BufReader<ChildStdout>>);

impl Holder {
    fn start(dir: &Path) -> Holder {
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

/// Opens, and checks that this was refused after `lock_timeout`, naming `owner`; by how much later.
fn late_by(dir: &Path, lock_timeout: Duration, owner: Option<u32>) -> Duration {
    let began = Instant::now();
    let refused = Options::new().lock_timeout(lock_timeout).open(dir);
    let waited = began.elapsed();
    match refused {
        Err(Error::Locked { pid }) => assert_eq!(pid, owner, "{}", dir.display()),
        other => panic!("{}: {other:?}", dir.display()),
    }
    assert!(waited >= lock_timeout && waited < PATIENCE, "waited for {waited:?}");
    waited.saturating_sub(lock_timeout)
}

fn expect_locked(dir: &Path, owner: u32) {
    late_by(dir, Duration::from_millis(50), Some(owner));
}

#[test]
fn a_second_process_waits_and_is_told_the_owner() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path());
    // On a machine that has other work to do any one wait may end late; not the best of some.
    let late = [0, 1, 200, 500, 1000]
        .map(|millis| late_by(dir.path(), Duration::from_millis(millis), Some(holder.0.id())));
    println!("refused {late:?} after lock_timeout");
    assert!(late.iter().min().unwrap() <= &Duration::from_millis(200), "{late:?}");
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

/// The lock is the file's, whatever it is called.
#[test]
fn one_directory_is_one_store_by_any_path() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("store");
    let store = Store::open(&home)?;
    store.write(|tx| tx.table(&ROWS)?.insert(1, 1))?;
    let (link, chain) = (dir.path().join("link"), dir.path().join("chain"));
    symlink(&home, &link).unwrap();
    symlink("./link/../link", &chain).unwrap();
    fs::create_dir(dir.path().join("other")).unwrap();
    let around = dir.path().join("other/.././store/.");
    // Another way into the same tree of files, as a bind mount is.
    let root = Path::new("/proc/self/root").join(home.strip_prefix("/").unwrap());
    let own = Some(std::process::id());
    for path in [&home, &link, &chain, &around, &root] {
        late_by(path, Duration::from_millis(20), own);
    }
    // The same page file in another directory, where nobody has written who owns it.
    let apart = dir.path().join("apart");
    fs::create_dir(&apart).unwrap();
    fs::hard_link(home.join("pages"), apart.join("pages")).unwrap();
    late_by(&apart, Duration::from_millis(20), None);
    store.write(|tx| tx.table(&ROWS)?.insert(2, 2))?;
    store.check()?;
    store.close()?;
    drop(store);
    for path in [&link, &chain, &around, &root] {
        assert_eq!(Store::open(path)?.get(&ROWS, 2)?, Some(2));
    }
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
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = Arc::clone(&heard);
    let options = Options::new().memory_if_locked(true).on_event(move |event| {
        if let Event::OpenedInMemory { owner } = event {
            hearing.lock().unwrap().push(*owner);
        }
    });
    let lock_timeout = Duration::from_millis(200);
    let began = Instant::now();
    let store = options.clone().lock_timeout(lock_timeout).open(dir.path())?;
    let waited = began.elapsed();
    assert!(waited >= lock_timeout && waited < PATIENCE, "waited for {waited:?}");
    assert_eq!(*heard.lock().unwrap(), [Some(holder.0.id())], "reported once, with the owner");
    assert_eq!((store.snapshot().version(), store.tables()?.len()), (0, 0), "it is empty");
    store.write(|tx| tx.table(&ROWS)?.insert(2, 2))?;
    assert_eq!(store.get(&ROWS, 2)?, Some(2));
    store.close()?;
    holder.end();
    let store = options.open(dir.path())?;
    assert_eq!(store.get(&ROWS, 1)?, Some(1), "not locked: the real one");
    assert_eq!(store.get(&ROWS, 2)?, None, "the one in memory is gone");
    assert_eq!(heard.lock().unwrap().len(), 1, "nothing to report");
    Ok(())
}

/// Processes that all want it at once, each for some turns: every turn's write is there.
fn take_turns(processes: u64, turns: u64) -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let children: Vec<Child> = (0..processes)
        .map(|child| {
            Command::new(env::current_exe().unwrap())
                .args(["--exact", "child_that_takes_turns", "--nocapture"])
                .env(DIRECTORY, dir.path())
                .env(CHILD, child.to_string())
                .env(TURNS, turns.to_string())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let store = Store::open(dir.path())?;
    let all = processes * turns;
    assert_eq!(store.get(&ROWS, 0)?, Some(all), "an increment was lost");
    let snap = store.snapshot();
    let table = snap.table(&ROWS)?;
    assert_eq!(table.len()?, 1 + all);
    for row in 0..all {
        assert_eq!(table.get(1 + row)?, Some(row % turns), "row {row}");
    }
    assert_eq!(snap.version(), all);
    store.check()?;
    println!("{processes} processes took {turns} turns each in {:?}", began.elapsed());
    Ok(())
}

#[test]
fn ten_processes_take_five_turns_each() -> Result<()> {
    take_turns(10, 5)
}

#[test]
fn two_processes_take_twenty_turns_each() -> Result<()> {
    take_turns(2, 20)
}

#[test]
fn child_that_takes_turns() -> Result<()> {
    let (Ok(dir), Ok(child)) = (env::var(DIRECTORY), env::var(CHILD)) else { return Ok(()) };
    let child: u64 = child.parse().unwrap();
    let turns: u64 = env::var(TURNS).unwrap().parse().unwrap();
    for turn in 0..turns {
        let store = Options::new().lock_timeout(PATIENCE).open(&dir)?;
        store.write(|tx| {
            let mut rows = tx.table(&ROWS)?;
            rows.insert(1 + child * turns + turn, turn)?;
            rows.update(0, |old| Some(old.unwrap_or(0) + 1))
        })?;
    }
    Ok(())
}
