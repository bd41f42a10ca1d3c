//! The house rules that no compiler knows: reads every source file and names each breach, by file
//! and line. Each detector is itself tried on a planted breach, below.
//! Absent on purpose: formatting and lints, which rustfmt and clippy keep.

#[path = "tidy/orderings.rs"]
mod orderings;

use std::{
    collections::HashSet,
    fmt::Write as _,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

/// The rooms of the crate, from the lowest up. A room imports only rooms below it and its equals.
const LEVELS: [&[&str]; 9] = [
    &["behind", "clock", "error", "event", "options", "seeded", "sync"],
    &["publish", "reclaim"],
    &["page", "storage", "wal"],
    &["pager"],
    &["tree"],
    &["txn"],
    &["table"],
    &["log", "graph", "cache", "entity", "runs", "write_behind"],
    &["store", "stats", "check", "salvage"],
];
/// The room of I7.
const SYNC_ROOM: &str = "sync";
/// The rooms of I8.
const UNSAFE_ROOMS: [&str; 4] =
    ["src/storage/map.rs", "src/pager/frames.rs", "src/txn/work.rs", "src/page/lanes.rs"];
/// Where sources are.
const FOLDERS: [&str; 7] =
    ["src", "cli", "tests", "loom-tests", "shuttle-tests", "fuzz", "benches"];
/// Names that gather what nobody owns.
const NO_ROOMS: [&str; 6] = ["util", "utils", "helper", "helpers", "common", "misc"];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

/// A source file, taken apart once.
struct Source {
    /// Relative to the repository.
    path: String,
    text: String,
    /// The text with comments, and what stands within quotes, blanked.
    code: String,
    /// The text with everything but comments blanked.
    comments: String,
    /// Whether the whole file is compiled for tests only.
    is_test: bool,
    /// The bytes of `code` that are compiled for tests only.
    tests: Vec<Range<usize>>,
}

/// A path as code names it, groups taken apart: `std`, `sync`, `Mutex`; and where it begins.
struct Named {
    at: usize,
    parts: Vec<String>,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let (code, comments) = separate(text);
        let is_test = !path.starts_with("src/")
            || path.split('/').any(|part| part == "tests" || part == "tests.rs");
        let tests = if is_test { Vec::new() } else { test_modules(&code) };
        Source { path: path.to_owned(), text: text.to_owned(), code, comments, is_test, tests }
    }

    fn line(&self, at: usize) -> usize {
        1 + self.code[..at].matches('\n').count()
    }

    fn is_tested_only(&self, at: usize) -> bool {
        self.is_test || self.tests.iter().any(|range| range.contains(&at))
    }

    fn breach(&self, at: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, self.line(at))
    }

    /// The crate's room that the file belongs to; none outside of `src` and for `lib.rs`.
    fn room(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        let room = inner.split('/').next()?;
        let room = room.strip_suffix(".rs").unwrap_or(room);
        (room != "lib").then_some(room)
    }

    /// How many modules deep below the crate's root the file is.
    fn depth(&self) -> usize {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inner.split('/').filter(|part| !matches!(*part, "mod.rs" | "lib.rs")).count()
    }
}

/// Takes comments and code apart. Both keep every byte's place; what is quoted is blank in both.
fn separate(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let blank = |range: Range<usize>, out: &mut Vec<u8>| {
        out.extend(bytes[range].iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }));
    };
    let (mut code, mut comments) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let word_before = at > 0 && is_word(bytes[at - 1]);
        let (len, is_comment) = match rest {
            [b'/', b'/', ..] => (line_len(rest), true),
            [b'/', b'*', ..] => (block_len(rest), true),
            [b'"', ..] => (quote_len(rest, b'"'), false),
            [b'r', b'"' | b'#', ..] if !word_before => (raw_len(rest, 1), false),
            [b'b', b'r', b'"' | b'#', ..] if !word_before => (raw_len(rest, 2), false),
            [b'\'', ..] => (char_len(rest), false),
            _ => (0, false),
        };
        if len == 0 {
            code.push(rest[0]);
            blank(at..at + 1, &mut comments);
            at += 1;
            continue;
        }
        blank(at..at + len, &mut code);
        if is_comment {
            comments.extend_from_slice(&bytes[at..at + len]);
        } else {
            blank(at..at + len, &mut comments);
        }
        at += len;
    }
    let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (lossy(code), lossy(comments))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn line_len(rest: &[u8]) -> usize {
    rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())
}

