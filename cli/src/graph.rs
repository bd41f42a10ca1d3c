//! Package indices from the command line: `import-packages`, `rdepends`, `why`.

use crate::{
    debian::{self, Package},
    failure::{Failure, Result},
    figures, opening,
    packages::{self, PACKAGES},
    shipped,
};
use std::{
    fs::File,
    io::{BufReader, BufWriter, Write, stdin, stdout},
    path::Path,
    process::ExitCode,
    time::Instant,
};

/// `recto import-packages`.
pub fn import(dir: &Path, file: Option<&Path>, is_shipped: bool) -> Result<ExitCode> {
    let index = read_index(file, is_shipped)?;
    if index.is_empty() {
        return Err(Failure::input("there is no package to import; --shipped has 63,498"));
    }
    let store = opening::to_fill(dir)?;
    let began = Instant::now();
    let imported = store.write(|tx| packages::import(tx, &index))?;
    store.close()?;
    eprintln!(
        "imported {} packages and {} relations in {:.2} s",
        figures::count(imported.packages),
        figures::count(imported.relations),
        began.elapsed().as_secs_f64()
    );
    Ok(ExitCode::SUCCESS)
}

fn read_index(file: Option<&Path>, is_shipped: bool) -> Result<Vec<Package>> {
    if let Some(file) = file {
        let named = |e| Failure::input(format!("{} could not be read: {e}", file.display()));
        let input = BufReader::with_capacity(1 << 16, File::open(file).map_err(named)?);
        return Ok(debian::read(input)?);
    }
    if is_shipped || !is_fed() {
        eprintln!("reading the index that ships with this command");
        return Ok(shipped::packages()?);
    }
    Ok(debian::read(BufReader::with_capacity(1 << 16, stdin()))?)
}

/// Whether standard input is a pipe or a file; a terminal or `/dev/null` has nothing to say.
fn is_fed() -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        std::fs::metadata("/dev/stdin").is_ok_and(|stdin| !stdin.file_type().is_char_device())
    }
    #[cfg(not(unix))]
    {
        use std::io::IsTerminal;
        !stdin().is_terminal()
    }
}

/// `recto rdepends`.
pub fn rdepends(dir: &Path, name: &str) -> Result<ExitCode> {
    let store = opening::to_read(dir)?;
    let snapshot = store.snapshot();
    let dependents = packages::rdepends(&snapshot, name)?;
    let mut out = BufWriter::new(stdout().lock());
    for dependent in &dependents {
        writeln!(out, "{dependent}")?;
    }
    out.flush()?;
    if dependents.is_empty() && !snapshot.table(&PACKAGES)?.contains(name)? {
        if !packages::is_named(&snapshot, name)? {
            return Err(Failure::input(format!("there is no package \"{name}\"")));
        }
        eprintln!("recto: {name} is a name that packages use, but no package");
    }
    Ok(ExitCode::SUCCESS)
}

/// `recto why`.
pub fn why(dir: &Path, from: &str, to: &str) -> Result<ExitCode> {
    let store = opening::to_read(dir)?;
    let snapshot = store.snapshot();
    if !snapshot.table(&PACKAGES)?.contains(from)? {
        return Err(Failure::input(format!("there is no package \"{from}\"")));
    }
    let Some(path) = packages::why(&snapshot, from, to)? else {
        eprintln!("recto: {from} does not need {to}");
        return Ok(ExitCode::FAILURE);
    };
    let mut out = stdout().lock();
    for name in path {
        writeln!(out, "{name}")?;
    }
    Ok(ExitCode::SUCCESS)
}
