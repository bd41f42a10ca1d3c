//! The catalog: which tables there are, of which types, and where their trees begin.
//! Owns: [`Catalog`], [`TableEntry`], [`TableTypes`] and their encoding.
//! A catalog is copied with every group: what changes only when tables come and go is shared, and
//! the trees lie beside it, so a copy is one reference count and 32 bytes a table. Keeps I9. Absent
//! on purpose: it does not know what a type is, only its hash and its name.

use crate::{
    error::{Error, Result, TypeMismatch},
    options::{PAGE_FILE, TABLE_NAME_BYTES_MAX, TABLES_MAX},
    page::{Child, PageId},
    pager::TableId,
    sync::PlainArc,
    tree::Tree,
};

/// The longest name of a type that is kept; it is only shown, the hash decides.
const TYPE_NAME_BYTES_MAX: usize = 4096;
/// The least that a table takes in the encoding.
const TABLE_BYTES_MIN: usize = 4 + 4 + 4 + 1 + 8 + 2 + 2;

/// The types of a table's keys and values, as the log and the catalog keep them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableTypes {
    /// The hash of the key type.
    pub key: u64,
    /// The hash of the value type.
    pub value: u64,
    /// The key type's name, for messages.
    pub key_name: PlainArc<str>,
    /// The value type's name, for messages.
    pub value_name: PlainArc<str>,
}

impl TableTypes {
    /// Whether both hashes are equal; names do not count.
    #[inline]
    pub fn matches(&self, key: u64, value: u64) -> bool {
        (self.key, self.value) == (key, value)
    }

    /// Appends the encoding: two hashes, the length of the key type's name, both names.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (key_name, value_name) = (cut(&self.key_name), cut(&self.value_name));
        out.extend_from_slice(&self.key.to_le_bytes());
        out.extend_from_slice(&self.value.to_le_bytes());
        out.extend_from_slice(&(key_name.len() as u16).to_le_bytes());
        out.extend_from_slice(key_name.as_bytes());
        out.extend_from_slice(value_name.as_bytes());
    }

    /// Reads what [`encode`](Self::encode) wrote, all of `bytes`; `file` is named if they are
    /// damaged.
    pub fn decode(file: &str, bytes: &[u8]) -> Result<TableTypes> {
        let mut input = Input { file, bytes };
        let key = u64::from_le_bytes(input.array()?);
        let value = u64::from_le_bytes(input.array()?);
        let key_name_len = u16::from_le_bytes(input.array()?);
        let key_name = input.text(usize::from(key_name_len))?;
        let value_name = input.text(input.bytes.len())?;
        Ok(TableTypes { key, value, key_name: key_name.into(), value_name: value_name.into() })
    }
}

impl std::fmt::Display for TableTypes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} -> {}", self.key_name, self.value_name)
    }
}

/// A table, without its tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// The number that its pages and its log operations carry; never used again.
    pub id: TableId,
    /// The hash of the name, as [`name_hash`] gives it.
    pub name_hash: u64,
    /// The name, at most [`TABLE_NAME_BYTES_MAX`] bytes.
    pub name: PlainArc<str>,
    /// The types that it was created with.
    pub types: PlainArc<TableTypes>,
}

impl TableEntry {
    /// An error unless the table has the types `asked`; their names do not count.
    ///
    /// # Errors
    /// [`Error::TypeMismatch`].
    #[inline]
    pub fn expect_types(&self, asked: &TableTypes) -> Result<()> {
        if self.types.matches(asked.key, asked.value) {
            return Ok(());
        }
        Err(Error::TypeMismatch(PlainArc::new(TypeMismatch {
            table: (*self.name).to_owned(),
            stored: self.types.to_string(),
            asked: asked.to_string(),
        })))
    }
}

/// All tables of one version, each at an index that holds until a table is inserted or removed.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    names: PlainArc<Names>,
    /// Parallel to `names.entries`.
    trees: Vec<Tree>,
}

/// What changes only when a table comes, goes or is renamed.
#[derive(Clone, Debug, Default)]
struct Names {
    /// In the order of their ids, which is the order in which they were made.
    entries: Vec<TableEntry>,
    /// Name hash and index, sorted; equal hashes are told apart by the name.
    by_hash: Vec<(u64, u32)>,
}