fn block_len(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(rest.len())
}

fn quote_len(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The length of a raw string whose hashes begin at `hashes_at`; 0 if it is none.
fn raw_len(rest: &[u8], hashes_at: usize) -> usize {
    let hashes = rest[hashes_at..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(hashes_at + hashes) != Some(&b'"') {
        return 0;
    }
    let mut end = vec![b'"'];
    end.resize(1 + hashes, b'#');
    let body = hashes_at + hashes + 1;
    let found = rest[body..].windows(end.len()).position(|window| window == end);
    found.map_or(rest.len(), |at| body + at + end.len())
}

/// The length of a character; 0 for a lifetime.
fn char_len(rest: &[u8]) -> usize {
    match rest {
        [_, b'\\', ..] => quote_len(rest, b'\''),
        // At most four bytes of one character.
        [_, _, more @ ..] => {
            let close = more.iter().take(4).position(|&byte| byte == b'\'');
            close.filter(|&at| at == 0 || rest[1] >= 0x80).map_or(0, |at| at + 3)
        }
        _ => 0,
    }
}

/// Where the bracket that opens at `open` closes again, exclusive.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// Every place where `word` stands as a whole word.
fn words<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = usize> + 'c {
    let whole = |at: usize, len: usize| {
        let bytes = code.as_bytes();
        let free = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_none_or(|&b| !is_word(b));
        free(at.checked_sub(1)) && free(Some(at + len))
    };
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| whole(at, word.len()))
}

/// The attributes `#[..]` and `#![..]`, by what stands in their brackets.
fn attributes(code: &str) -> Vec<Range<usize>> {
    let starts = code.match_indices('#').filter_map(|(at, _)| {
        let rest = &code[at + 1..];
        let open = at + 1 + usize::from(rest.starts_with('!'));
        code[open..].starts_with('[').then_some(open)
    });
    starts.map(|open| open..closing(code, open)).collect()
}

/// What `#[cfg(test)]` stands before, where that has a body.
fn test_modules(code: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for attribute in attributes(code) {
        if !code[attribute.clone()].starts_with("[cfg(test)]") {
            continue;
        }
        let rest = &code[attribute.end..];
        let end = rest.find(['{', ';']).unwrap_or(0);
        if rest[end..].starts_with('{') {
            found.push(attribute.start..closing(code, attribute.end + end));
        }
    }
    found
}

/// What stands in the braces of modules within the file.
fn inline_modules(code: &str) -> Vec<Range<usize>> {
    let bodies = words(code, "mod").filter_map(|at| {
        let open = at + code[at..].find(['{', ';', '('])?;
        code[open..].starts_with('{').then(|| open..closing(code, open))
    });
    bodies.collect()
}

/// The modules that the code declares for tests only, and that lie in files of their own.
fn test_files(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for attribute in attributes(code) {
        if code[attribute.clone()].starts_with("[cfg(test)]") {
            let rest = code[attribute.end..].trim_start();
            if let Some((name, _)) = rest.strip_prefix("mod ").and_then(|rest| rest.split_once(';'))
            {
                found.push(name.to_owned());
            }
        }
    }
    found
}

/// Every path of two parts or more.
fn paths(code: &str) -> Vec<Named> {
    let mut found = Vec::new();
    let bytes = code.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if is_word(bytes[at]) && !bytes[at].is_ascii_digit() {
            at = read_path(code, at, &[], &mut found).max(at + 1);
        } else {
            at += 1;
        }
    }
    found.retain(|named| named.parts.len() > 1);
    found
}

