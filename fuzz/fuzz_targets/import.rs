//! Dumps from somewhere else, read by `recto load`: all of one comes in or nothing, whatever it
//! says, in memory that its length justifies; and what came in is dumped to lines that bring the
//! same again.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use recto::{Options, Store};
use recto_cli::dump::{Dump, write_dump};
use recto_fuzz::limit_memory;

#[derive(Arbitrary, Debug)]
enum Part {
    Table {
        name: String,
        types: (u8, u8),
        hashes: (u64, u64),
    },
    /// Key and value as JSON, chosen of forms that types know.
    Entry(Form, Form),
    End(u8, u8),
    Line(String),
    Bytes(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Form {
    Text(String),
    Number(i64),
    Unsigned(u64),
    Float(f64),
    Hex(Vec<u8>),
    Null,
    Many(Vec<Form>),
    Raw(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    has_beginning: bool,
    parts: Vec<Part>,
    has_end: bool,
}

const TYPES: [&str; 12] = [
    "&str",
    "&[u8]",
    "u64",
    "i64",
    "u8",
    "bool",
    "()",
    "f64",
    "(u64, &str)",
    "Option<u64>",
    "[u8; 4]",
    "no type of ours",
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Form {
    fn json(&self) -> String {
        match self {
            Form::Text(text) => format!("{text:?}"),
            Form::Number(number) => number.to_string(),
            Form::Unsigned(number) => number.to_string(),
            Form::Float(number) => number.to_string(),
            Form::Hex(bytes) => format!("{{\"hex\":\"{}\"}}", hex(bytes)),
            Form::Null => "null".to_owned(),
            Form::Many(forms) => {
                let parts: Vec<String> = forms.iter().map(Form::json).collect();
                format!("[{}]", parts.join(","))
            }
            Form::Raw(bytes) => format!("\"{}\"", hex(bytes)),
        }
    }
}

fn lines(input: &Input) -> Vec<u8> {
    let mut out = Vec::new();
    let mut line = |text: String| {
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
    };
    if input.has_beginning {
        line("{\"recto\":\"dump\",\"format\":1}".to_owned());
    }
    let (mut tables, mut entries) = (0, 0);
    for part in &input.parts {
        match part {
            Part::Table { name, types, hashes } => {
                tables += 1;
                let [key, value] = [types.0, types.1].map(|i| TYPES[usize::from(i) % TYPES.len()]);
                line(format!(
                    "{{\"table\":{name:?},\"key_type\":\"{key}\",\"value_type\":\"{value}\",\
                     \"type_hashes\":[\"{:016x}\",\"{:016x}\"]}}",
                    hashes.0, hashes.1
                ));
            }
            Part::Entry(key, value) => {
                entries += 1;
                line(format!("{{\"key\":{},\"value\":{}}}", key.json(), value.json()));
            }
            Part::End(tables, entries) => {
                line(format!("{{\"end\":{{\"tables\":{tables},\"entries\":{entries}}}}}"));
            }
            Part::Line(text) => line(text.clone()),
            Part::Bytes(bytes) => line(String::from_utf8_lossy(bytes).into_owned()),
        }
    }
    if input.has_end {
        line(format!("{{\"end\":{{\"tables\":{tables},\"entries\":{entries}}}}}"));
    }
    out
}

fn store() -> Store {
    let options = Options::new().page_bytes(4096).dirty_bytes(256 << 10).cache_bytes(4 << 20);
    options.log_segment_bytes(64 << 10).open_in_memory().expect("memory")
}

/// Loads a dump into a store; whether it came in.
fn load(store: &Store, dump: &[u8]) -> bool {
    let Ok(mut dump) = Dump::begin(dump) else { return false };
    store.try_write(|tx| dump.load(tx)).is_ok()
}

fn dumped(store: &Store) -> Vec<u8> {
    let mut out = Vec::new();
    write_dump(&store.snapshot(), &[], &mut out).expect("what was loaded is shown");
    out
}

fuzz_target!(|input: Input| {
    let given = lines(&input);
    let _limit = limit_memory(given.len());
    let first = store();
    if !load(&first, &given) {
        assert!(first.snapshot().tables().expect("open").is_empty(), "half of a dump came in");
        return;
    }
    let shown = dumped(&first);
    let second = store();
    assert!(load(&second, &shown), "{}", String::from_utf8_lossy(&shown));
    assert_eq!(dumped(&second), shown);
});