/// The hash of a table's name: FNV-1a, because it can be computed at compile time.
pub const fn name_hash(name: &[u8]) -> u64 {
    hash_more(0xcbf2_9ce4_8422_2325, name)
}

/// Continues the hash `hash` with `bytes`.
pub const fn hash_more(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    hash
}

impl Catalog {
    /// A catalog without tables.
    pub fn new() -> Catalog {
        Catalog::default()
    }

    /// The number of tables.
    pub fn len(&self) -> usize {
        self.trees.len()
    }

    /// Whether there is no table.
    pub fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// The index of the table `name`, whose hash is `hash`. Cost: a binary search over hashes.
    // Inlined, as what it needs below: a reader in a loop asks for its table with every get.
    #[inline]
    pub fn find(&self, hash: u64, name: &str) -> Option<usize> {
        let by_hash = &self.names.by_hash;
        let mut at = by_hash.partition_point(|&(other, _)| other < hash);
        while let Some(&(other, index)) = by_hash.get(at)
            && other == hash
        {
            if *self.entry(index as usize).name == *name {
                return Some(index as usize);
            }
            at += 1;
        }
        None
    }

    /// As [`find`](Self::find), for a name whose hash is not known yet.
    pub fn find_name(&self, name: &str) -> Option<usize> {
        self.find(name_hash(name.as_bytes()), name)
    }

    /// The index of the table with the id `id`.
    pub fn find_id(&self, id: TableId) -> Option<usize> {
        self.names.entries.binary_search_by_key(&id, |entry| entry.id).ok()
    }

    /// The table at `index`, without its tree.
    #[inline]
    pub fn entry(&self, index: usize) -> &TableEntry {
        &self.names.entries[index]
    }

    /// The tree of the table at `index`.
    #[inline]
    pub fn tree(&self, index: usize) -> &Tree {
        &self.trees[index]
    }

    /// The tree of the table at `index`, to change it.
    #[inline]
    pub fn tree_mut(&mut self, index: usize) -> &mut Tree {
        &mut self.trees[index]
    }

    /// Puts `tree` in the place of the tree of the table at `index`.
    pub fn set_tree(&mut self, index: usize, tree: Tree) {
        self.trees[index] = tree;
    }