/// Reads one path behind `before`, groups included, and returns where it ends.
fn read_path(code: &str, start: usize, before: &[String], found: &mut Vec<Named>) -> usize {
    let mut parts = before.to_vec();
    let mut at = start;
    loop {
        let len = code[at..].bytes().take_while(|&byte| is_word(byte)).count();
        parts.push(code[at..at + len].to_owned());
        at += len;
        let Some(rest) = code[at..].strip_prefix("::") else {
            break;
        };
        at += 2;
        if rest.starts_with('{') {
            let end = closing(code, at);
            let mut inner = at + 1;
            while inner < end {
                if is_word(code.as_bytes()[inner]) {
                    inner = read_path(code, inner, &parts, found);
                }
                inner += 1;
            }
            return end;
        }
        if !rest.bytes().next().is_some_and(is_word) {
            break;
        }
    }
    found.push(Named { at: start, parts });
    at
}

fn level(room: &str) -> Option<usize> {
    LEVELS.iter().position(|rooms| rooms.contains(&room))
}

fn upward_imports(source: &Source) -> Vec<String> {
    let Some(room) = source.room() else {
        return Vec::new();
    };
    let Some(own) = level(room) else {
        return vec![source.breach(0, &format!("no level is given to the room `{room}`"))];
    };
    let (mut found, modules) = (Vec::new(), inline_modules(&source.code));
    for Named { at, parts } in paths(&source.code) {
        if parts[0] == "crate" && level(&parts[1]).is_none_or(|level| level > own) {
            let what = format!("`{room}` imports `{}`, which is above it", parts[1]);
            found.push(source.breach(at, &what));
        }
        let ups = parts.iter().take_while(|part| *part == "super").count();
        let inline = modules.iter().filter(|range| range.contains(&at)).count();
        if ups >= source.depth() + inline {
            found.push(source.breach(at, "leaves its room by `super`; name it by `crate::`"));
        }
    }
    found
}

fn synchronization(source: &Source) -> Vec<String> {
    if source.room() == Some(SYNC_ROOM) || !source.path.starts_with("src/") {
        return Vec::new();
    }
    let named = paths(&source.code).into_iter();
    let breaches = named.filter(|Named { at, parts }| {
        let is_std = matches!(parts[0].as_str(), "std" | "core" | "alloc")
            && matches!(parts[1].as_str(), "sync" | "thread");
        let is_crate = matches!(parts[0].as_str(), "arc_swap" | "flume" | "loom" | "shuttle")
            || parts[0].starts_with("crossbeam");
        (is_std || is_crate) && !source.is_tested_only(*at)
    });
    let what =
        |parts: &[String]| format!("`{}` outside of the room `{SYNC_ROOM}`", parts.join("::"));
    breaches.map(|Named { at, parts }| source.breach(at, &what(&parts))).collect()
}

fn unsafe_code(source: &Source) -> Vec<String> {
    if UNSAFE_ROOMS.contains(&source.path.as_str()) {
        return Vec::new();
    }
    // Models reach their cells by pointers, which loom is there to check; some peers open unsafely;
    // and there is no safe fork.
    let is_apart = ["loom-tests/", "benches/compare/", "tests/fork.rs"]
        .iter()
        .any(|p| source.path.starts_with(p));
    let found = words(&source.code, "unsafe").filter(|_| !is_apart);
    found.map(|at| source.breach(at, "`unsafe` outside of its rooms")).collect()
}

/// Lines that hold code.
fn code_lines(code: &str) -> usize {
    code.lines().filter(|line| !line.trim().is_empty()).count()
}

