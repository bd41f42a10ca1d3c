//! Many small numbers of a page compared with one at once: a cache line of heads, or of tags.
//! Owns: the two comparisons. The compiler makes vectors of the portable ones, too, but counts what
//! they find with 17 instructions where two would do; on x86-64, where SSE2 always is, they are
//! written out (measured: 150 instructions of 1,000 a get).

use crate::storage::map::LINE_BYTES;

/// How many tags are compared at once.
pub const TAGS_AT_ONCE: usize = LINE_BYTES;
/// How many heads are compared at once.
pub const HEADS_AT_ONCE: usize = LINE_BYTES / 4;

/// How many of sixteen sorted little-endian numbers are not greater than `limit`; of unsorted ones,
/// how many before the first that is.
#[inline]
pub fn not_greater(line: &[u8; LINE_BYTES], limit: u32) -> usize {
    (greater_bits(line, limit) | 1 << HEADS_AT_ONCE).trailing_zeros() as usize
}

/// One bit for each of sixteen little-endian numbers, the lowest for the first: whether it is
/// greater than `limit`.
#[inline]
pub fn greater_bits(line: &[u8; LINE_BYTES], limit: u32) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has SSE2.
    let bits = unsafe { sse2::greater(line, limit) };
    #[cfg(not(target_arch = "x86_64"))]
    let bits = portable::greater(line, limit);
    bits
}

/// One bit for each of 64 bytes, the lowest for the first: whether it is `byte`.
#[inline]
pub fn equal_bits(bytes: &[u8; TAGS_AT_ONCE], byte: u8) -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has SSE2.
    let bits = unsafe { sse2::equal(bytes, byte) };
    #[cfg(not(target_arch = "x86_64"))]
    let bits = portable::equal(bytes, byte);
    bits
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use super::{LINE_BYTES, TAGS_AT_ONCE};
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_cmpgt_epi32, _mm_loadu_si128, _mm_movemask_epi8,
        _mm_packs_epi16, _mm_packs_epi32, _mm_set1_epi8, _mm_set1_epi32, _mm_xor_si128,
    };

    #[inline]
    #[target_feature(enable = "sse2")]
    fn load<const N: usize>(bytes: &[u8; N], nth: usize) -> __m128i {
        let sixteen = &bytes[nth * 16..nth * 16 + 16];
        // SAFETY: sixteen bytes are there; no alignment is asked for.
        unsafe { _mm_loadu_si128(sixteen.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    pub fn greater(line: &[u8; LINE_BYTES], limit: u32) -> u32 {
        // There is a comparison of signed numbers alone: the order stays when both are moved down.
        let lowest = _mm_set1_epi32(i32::MIN);
        let limit = _mm_xor_si128(_mm_set1_epi32(limit.cast_signed()), lowest);
        let four = |nth| _mm_cmpgt_epi32(_mm_xor_si128(load(line, nth), lowest), limit);
        let eight = |nth| _mm_packs_epi32(four(nth), four(nth + 1));
        _mm_movemask_epi8(_mm_packs_epi16(eight(0), eight(2))).cast_unsigned()
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    pub fn equal(bytes: &[u8; TAGS_AT_ONCE], byte: u8) -> u64 {
        let byte = _mm_set1_epi8(byte.cast_signed());
        let bits = |nth| _mm_movemask_epi8(_mm_cmpeq_epi8(load(bytes, nth), byte)).cast_unsigned();
        let half = |nth| u64::from(bits(nth) | bits(nth + 1) << 16);
        half(0) | half(2) << 32
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::{LINE_BYTES, TAGS_AT_ONCE};

    pub fn greater(line: &[u8; LINE_BYTES], limit: u32) -> u32 {
        let bit = |head: &[u8; 4]| u32::from(u32::from_le_bytes(*head) > limit);
        let heads = line.as_chunks().0.iter().enumerate();
        heads.fold(0, |bits, (i, head)| bits | bit(head) << i)
    }

    pub fn equal(bytes: &[u8; TAGS_AT_ONCE], byte: u8) -> u64 {
        let found = bytes.iter().enumerate();
        found.fold(0, |bits, (i, &other)| bits | u64::from(other == byte) << i)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_find_what_the_portable_comparisons_find() {
        let mut seed = 3u64;
        let mut roll = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed >> 33
        };
        for round in 0..20_000 {
            let few = [0, 1, 0x7F, 0x80, 0xFF, (roll() % 256) as u8];
            let line: [u8; LINE_BYTES] = std::array::from_fn(|_| few[roll() as usize % few.len()]);
            let words = line.as_chunks().0;
            for limit in [0, 1, i32::MAX as u32, 1 << 31, u32::MAX, roll() as u32]
                .into_iter()
                .chain(words.iter().map(|word| u32::from_le_bytes(*word)))
            {
                let (found, expected) =
                    (greater_bits(&line, limit), portable::greater(&line, limit));
                assert_eq!(found, expected, "round {round}: {line:?} above {limit}");
            }
            for tag in few {
                assert_eq!(equal_bits(&line, tag), portable::equal(&line, tag), "{line:?}, {tag}");
            }
        }
        let sorted: [u8; LINE_BYTES] =
            std::array::from_fn(|i| if i % 4 == 3 { i as u8 } else { 0 });
        assert_eq!(not_greater(&sorted, 12 << 24), 3);
        assert_eq!(not_greater(&sorted, u32::MAX), HEADS_AT_ONCE);
    }
}
