//! Leaves and branches whose checksum is right and whose content is anything: no read and no change
//! panics, and whatever a change leaves is again a damaged page at worst.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use recto::{
    Error, Result,
    internals::{
        page::{
            self, Child, Kind, PageId, Run,
            branch::{Branch, BranchMut},
            cell::{NewKey, NewValue, key_inline_max, value_inline_max},
            leaf::{Leaf, LeafMut},
            overflow,
        },
        publish::Version,
    },
};
use recto_fuzz::{Bytes, Edit};

const ID: PageId = PageId(7);
const SEED: u32 = 1;

#[derive(Arbitrary, Debug)]
struct Input {
    size: u8,
    is_branch: bool,
    entries: Vec<(Bytes, Bytes)>,
    /// In place of what was built.
    raw: Option<Vec<u8>>,
    edits: Vec<Edit>,
    keys: [Bytes; 2],
    changes: Vec<(u8, u8, Bytes)>,
}

/// Where the runs are that cells name.
#[derive(Default)]
struct Runs(Vec<Vec<u8>>);

impl Runs {
    fn add(&mut self, content: &[u8]) -> Run {
        self.0.push(content.to_vec());
        let first = Child { page: PageId(self.0.len() as u32 + 1), birth: 9 };
        Run { first, len: content.len() as u32 }
    }

    fn get(&self, run: Run) -> Result<&[u8]> {
        let content = self.0.get((run.first.page.0 as usize).wrapping_sub(2));
        content.map(Vec::as_slice).ok_or(Error::Closed)
    }

    fn key<'a>(&mut self, page_bytes: usize, key: &'a [u8]) -> NewKey<'a> {
        if key.len() > key_inline_max(page_bytes) {
            NewKey::Run(self.add(key), key)
        } else {
            NewKey::Inline(key)
        }
    }

    fn value<'a>(&mut self, page_bytes: usize, key_len: usize, value: &'a [u8]) -> NewValue<'a> {
        if value.len() > value_inline_max(page_bytes, key_len) {
            NewValue::Run(self.add(value))
        } else {
            NewValue::Inline(value)
        }
    }
}

fn build(input: &Input, page: &mut [u8], runs: &mut Runs) {
    let page_bytes = page.len();
    let kind = if input.is_branch { Kind::Branch } else { Kind::Leaf };
    page::init(page, ID, Version(5), 3, kind, u8::from(input.is_branch));
    let mut entries: Vec<_> =
        input.entries.iter().map(|(key, value)| (key.bytes(), value.bytes())).collect();
    entries.sort();
    entries.dedup_by(|b, a| a.0 == b.0);
    for (key, value) in entries {
        let new_key = runs.key(page_bytes, &key);
        let fits = if input.is_branch {
            let child = Child { page: PageId(3), birth: 1 };
            BranchMut::new(page).and_then(|mut branch| branch.push(new_key, child))
        } else {
            let value = runs.value(page_bytes, key.len(), &value);
            LeafMut::new(page).and_then(|mut leaf| leaf.push(new_key, value))
        };
        if !fits.expect("a page of our own is whole") {
            break;
        }
    }
}

fn read(page: &[u8], runs: &Runs, keys: &[Vec<u8>]) {
    let resolve = |run| runs.get(run);
    if let Ok(leaf) = Leaf::new(page) {
        for key in keys {
            let _ = leaf.find(key, &resolve);
            if let Ok(Ok(i) | Err(i)) = leaf.search(key, &resolve) {
                assert!(i <= leaf.len());
            }
        }
        for i in 0..leaf.len().min(100) {
            let _ = leaf.entry(i);
        }
        assert!(leaf.used_bytes() + leaf.free_bytes() > 0);
    }
    if let Ok(branch) = Branch::new(page) {
        for key in keys {
            if let Ok(i) = branch.child_index(key, &resolve) {
                assert!(i < branch.len());
            }
        }
        for i in 0..branch.len().min(100) {
            let _ = branch.child(i);
            let mut whole = Vec::new();
            let _ = branch.separator(i).map(|separator| separator.append_to(&mut whole, &resolve));
        }
        assert!(branch.used_bytes() + branch.free_bytes() > 0);
    }
}

/// One change; false after an error, which undoes the whole transaction.
fn change_leaf(page: &mut [u8], runs: &mut Runs, (what, at, key): (u8, u8, &[u8])) -> bool {
    let (page_bytes, copy) = (page.len(), page.to_vec());
    let Ok(mut leaf) = LeafMut::new(page) else {
        return false;
    };
    let len = leaf.as_leaf().len();
    let i = usize::from(at) % (len + 1);
    let (new_key, value) = (runs.key(page_bytes, key), runs.value(page_bytes, key.len(), key));
    let outcome = match what % 6 {
        0 => leaf.insert(i, new_key, value).map(drop),
        1 if i < len => leaf.replace_value(i, value).map(drop),
        2 if i < len => leaf.remove(i),
        3 => leaf.remove_range(i / 2..i),
        4 => leaf.as_leaf().split_point(i, new_key, value).map(drop),
        _ => Leaf::new(&copy).and_then(|source| match source.len() {
            0 => Ok(()),
            len => leaf.push_from(source, usize::from(at) % len).map(drop),
        }),
    };
    outcome.is_ok()
}

fn change_branch(page: &mut [u8], runs: &mut Runs, (what, at, key): (u8, u8, &[u8])) -> bool {
    let (page_bytes, copy) = (page.len(), page.to_vec());
    let Ok(mut branch) = BranchMut::new(page) else {
        return false;
    };
    let len = branch.as_branch().len();
    let i = if len == 0 { 0 } else { 1 + usize::from(at) % len };
    let child = Child { page: PageId(3), birth: 1 };
    let separator = runs.key(page_bytes, key);
    let outcome = match what % 6 {
        0 => branch.insert(i, separator, child).map(drop),
        2 if len > 0 => branch.remove(i - 1),
        3 if len > 0 => branch.set_child(i - 1, child),
        4 if i > 0 => branch.as_branch().split_point(i, separator).map(drop),
        _ => Branch::new(&copy).and_then(|source| match source.len() {
            2.. if len > 0 => branch.push_from(source, 1).map(drop),
            _ => Ok(()),
        }),
    };
    outcome.is_ok()
}

fuzz_target!(|input: Input| {
    let page_bytes = 4096 << (input.size % 4);
    let mut bytes = vec![0; page_bytes];
    let mut runs = Runs::default();
    build(&input, &mut bytes, &mut runs);
    if let Some(raw) = &input.raw {
        let len = raw.len().min(page_bytes - page::KIND.start);
        bytes[page::KIND.start..][..len].copy_from_slice(&raw[..len]);
    }
    for edit in &input.edits {
        edit.apply(&mut bytes, page::KIND.start);
    }
    page::seal(&mut bytes, SEED);
    page::verify(&bytes, ID, SEED).expect("the checksum was repaired");
    let keys = input.keys.each_ref().map(Bytes::bytes);
    read(&bytes, &runs, &keys);
    let run = Run { first: Child { page: ID, birth: 5 }, len: u32::from(input.size) };
    let _ = overflow::verify_run(&bytes, run, SEED);
    let _ = overflow::content(&bytes, run, 3);
    for (what, at, key) in &input.changes {
        let key = key.bytes();
        let change = (*what, *at, key.as_slice());
        let goes_on = if input.is_branch {
            change_branch(&mut bytes, &mut runs, change)
        } else {
            change_leaf(&mut bytes, &mut runs, change)
        };
        if !goes_on {
            break;
        }
        read(&bytes, &runs, &keys);
    }
});
