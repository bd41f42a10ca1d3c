//! Heads, tags and cuts against the plainest code that does the same.

use super::{Random, SHAPES};
use crate::page::{
    cell::is_same,
    heads::{Heads, common_len, head},
    split::balanced_cut,
    tags::{TAGS_AT_ONCE, matches, tag},
};

#[test]
fn heads_order_as_their_keys_do() {
    let mut random = Random(3);
    for _ in 0..50_000 {
        let shape = SHAPES[random.below(5)];
        let (a, b) = (shape.key(&mut random, 4096), shape.key(&mut random, 4096));
        assert!(a > b || head(&a) <= head(&b), "{a:?} {b:?}");
        let common = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        assert_eq!(common_len(&a, &b), common);
    }
}

#[test]
fn a_search_in_heads_equals_a_partition_point() {
    let mut random = Random(4);
    for count in 0..600 {
        let mut heads: Vec<u32> = (0..count).map(|_| random.next() as u32 >> 24).collect();
        heads.extend([0, u32::MAX, u32::MAX - 1].iter().take(count % 4));
        heads.sort_unstable();
        let mut bytes = vec![0; 32];
        bytes.extend(heads.iter().flat_map(|head| head.to_le_bytes()));
        bytes.resize(32 + 4 * heads.len().next_multiple_of(8), 0xFF);
        let view = Heads::new(&bytes, 32, heads.len());
        let probes = heads.iter().copied().chain([0, 1, 255, 256, u32::MAX - 1, u32::MAX]);
        for probe in probes {
            assert_eq!(view.lower_bound(probe), heads.partition_point(|&head| head < probe));
            let from = heads.partition_point(|&head| head < probe);
            if heads.get(from) == Some(&probe) {
                let end = heads.partition_point(|&head| head <= probe);
                assert_eq!(view.end_of_equal(from, probe), end);
                assert_eq!(view.start_of_equal(end, probe), from);
            }
        }
        for (i, &head) in heads.iter().enumerate() {
            assert_eq!(view.get(i), head);
        }
    }
}

#[test]
fn a_scan_finds_every_equal_tag_and_no_other() {
    let mut random = Random(5);
    for start in 32..332 {
        let bytes: Vec<u8> =
            (0..332 + TAGS_AT_ONCE).map(|_| [0, 1, 0x7F, 0x80, 0xFF][random.below(5)]).collect();
        assert_eq!(matches(&bytes, bytes.len() - TAGS_AT_ONCE + 1, bytes[332]), 0, "not all there");
        for wanted in [0, 1, 0x7F, 0x80, 0xFF, 9] {
            let expected = (0..TAGS_AT_ONCE).filter(|i| bytes[start + i] == wanted);
            let found = matches(&bytes, start, wanted);
            assert_eq!(found, expected.fold(0, |bits, i| bits | 1 << i));
        }
    }
}

#[test]
fn keys_are_the_same_if_their_bytes_are() {
    let mut random = Random(6);
    for len in (0..40).chain([250, 300]) {
        for _ in 0..200 {
            let key = random.bytes(len);
            let mut other = key.clone();
            assert!(is_same(&key, &other));
            other.push(0);
            assert!(!is_same(&key, &other) && !is_same(&other, &key));
            if len > 0 {
                other.pop();
                other[random.below(len)] ^= 1 << random.below(8);
                assert!(!is_same(&key, &other));
            }
        }
    }
}

#[test]
fn tags_are_the_file_formats_and_spread() {
    let known: [(&[u8], u8); 4] =
        [(b"", 0), (b"a", 244), (b"12345678", 219), (b"a longer key than a word", 55)];
    for (key, expected) in known {
        assert_eq!(tag(key), expected);
    }
    for width in [2, 8, 9, 24] {
        let mut counts = [0u32; 256];
        for i in 0..25_600u64 {
            let mut key = vec![b'k'; width];
            let at = width - 2;
            key[at..].copy_from_slice(&(i as u16).to_be_bytes());
            counts[usize::from(tag(&key))] += 1;
        }
        assert!(counts.iter().all(|&count| (40..200).contains(&count)), "{width}: {counts:?}");
    }
}

#[test]
fn a_cut_is_the_nearest_to_the_middle_that_fits() {
    assert_eq!(balanced_cut(&[], |_| true), None);
    assert_eq!(balanced_cut(&[5], |_| true), None);
    assert_eq!(balanced_cut(&[1, 1, 1, 1], |_| true), Some(2));
    assert_eq!(balanced_cut(&[9, 1, 1, 1], |_| true), Some(1));
    assert_eq!(balanced_cut(&[1, 1, 1, 9], |_| true), Some(3));
    assert_eq!(balanced_cut(&[1, 1, 1, 1], |cut| cut == 3), Some(3));
    assert_eq!(balanced_cut(&[1, 1, 1, 1], |cut| cut == 1), Some(1));
    assert_eq!(balanced_cut(&[1, 1, 1, 1], |_| false), None);
}
