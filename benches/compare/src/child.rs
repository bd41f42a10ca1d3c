//! Processes of our own, in which something is measured that others' memory would hide, or that is
//! to be killed.

use std::{
    env, fs,
    process::{Child, Command, Stdio},
};

/// This program, called with other words.
fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(words);
    command
}

/// The figures that a child prints, one behind the other.
pub fn figures(words: &[&str]) -> Vec<f64> {
    let output = command(words).output().expect("the child starts");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().map(|word| word.parse().expect("a figure")).collect()
}

/// A child that is still there, with its output to be read.
pub fn running(words: &[&str]) -> Child {
    command(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the child starts")
}

/// What of this process is in memory and of no file.
pub fn anonymous_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}