    /// All tables, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&TableEntry, &Tree)> {
        self.names.entries.iter().zip(&self.trees)
    }

    /// Adds a table and returns its index. `id` and `name` must be new, the name and the number of
    /// tables within their limits: the caller has looked.
    pub fn insert(&mut self, name: &str, id: TableId, types: TableTypes, tree: Tree) -> usize {
        let hash = name_hash(name.as_bytes());
        assert!(self.find(hash, name).is_none(), "table is in the catalog");
        let names = PlainArc::make_mut(&mut self.names);
        let index = names.entries.partition_point(|entry| entry.id < id);
        let entry =
            TableEntry { id, name_hash: hash, name: name.into(), types: PlainArc::new(types) };
        names.entries.insert(index, entry);
        names.sort();
        self.trees.insert(index, tree);
        index
    }

    /// Takes the table at `index` out and returns its tree, whose pages are the caller's to free.
    pub fn remove(&mut self, index: usize) -> Tree {
        let names = PlainArc::make_mut(&mut self.names);
        names.entries.remove(index);
        names.sort();
        self.trees.remove(index)
    }

    /// Gives the table at `index` the name `name`; false, and nothing is changed, if another has
    /// it.
    pub fn rename(&mut self, index: usize, name: &str) -> bool {
        let hash = name_hash(name.as_bytes());
        if let Some(taken) = self.find(hash, name) {
            return taken == index;
        }
        let names = PlainArc::make_mut(&mut self.names);
        names.entries[index].name = name.into();
        names.entries[index].name_hash = hash;
        names.sort();
        true
    }

    /// Appends the encoding: the number of tables, then each with its tree, in the order of ids.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.len() as u32).to_le_bytes());
        let mut types = Vec::new();
        for (entry, tree) in self.iter() {
            let root = tree.root.unwrap_or(NO_ROOT);
            out.extend_from_slice(&entry.id.to_le_bytes());
            out.extend_from_slice(&root.page.0.to_le_bytes());
            out.extend_from_slice(&root.birth.to_le_bytes());
            out.push(tree.level);
            out.extend_from_slice(&tree.len.to_le_bytes());
            types.clear();
            entry.types.encode(&mut types);
            for part in [entry.name.as_bytes(), &types] {
                out.extend_from_slice(&(part.len() as u16).to_le_bytes());
                out.extend_from_slice(part);
            }
        }
    }

    /// Reads what [`encode`](Self::encode) wrote, all of `bytes`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if `bytes` cannot have been written by `encode`.
    pub fn decode(bytes: &[u8]) -> Result<Catalog> {
        let file = PAGE_FILE;
        let mut input = Input { file, bytes };
        let count = u32::from_le_bytes(input.array()?) as usize;
        if count > TABLES_MAX || count > input.bytes.len() / TABLE_BYTES_MIN {
            return Err(input.damaged("more tables than it has bytes for"));
        }
        let mut names = Names::default();
        let mut trees: Vec<Tree> = Vec::with_capacity(count);
        for _ in 0..count {
            let (entry, tree) = input.table()?;
            if trees.last().is_some_and(|last| last.table >= entry.id) {
                return Err(input.damaged("ids of tables do not ascend"));
            }
            names.entries.push(entry);
            trees.push(tree);
        }
        if !input.bytes.is_empty() {
            return Err(input.damaged("bytes behind the last table"));
        }
        names.sort();
        let same = |pair: &[(u64, u32)]| {
            let [a, b] = [pair[0], pair[1]].map(|(_, index)| &names.entries[index as usize].name);
            pair[0].0 == pair[1].0 && a == b
        };
        if names.by_hash.windows(2).any(same) {
            return Err(input.damaged("two tables of one name"));
        }
        Ok(Catalog { names: PlainArc::new(names), trees })
    }
}

impl Names {
    /// Makes `by_hash` anew; tables come and go rarely.
    fn sort(&mut self) {
        let entries = self.entries.iter().enumerate();
        self.by_hash = entries.map(|(i, entry)| (entry.name_hash, i as u32)).collect();
        // By name among equal hashes, so that equal names are neighbours.
        let entries = &self.entries;
        self.by_hash.sort_unstable_by_key(|&(hash, index)| (hash, &*entries[index as usize].name));
    }
}

/// The root of an empty tree as it is encoded: page 0 is a meta page and never a root.
const NO_ROOT: Child = Child { page: PageId(0), birth: 0 };

/// The name of a type as far as it is kept.
fn cut(name: &str) -> &str {
    let mut len = name.len().min(TYPE_NAME_BYTES_MAX);
    while !name.is_char_boundary(len) {
        len -= 1;
    }
    &name[..len]
}

