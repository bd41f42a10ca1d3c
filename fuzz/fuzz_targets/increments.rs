//! Increments of a backup: what was written comes back; damage is an error; records behind right
//! checksums, whatever they hold, are read or refused.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use recto::{
    Error,
    internals::{
        storage::{Storage, memory::MemoryStorage},
        store::increment::{Header, Reader, Record, Writer},
    },
};

#[derive(Arbitrary, Debug)]
struct Input {
    header: (u64, u64, u64),
    records: Vec<(Vec<u8>, Vec<u8>, Option<u32>)>,
    edits: Vec<(u16, u8)>,
    cut: Option<u16>,
    raw: Vec<u8>,
}

/// All records, as far as it is one file of ours.
fn read(storage: &MemoryStorage, name: &str) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
    let mut reader = Reader::open(storage.open(name)?, name)?;
    let mut entries = Vec::new();
    reader.records(|_, record| {
        if let Record::Put { key, value, .. } = record {
            entries.push((key.to_vec(), value.to_vec()));
        }
        Ok::<(), Error>(())
    })?;
    Ok(entries)
}

fuzz_target!(|input: Input| {
    let storage = MemoryStorage::new();
    let (store_id, base, target) = input.header;
    let (base, target) = (base.min(target), base.max(target));
    let file = storage.create("increment").expect("memory");
    let mut writer = Writer::begin(&*file, Header { store_id, base, target }).expect("memory");
    let mut expected = Vec::new();
    for (key, value, old) in &input.records {
        writer.push(Record::Put { key, value, old: *old }).expect("memory");
        expected.push((key.clone(), value.clone()));
    }
    let len = writer.finish().expect("memory");
    assert_eq!(read(&storage, "increment").expect("our own"), expected);

    let mut changed = vec![0; len as usize];
    file.read_at(&mut changed, 0).expect("memory");
    let honest = changed.clone();
    for (at, flip) in &input.edits {
        let at = usize::from(*at) % changed.len();
        changed[at] ^= flip;
    }
    if let Some(cut) = input.cut {
        changed.truncate(usize::from(cut));
    }
    if changed != honest {
        let file = storage.create("changed").expect("memory");
        file.allocate(changed.len() as u64).expect("memory");
        file.write_at(&changed, 0).expect("memory");
        // A header's spare bytes are checksummed, too: nothing that was changed is believed.
        assert!(read(&storage, "changed").is_err());
    }

    let file = storage.create("forged").expect("memory");
    let mut writer = Writer::begin(&*file, Header { store_id, base, target }).expect("memory");
    writer.push_raw(&input.raw).expect("memory");
    writer.finish().expect("memory");
    let _ = read(&storage, "forged");
});
