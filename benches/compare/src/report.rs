//! What was measured: printed line by line as it comes, and kept, with machine and command, in
//! Markdown and as a picture.

use crate::{chart, entries::Data, rows::nanoseconds};
use std::{
    cell::RefCell,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// One line of a row.
pub struct Line {
    /// What was asked, with the size.
    pub title: String,
    /// Durability, threads, and what is inside the clock.
    pub terms: String,
    /// Who answers.
    pub who: String,
    /// The figure, as the table shows it.
    pub figure: String,
    /// CPU of all threads, as the table shows it.
    pub cpu: String,
    /// Bytes written, as the table shows them.
    pub written: String,
    /// How many times better than LMDB.
    pub ratio: Option<f64>,
}

/// Everything measured in a run.
pub struct Report {
    began: String,
    lines: RefCell<Vec<Line>>,
    tables: RefCell<Vec<String>>,
}

const HEAD: &str = "| question | durability, threads, clock | who | median (least - most) | CPU of \
                    all threads | written | against LMDB, or what the terms name |\n\
                    |---|---|---|---|---|---|---|";

impl Report {
    /// Begins one; prints the head of the table.
    pub fn new(data: Data, dir: &Path) -> Report {
        let began = machine(data, dir);
        println!("{began}\n{HEAD}");
        Report { began, lines: RefCell::default(), tables: RefCell::default() }
    }

    /// One that has no head: nothing is to be said.
    pub fn quiet() -> Report {
        Report { began: String::new(), lines: RefCell::default(), tables: RefCell::default() }
    }

    /// Takes a line.
    pub fn line(&self, line: Line) {
        println!("{}", line.markdown());
        self.lines.borrow_mut().push(line);
    }

    /// Takes a line that has no ratio.
    pub fn remark(&self, title: &str, who: &str, figure: String) {
        let (title, who) = (title.into(), who.into());
        let (terms, cpu, written) = (String::new(), String::new(), String::new());
        self.line(Line { title, terms, who, figure, cpu, written, ratio: None });
    }

    /// Takes a table of its own, which comes behind the lines.
    pub fn table(&self, table: String) {
        self.tables.borrow_mut().push(table);
    }

    /// Prints the tables; writes everything to `stem` with `.md` and `.svg` if there is one.
    ///
    /// # Errors
    /// Those of the files.
    pub fn finish(self, stem: Option<&Path>) -> io::Result<()> {
        let (lines, tables) = (self.lines.into_inner(), self.tables.into_inner());
        let after = format!("Load of the machine at the end: {}.", load());
        for part in tables.iter().chain([&after]) {
            println!("\n{part}");
        }
        let Some(stem) = stem else {
            return Ok(());
        };
        let mut text = format!("{}\n{HEAD}\n", self.began);
        for line in &lines {
            writeln!(text, "{}", line.markdown()).expect("a string takes text");
        }
        for part in tables.iter().chain([&after]) {
            writeln!(text, "\n{part}").expect("a string takes text");
        }
        if let Some(dir) = stem.parent() {
            fs::create_dir_all(dir)?;
        }
        let beside = |ending: &str| PathBuf::from(format!("{}.{ending}", stem.display()));
        fs::write(beside("md"), text)?;
        fs::write(beside("svg"), chart::draw(&self.began, &lines)?)
    }
}

impl Line {
    fn markdown(&self) -> String {
        let Line { title, terms, who, figure, cpu, written, ratio } = self;
        let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}x"));
        format!("| {title} | {terms} | {who} | {figure} | {cpu} | {written} | {ratio} |")
    }
}

/// A time with its spread, as the table shows it.
pub fn spread(figures: &[f64], middle: f64, shown: fn(f64) -> String) -> String {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(0.0, f64::max);
    if figures.len() < 2 {
        return shown(middle);
    }
    // Of rates the least time is the most.
    let is_rate = middle > 0.0 && shown(middle) != nanoseconds(middle);
    let (least, most) = if is_rate { (most, least) } else { (least, most) };
    format!("{} ({} - {})", shown(middle), shown(least), shown(most))
}

/// Bytes given to calls that write, for an operation, as the table shows them; how many times those
/// put in by it, if anything is; and what the device wrote, if it is known.
pub fn written(bytes: f64, put_bytes: Option<f64>, on_device: f64) -> String {
    let mut shown = match put_bytes {
        Some(put_bytes) => format!("{bytes:.0} B, {:.1}x", bytes / put_bytes),
        // Nothing was asked to be written.
        None if bytes < 1.0 => return String::new(),
        None => format!("{bytes:.0} B"),
    };
    if on_device > 0.0 {
        write!(shown, "; device {on_device:.0} B").expect("a string takes text");
    }
    shown
}