/// Bytes that are read from the front, each read checked.
struct Input<'a> {
    file: &'a str,
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some((head, rest)) = self.bytes.split_at_checked(len) else {
            return Err(self.damaged("it ends too early"));
        };
        self.bytes = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn text(&mut self, len: usize) -> Result<&'a str> {
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map_err(|_| self.damaged("a name is not UTF-8"))
    }

    fn table(&mut self) -> Result<(TableEntry, Tree)> {
        let id = u32::from_le_bytes(self.array()?);
        let page = PageId(u32::from_le_bytes(self.array()?));
        let birth = u32::from_le_bytes(self.array()?);
        let [level] = self.array()?;
        let len = u64::from_le_bytes(self.array()?);
        let name_len = u16::from_le_bytes(self.array()?);
        let name = self.text(usize::from(name_len))?;
        let types_len = u16::from_le_bytes(self.array()?);
        let types = TableTypes::decode(self.file, self.take(usize::from(types_len))?)?;
        let root = Child { page, birth };
        let root = (root != NO_ROOT).then_some(root);
        if root.is_none() != (len == 0) || (root.is_none() && level != 0) {
            return Err(self.damaged("a table's root and length disagree"));
        }
        if name.len() > TABLE_NAME_BYTES_MAX {
            return Err(self.damaged("a table's name is too long"));
        }
        let entry = TableEntry {
            id,
            name_hash: name_hash(name.as_bytes()),
            name: name.into(),
            types: PlainArc::new(types),
        };
        let tree = Tree { table: id, root, level, len };
        Ok((entry, tree))
    }

    fn damaged(&self, reason: &str) -> Error {
        Error::corrupt(self.file, format!("catalog: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn types(key: &str, value: &str) -> TableTypes {
        TableTypes {
            key: name_hash(key.as_bytes()),
            value: name_hash(value.as_bytes()),
            key_name: key.into(),
            value_name: value.into(),
        }
    }

    fn empty(table: TableId) -> Tree {
        Tree { table, root: None, level: 0, len: 0 }
    }

    fn sample() -> Catalog {
        let mut catalog = Catalog::new();
        for (id, name) in [(1, "ages"), (2, ""), (7, "edges"), (9, "blobs")] {
            let index = catalog.insert(name, id, types("&str", "(u64, u64)"), empty(id));
            let tree = catalog.tree_mut(index);
            tree.len = u64::from(id / 2);
            let root = Child { page: PageId(id + 2), birth: id };
            tree.root = (tree.len > 0).then_some(root);
        }
        catalog
    }

    fn encoded(catalog: &Catalog) -> Vec<u8> {
        let mut bytes = Vec::new();
        catalog.encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_table_is_found_by_name_and_id_until_it_is_removed_or_renamed() {
        let mut catalog = sample();
        let find = |catalog: &Catalog, name: &str| catalog.find(name_hash(name.as_bytes()), name);
        assert_eq!(find(&catalog, "edges"), Some(2));
        assert_eq!(catalog.find_id(7), Some(2));
        assert_eq!(find(&catalog, "edge"), None);
        assert_eq!(catalog.find(name_hash(b"edges"), "ages"), None);
        let before = catalog.clone();
        assert!(catalog.rename(2, "links"));
        assert!(!catalog.rename(2, "ages"));
        assert!(catalog.rename(2, "links"));
        assert_eq!(catalog.remove(0).table, 1);
        assert_eq!(find(&catalog, "links"), Some(1));
        assert_eq!(find(&catalog, "edges"), None);
        assert_eq!(find(&catalog, "ages"), None);
        assert_eq!(find(&before, "edges"), Some(2));
        assert_eq!(before.tree(2).len, 3);
    }

    #[test]
    fn names_of_types_are_cut_and_hashes_kept() {
        let mut catalog = Catalog::new();
        let name = "y".repeat(TYPE_NAME_BYTES_MAX * 20);
        catalog.insert("x", 1, types(&name, &name), empty(1));
        let decoded = Catalog::decode(&encoded(&catalog)).unwrap();
        assert_eq!(decoded.entry(0).types.key_name.len(), TYPE_NAME_BYTES_MAX);
        let asked = types(&name, &name);
        decoded.entry(0).expect_types(&asked).unwrap();
        let error = sample().entry(0).expect_types(&types("u64", "()")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "table \"ages\" holds &str -> (u64, u64), but was opened as u64 -> ()"
        );
    }

    #[test]
    fn decode_gives_back_what_encode_took() {
        let catalog = sample();
        let bytes = encoded(&catalog);
        let decoded = Catalog::decode(&bytes).unwrap();
        assert!(decoded.iter().eq(catalog.iter()));
        assert_eq!(decoded.names.by_hash, catalog.names.by_hash);
        for end in 0..bytes.len() {
            assert!(matches!(Catalog::decode(&bytes[..end]), Err(Error::Corrupt(_))));
        }
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_refused_or_read_as_what_they_say(
            at in any::<prop::sample::Index>(), flip in 1..=255_u8,
            tail in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let mut bytes = encoded(&sample());
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            bytes.extend(tail);
            match Catalog::decode(&bytes) {
                Ok(catalog) => prop_assert_eq!(encoded(&catalog), bytes),
                Err(error) => prop_assert!(matches!(error, Error::Corrupt(_))),
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Catalog::decode(&bytes);
            let _ = TableTypes::decode("log-1", &bytes);
        }
    }
}