fn sizes(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let lines = code_lines(&source.code);
    if lines > FILE_LINES_MAX {
        let what = format!("{lines} lines of code, at most {FILE_LINES_MAX} are one room's");
        found.push(source.breach(0, &what));
    }
    for at in words(&source.code, "fn") {
        let rest = &source.code[at..];
        let name = rest[2..].trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next();
        let name = name.filter(|name| !name.is_empty());
        // A function's type (`fn(u64)`) has no name, a declaration no body.
        let (Some(name), Some(open)) = (name, body(&source.code, at)) else {
            continue;
        };
        let lines = code_lines(&source.code[at..closing(&source.code, open)]);
        if lines > FUNCTION_LINES_MAX {
            let what = format!("`{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}");
            found.push(source.breach(at, &what));
        }
    }
    found
}

/// Where the body of the function at `at` opens.
fn body(code: &str, at: usize) -> Option<usize> {
    let mut here = at;
    loop {
        here += code[here..].find(['{', ';', '(', '['])?;
        match code.as_bytes()[here] {
            b'{' => return Some(here),
            b';' => return None,
            _ => here = closing(code, here),
        }
    }
}

fn columns_and_letters(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let columns = line.chars().count();
        if Path::new(path).extension().is_some_and(|e| e == "rs") && columns > COLUMNS_MAX {
            found.push(format!("{path}:{number}: {columns} columns, at most {COLUMNS_MAX}"));
        }
        if let Some(c) = line.chars().find(|c| !c.is_ascii()) {
            found.push(format!("{path}:{number}: `{}` is not ASCII", c.escape_unicode()));
        }
    }
    found
}

fn unfinished(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["todo", "unimplemented"] {
        let calls =
            words(&source.code, name).filter(|&at| source.code[at + name.len()..].starts_with('!'));
        found.extend(calls.map(|at| source.breach(at, &format!("`{name}!`"))));
    }
    for attribute in attributes(&source.code) {
        let ignores = words(&source.code[attribute.clone()], "ignore").next().is_some();
        if ignores {
            found.push(source.breach(attribute.start, "an ignored test"));
        }
    }
    for (comment, number) in source.comments.lines().zip(1..) {
        let (path, fence) = (&source.path, comment.split_once("```"));
        if fence.is_some_and(|(_, kind)| kind.split(',').any(|part| part.trim() == "ignore")) {
            found.push(format!("{path}:{number}: an ignored example"));
        }
        if ["TODO", "FIXME"].iter().any(|word| words(comment, word).next().is_some()) {
            found.push(format!("{path}:{number}: a thing left to do"));
        }
    }
    found
}

fn silenced(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for attribute in attributes(&source.code) {
        let inside = &source.code[attribute.clone()];
        for lint in ["allow", "expect"].into_iter().flat_map(|word| words(inside, word)) {
            let open = lint + inside[lint..].find('(').unwrap_or(0);
            let given = &inside[lint..closing(inside, open)];
            if words(given, "reason").next().is_none() {
                let at = attribute.start + lint;
                found.push(source.breach(at, "a lint is silenced without a reason"));
            }
        }
    }
    found
}

fn ownerless(path: &str) -> Option<String> {
    let stem = Path::new(path).file_stem()?.to_str()?;
    let is_room = path.starts_with("src/") && (NO_ROOMS.contains(&stem) || stem == "types");
    is_room.then(|| format!("{path}:1: a thing goes to the room that owns its noun"))
}

fn breaches(source: &Source) -> Vec<String> {
    let mut found = columns_and_letters(&source.path, &source.text);
    found.extend(ownerless(&source.path));
    for detect in [upward_imports, synchronization, unsafe_code, sizes, unfinished, silenced] {
        found.extend(detect(source));
    }
    found
}