/// The versions of the peers, from the lock file of this package.
const LOCK: &str = include_str!("../Cargo.lock");
const PEERS: [&str; 7] =
    ["heed", "lmdb-master-sys", "redb", "fjall", "canopydb", "rocksdb", "rusqlite"];

fn versions() -> String {
    let version = |name: &str| {
        let (_, rest) = LOCK.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        Some(format!("{name} {}", rest.split('"').next()?))
    };
    PEERS.iter().filter_map(|name| version(name)).collect::<Vec<_>>().join(", ")
}

/// Machine, commit and command.
fn machine(data: Data, dir: &Path) -> String {
    let processor = of_file("/proc/cpuinfo", "model name");
    let memory = of_file("/proc/meminfo", "MemTotal");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let commit = said("git", &["describe", "--always", "--dirty", "--abbrev=12"]);
    let day = said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]);
    let on = said("stat", &["-f", "-c", "%T", &dir.display().to_string()]);
    format!(
        "Machine: {cores} cores, {processor}, {memory} of memory, Linux {}, stores on {on}; \
         load {}.\n\
         Command: `{}`, at {commit}, {day}. Data set {data}. Peers: {}.\n\
         A ratio above 1 means better than LMDB.\n\
         Written: within the clock and for each operation, \
         bytes given to calls that write (wchar), times the bytes of keys and values put in; of \
         durable rows also what the device wrote, whoever asked for it.\n",
        kernel.trim(),
        load(),
        command(),
        versions(),
    )
}

fn of_file(path: &str, field: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, rest)| rest.trim()).into()
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().into()
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".into())
}

/// The command that was given, without the places of this machine.
fn command() -> String {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    for i in 1..words.len() {
        if ["--dir", "--keep", "--out"].contains(&words[i - 1].as_str()) {
            words[i] = "..".into();
        } else if words[i].contains(' ') {
            words[i] = format!("\"{}\"", words[i]);
        }
    }
    let features = if cfg!(feature = "sqlite") && cfg!(feature = "rocksdb") {
        " --features sqlite,rocksdb"
    } else if cfg!(feature = "sqlite") {
        " --features sqlite"
    } else if cfg!(feature = "rocksdb") {
        " --features rocksdb"
    } else {
        ""
    };
    format!("cargo run --release{features} -- {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_lies_beside_its_picture() {
        let dir = tempfile::tempdir().unwrap();
        let report = Report::new(Data::A, dir.path());
        let line = |who: &str, ratio| Line {
            title: "a question".into(),
            terms: "not durable".into(),
            who: who.into(),
            figure: "12 ns".into(),
            cpu: String::new(),
            written: "9 B".into(),
            ratio,
        };
        report.line(line("recto", Some(2.5)));
        report.line(line("lmdb", Some(1.0)));
        report.remark("a question", "probe", "3 us".into());
        report.table("| a table |".into());
        report.finish(Some(&dir.path().join("results/some"))).unwrap();
        let text = fs::read_to_string(dir.path().join("results/some.md")).unwrap();
        for part in ["| a question | not durable | recto | 12 ns |  | 9 B | 2.50x |", "| a table |"]
        {
            assert!(text.contains(part), "{part}");
        }
        assert!(text.contains("redb 4.") && text.contains("heed 0."), "{text}");
        let picture = fs::read_to_string(dir.path().join("results/some.svg")).unwrap();
        assert!(picture.starts_with("<svg") && picture.contains("recto"));
    }

    #[test]
    fn bytes_written_are_told_where_they_can_be_expected() {
        assert_eq!(written(232.0, Some(174.0), 4710.4), "232 B, 1.3x; device 4710 B");
        assert_eq!(written(0.0, Some(174.0), 0.0), "0 B, 0.0x");
        let without = [12.4, 0.2].map(|bytes| written(bytes, None, 0.0));
        assert_eq!(without, ["12 B", ""]);
    }

    #[test]
    fn a_spread_of_rates_goes_from_the_slowest() {
        let shown = |figure: f64| format!("{:.0} /s", 1e9 / figure);
        assert_eq!(spread(&[1e6, 2e6, 4e6], 2e6, shown), "500 /s (250 /s - 1000 /s)");
        let times = spread(&[1.0, 2.0, 4.0], 2.0, nanoseconds);
        assert_eq!(times, "2 ns (1 ns - 4 ns)");
    }
}
