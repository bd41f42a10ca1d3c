//! Lives in a real directory: a child commits, it is ended, its store is verified.
//! Owns: [`Lives`].

use super::{
    Discrepancy, Figures, Torture,
    child::options,
    deal::{Level, Model},
    dice::Dice,
    sabotage,
    told::Told,
    verify::{Laws, verify},
};
use crate::failure::{Failure, Result};
use std::{
    env, fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::Duration,
};

/// A child that tells nothing and does not end for so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// One store and its lives.
pub struct Lives<'t> {
    torture: &'t Torture,
    seed: u64,
    dir: PathBuf,
    /// Copies of the store as the last life left it, and as it was before.
    left: PathBuf,
    before: PathBuf,
    models: Vec<Model>,
    number: u64,
}

/// How a child is to end.
struct End {
    level: Level,
    from_opened: bool,
    patience: Duration,
}

/// What a child told, and how it ended.
struct Ended {
    told: Vec<Told>,
    /// What it told that is no line of ours.
    noise: Vec<String>,
    status: ExitStatus,
    hung: bool,
}

impl Lives<'_> {
    /// The first life begins with nothing.
    pub fn new(torture: &Torture, seed: u64) -> Result<Lives<'_>> {
        let kept = env::temp_dir().join(format!("recto-torture-{seed}"));
        let dir = torture.dir.clone().unwrap_or_else(|| kept.join("store"));
        fs::create_dir_all(&dir)?;
        if fs::read_dir(&dir)?.next().is_some() {
            let sentence = format!("{} is not empty: what is in it is not known", dir.display());
            return Err(Failure::input(sentence));
        }
        fs::create_dir_all(&kept)?;
        let (left, before) = (kept.join("left"), kept.join("before"));
        let models = vec![Model::default(); torture.lanes as usize];
        Ok(Lives { torture, seed, dir, left, before, models, number: 0 })
    }

    /// One more life and its verification; what is wrong, if something is.
    pub fn next(&mut self, figures: &mut Figures) -> Result<Option<Discrepancy>> {
        self.number += 1;
        let mut dice = Dice::new(self.seed, [u64::MAX, self.number]);
        let from_opened = !dice.once_in(4);
        let micros = dice.below(if from_opened { 150_000 } else { 20_000 });
        let end = End {
            level: Level::of_life(&mut dice),
            from_opened,
            patience: Duration::from_micros(micros),
        };
        if self.torture.sabotage.is_some() {
            copy(&self.dir, &self.before)?;
        }
        let ended = self.live(&end, dice.once_in(2))?;
        figures.lives += 1;
        // A power cut may take the directory too; then what was told is compared with nothing.
        fs::create_dir_all(&self.dir)?;
        copy(&self.dir, &self.left)?;
        let mut told = ended.told.clone();
        if let Some(sabotage) = self.torture.sabotage.filter(|_| self.number >= 3) {
            sabotage::spoil(sabotage, &self.dir, &self.before, &mut told)?;
        }
        Ok(match self.judge(&end, &ended, &told, figures) {
            Ok(()) => None,
            Err(what) => {
                let (dir, left) = (self.dir.display(), self.left.display());
                let kept = format!("{dir}, and as the life left it {left}");
                Some(Discrepancy { what: format!("{what} (level {:?})", end.level), kept })
            }
        })
    }

    /// Removes what was only for a discrepancy to be looked at.
    pub fn clear(&self) -> Result<()> {
        if let Some(kept) = self.left.parent() {
            fs::remove_dir_all(kept)?;
        }
        Ok(())
    }

    fn ends_by_itself(&self) -> bool {
        self.torture.under.is_some() && self.torture.cut.is_none()
    }

    fn live(&self, end: &End, no_map: bool) -> Result<Ended> {
        let mut child = self.command(end, no_map)?.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or_else(|| Failure::input("no pipe to the child"))?;
        let (is_open, opened) = mpsc::channel();
        let listening = listen(output, is_open);
        let mut hung = false;
        if self.ends_by_itself() {
            // It ends by itself, and then so does the channel.
            hung = loop {
                match opened.recv_timeout(PATIENCE) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Disconnected) => break false,
                    Err(RecvTimeoutError::Timeout) => break true,
                }
            };
            if hung {
                child.kill()?;
            }
        } else {
            if end.from_opened {
                // An end before is told by its status.
                hung = opened.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
            }
            thread::sleep(end.patience);
            if let Some(cut) = &self.torture.cut {
                let pid = child.id().to_string();
                let mut shell = Command::new("sh");
                let done = shell.args(["-c", cut]).env("RECTO_CHILD_PID", pid).status()?;
                if !done.success() {
                    child.kill()?;
                    return Err(Failure::input(format!("the cut failed: {done}")));
                }
            }
            child.kill()?;
        }
        let status = child.wait()?;
        let (told, noise) =
            listening.join().map_err(|_| Failure::input("the listening thread panicked"))?;
        Ok(Ended { told, noise, status, hung })
    }

    fn command(&self, end: &End, no_map: bool) -> Result<Command> {
        let own = env::current_exe()?;
        let mut command = match &self.torture.under {
            None => Command::new(own),
            Some(under) => {
                let mut words = under.split_whitespace();
                let first = words.next().ok_or_else(|| Failure::input("--under names nothing"))?;
                let mut command = Command::new(first);
                command.args(words).arg(own);
                command
            }
        };
        command.arg("torture-child").arg(&self.dir);
        command.args(["--seed", &self.seed.to_string()]);
        command.args(["--lanes", &self.torture.lanes.to_string()]);
        command.args(["--level", level_name(end.level)]);
        if self.ends_by_itself() {
            command.args(["--millis", &(100 + 2 * end.patience.as_millis()).to_string()]);
        }
        if no_map {
            command.arg("--no-map");
        }
        if self.torture.under.is_some() || self.torture.cut.is_some() {
            command.arg("--expects-faults");
        }
        Ok(command)
    }

    fn judge(
        &mut self,
        end: &End,
        ended: &Ended,
        told: &[Told],
        figures: &mut Figures,
    ) -> Result<(), String> {
        let power_cut = self.torture.cut.is_some();
        self.judge_end(ended, power_cut)?;
        let was_open = told.contains(&Told::Open);
        if power_cut {
            figures.cuts += 1;
        } else if !self.ends_by_itself() {
            figures.kills += 1;
            figures.early_kills += u64::from(!was_open);
        }
        for told in told {
            match told {
                Told::Visible { .. } | Told::Durable { .. } => figures.answers += 1,
                Told::Refused { .. } => figures.refusals += 1,
                Told::Failed { .. } => figures.failures += 1,
                _ => {}
            }
        }
        let store = options(self.seed, Level::Sync).open(&self.dir);
        let store = store.map_err(|e| format!("it does not open: {e}"))?;
        let laws = Laws { power_cut, level: end.level };
        figures.commits += verify(&store, self.seed, &mut self.models, told, laws)?;
        store.close().map_err(|e| format!("it does not close: {e}"))?;
        Ok(())
    }

    /// How a child may end: by the kill, or under faults by itself, having read on.
    fn judge_end(&self, ended: &Ended, power_cut: bool) -> Result<(), String> {
        if ended.hung {
            return Err("the child hung".to_owned());
        }
        if power_cut {
            return Ok(());
        }
        if let Some(line) = ended.noise.first() {
            return Err(format!("the child said: {line}"));
        }
        let failed = ended.told.iter().find_map(|told| match told {
            Told::Failed { what } => Some(what),
            _ => None,
        });
        if !self.ends_by_itself() {
            return match (failed, ended.status.code()) {
                (Some(what), _) => Err(format!("a call failed: {what}")),
                (None, Some(_)) => Err(format!("the child ended by itself: {}", ended.status)),
                (None, None) => Ok(()),
            };
        }
        if !ended.status.success() || !ended.told.contains(&Told::End) {
            return Err(format!("the child ended badly: {}", ended.status));
        }
        match failed {
            Some(what) if !ended.told.contains(&Told::ReadsGoOn) => {
                Err(format!("reads did not go on after: {what}"))
            }
            _ => Ok(()),
        }
    }
}

/// Gathers what a child tells; the channel hears when the store is open, and ends with the child.
fn listen(
    output: impl io::Read + Send + 'static,
    is_open: mpsc::Sender<()>,
) -> JoinHandle<(Vec<Told>, Vec<String>)> {
    thread::spawn(move || {
        let (mut told, mut noise) = (Vec::new(), Vec::new());
        for line in BufReader::new(output).split(b'\n').map_while(io::Result::ok) {
            let line = String::from_utf8_lossy(&line);
            match line.parse() {
                Ok(Told::Open) => {
                    told.push(Told::Open);
                    // The other end may have stopped listening.
                    let _ = is_open.send(());
                }
                Ok(one) => told.push(one),
                // Cut short: the last line of one who was killed.
                Err(()) if !line.ends_with('.') => {}
                Err(()) => noise.push(line.into_owned()),
            }
        }
        (told, noise)
    })
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Sync => "sync",
        Level::Every100 => "every100",
        Level::Interval => "interval",
        Level::None => "none",
        Level::Mixed => "mixed",
    }
}

/// Copies the files of a store; what was there is replaced.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