fn files_below(folder: &Path, wanted: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.map(|entry| entry.expect("a readable folder").path()) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let is_made = matches!(name.as_deref(), Some("target" | "corpus" | "artifacts" | ".git"));
        if path.is_dir() && !is_made {
            files_below(&path, wanted, found);
        } else if wanted(&path) {
            found.push(path);
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> (String, String) {
    let inner = path.strip_prefix(root()).expect("a file of the repository");
    let inner = inner.to_str().expect("names are ASCII").replace('\\', "/");
    (inner, fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        let is_rust = |path: &Path| path.extension().is_some_and(|e| e == "rs");
        files_below(&root().join(folder), &is_rust, &mut files);
    }
    files.sort();
    let mut sources: Vec<Source> = files
        .iter()
        .map(|path| {
            let (path, text) = read(path);
            Source::new(&path, &text)
        })
        .collect();
    let mut tests = HashSet::new();
    for source in &sources {
        let path = source.path.strip_suffix(".rs").expect("a Rust source");
        let folder = path.strip_suffix("/mod").or(path.strip_suffix("/lib")).unwrap_or(path);
        tests.extend(test_files(&source.code).iter().map(|name| format!("{folder}/{name}.rs")));
    }
    for source in &mut sources {
        source.is_test |= tests.contains(&source.path);
    }
    sources
}

#[test]
fn the_house_is_tidy() {
    let sources = sources();
    assert!(sources.len() > 50, "only {} sources were found", sources.len());
    let mut found: Vec<String> = sources.iter().flat_map(breaches).collect();
    let mut texts = Vec::new();
    let is_text = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.extension().is_some_and(|e| e == "md" || e == "toml") || name == "justfile"
    };
    files_below(&root(), &is_text, &mut texts);
    texts.push(root().join(".ci/run"));
    for path in texts {
        let (path, text) = read(&path);
        found.extend(columns_and_letters(&path, &text));
    }
    let mut report = String::new();
    for breach in &found {
        writeln!(report, "{breach}").expect("a string takes everything");
    }
    assert!(found.is_empty(), "{} breaches of the house rules:\n{report}", found.len());
}

/// The breaches of `text`, were it the file `path`; without the file's name.
fn planted(path: &str, text: &str) -> Vec<String> {
    let found = breaches(&Source::new(path, text)).into_iter();
    found.map(|breach| breach[path.len() + 1..].to_owned()).collect()
}

#[test]
fn an_upward_import_is_found() {
    let text =
        "use crate::{\n    error::Result,\n    pager::{Pages, slots},\n    tree::Tree,\n};\n";
    assert_eq!(
        planted("src/pager/slots.rs", text),
        ["4: `pager` imports `tree`, which is above it"]
    );
    assert_eq!(planted("src/txn/writer.rs", text), Vec::<String>::new());
    let inline = "fn f() {\n    crate::store::close();\n}\n";
    assert_eq!(planted("src/wal/mod.rs", inline), ["2: `wal` imports `store`, which is above it"]);
    assert_eq!(planted("src/wal/mod.rs", "//! See [`crate::store`].\n"), Vec::<String>::new());
    let leaving = "use super::tree::Tree;\n";
    assert_eq!(planted("src/page/mod.rs", leaving).len(), 1);
    assert_eq!(planted("src/page/leaf.rs", leaving), Vec::<String>::new());
    let inline = "mod inner {\n    use super::*;\n    mod more { use super::super::a; }\n}\n";
    assert_eq!(planted("src/stats.rs", inline), Vec::<String>::new());
    assert_eq!(planted("src/elsewhere.rs", "").len(), 1, "a room without a level");
}

#[test]
fn synchronization_outside_of_its_door_is_found() {
    let text =
        "use std::{\n    fmt,\n    sync::{Arc, atomic::AtomicU64},\n};\nflume::bounded(1);\n";
    let found = planted("src/reclaim.rs", text);
    assert!(found[0].starts_with("3: `std::sync::Arc`"), "{found:?}");
    assert!(found.iter().any(|breach| breach.starts_with("5: `flume::bounded`")), "{found:?}");
    assert_eq!(planted("src/sync.rs", text), Vec::<String>::new());
    assert_eq!(planted("src/sync/production.rs", text), Vec::<String>::new());
    assert_eq!(planted("src/wal/sync.rs", text).len(), found.len());
    assert_eq!(planted("src/reclaim.rs", "use shuttle::thread::spawn;\n").len(), 1);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{text}}}\n");
    assert_eq!(planted("src/reclaim.rs", &tests), Vec::<String>::new());
    assert_eq!(planted("src/reclaim.rs", "#[cfg(loom)]\nuse crate::sync::Arc;\n"), [""; 0]);
}

#[test]
fn unsafe_outside_of_its_rooms_is_found() {
    let text = "// unsafe in words\nfn f() { unsafe { g() } }\n#![deny(unsafe_op_in_unsafe_fn)]\n";
    assert_eq!(planted("src/page/leaf.rs", text), ["2: `unsafe` outside of its rooms"]);
    assert_eq!(planted("cli/src/main.rs", text).len(), 1);
    assert_eq!(planted("src/storage/map.rs", text), Vec::<String>::new());
}

#[test]
fn a_file_or_function_that_outgrew_its_name_is_found() {
    let long = |lines: usize| format!("fn long(a: [u8; 2]) {{\n{}}}\n", "    a();\n".repeat(lines));
    assert_eq!(planted("src/page/leaf.rs", &long(68)), Vec::<String>::new());
    let found = planted("src/page/leaf.rs", &long(69));
    assert_eq!(found, ["1: `long` has 71 lines, at most 70"]);
    let many = long(10).repeat(51);
    assert_eq!(planted("src/page/leaf.rs", &many).len(), 1);
    let commented = format!("{}{}", long(10).repeat(50), "// a reason\n\n".repeat(200));
    assert_eq!(planted("src/page/leaf.rs", &commented), Vec::<String>::new());
    let declared = format!("trait T {{ fn f(&self); fn g(&self); }}\n{}", long(60));
    assert_eq!(planted("src/page/leaf.rs", &declared), Vec::<String>::new());
}

#[test]
fn wide_lines_and_strange_letters_are_found() {
    let wide = format!("// {}\n", "x".repeat(98));
    assert_eq!(planted("src/error.rs", &wide), ["1: 101 columns, at most 100"]);
    assert_eq!(planted("src/error.rs", "\n// \u{e9}\n"), ["2: `\\u{e9}` is not ASCII"]);
    assert_eq!(columns_and_letters("README.md", &wide), Vec::<String>::new());
    assert_eq!(columns_and_letters("README.md", "\u{2192}").len(), 1);
}

#[test]
fn the_unfinished_and_the_silenced_are_found() {
    let found = |text: &str| planted("src/error.rs", text).len();
    assert_eq!(found("fn f() { todo!() }\nfn g() { unimplemented!(\"later\") }\n"), 2);
    assert_eq!(found("#[test]\n#[ignore = \"slow\"]\nfn f() {}\n"), 1);
    assert_eq!(found("/// ```rust,ignore\n/// ```\n//! ```ignore\n"), 2);
    assert_eq!(found("// TODO: later\n/* FIXME */\n"), 2);
    assert_eq!(found("/// ```\n/// ignore(x);\n/// ```\nlet a = \"todo!()\";\n"), 0);
    assert_eq!(found("#[allow(dead_code)]\n#![cfg_attr(loom, allow(unused))]\n"), 2);
    assert_eq!(found("#[expect(dead_code)]\nfn f() { a.expect(\"b\") }\n"), 1);
    assert_eq!(found("#[allow(\n    clippy::x,\n    reason = \"measured\"\n)]\n"), 0);
    assert_eq!(planted("src/page/util.rs", "").len(), 1);
}

#[test]
fn quotes_and_comments_are_told_from_code() {
    let (code, comments) = separate("a('\\'', '\"', \"/* \\\" */\", r#\"\" // \"#, &'b x) // c\n");
    assert_eq!(code.split_whitespace().collect::<String>(), "a(,,,,&'bx)");
    assert_eq!(comments.trim(), "// c");
    let (code, _) = separate("/* a /* b */ c */ d '\u{e9}' br\"e\" for 'f: loop {}");
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["d", "for", "'f:", "loop", "{}"]);
}
