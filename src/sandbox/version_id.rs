//! Version ids that carry their own place in the order of their key.
//!
//! A listing goes on after the version that its `version-id-marker` names even if that version has
//! been deleted since: so does AWS. The id of a version is its sequence number under a fixed
//! bijection, so the place of a version that is gone can be read from its id, and nothing has to be
//! remembered of what was deleted. Two further words make a made-up id recognisable.

/// The 64 characters that AWS's version ids are made of.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._";

/// Characters of an id, as on AWS.
pub(super) const LENGTH: usize = 32;

const SEQUENCE_SALT: u64 = 0x5eed_0f5e_90e2_a11d;

/// Which version of a key a request names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum VersionRef {
    /// The literal `null`.
    Null,
    /// The version with this sequence number.
    Sequence(u64),
}

impl VersionRef {
    /// `None` where the text is not an id that this server could have given.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "null" { Some(Self::Null) } else { decode(text).map(Self::Sequence) }
    }
}

/// The id of the version with this sequence number.
pub(super) fn encode(sequence: u64) -> String {
    let first = scramble(sequence ^ SEQUENCE_SALT);
    let words = [first, check(first, 1), check(first, 2)];
    let mut bytes = [0_u8; 24];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    let mut text = String::with_capacity(LENGTH);
    for group in bytes.chunks_exact(3) {
        let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        for shift in [18, 12, 6, 0] {
            text.push(char::from(ALPHABET[(bits >> shift & 63) as usize]));
        }
    }
    text
}

/// The sequence number that an id carries; `None` where no sequence number has this id.
pub(super) fn decode(text: &str) -> Option<u64> {
    if text.len() != LENGTH {
        return None;
    }
    let mut words = [0_u64; 3];
    let mut bits = 0_u32;
    for (index, character) in text.bytes().enumerate() {
        bits = bits << 6 | u32::from(value_of(character)?);
        if index % 4 == 3 {
            let at = index / 4 * 3;
            for (offset, shift) in [16, 8, 0].into_iter().enumerate() {
                let word = &mut words[(at + offset) / 8];
                *word = *word << 8 | u64::from(bits >> shift & 0xff);
            }
            bits = 0;
        }
    }
    let [first, second, third] = words;
    (second == check(first, 1) && third == check(first, 2)).then(|| unscramble(first) ^ SEQUENCE_SALT)
}

fn value_of(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'.' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

fn check(first: u64, which: u64) -> u64 {
    scramble(first.wrapping_add(which.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// A bijection on 64 bits (the finalizer of SplitMix64).
pub(super) const fn scramble(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

const fn unscramble(mut x: u64) -> u64 {
    x ^= x >> 31 ^ x >> 62;
    x = x.wrapping_mul(0x3196_42b2_d24d_8ec3);
    x ^= x >> 27 ^ x >> 54;
    x = x.wrapping_mul(0x96de_1b17_3f11_9089);
    x ^ x >> 30 ^ x >> 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_gives_its_sequence_number_back() {
        for sequence in (0..2000).chain([u64::MAX, u64::MAX / 3, 1 << 40]) {
            let id = encode(sequence);
            assert_eq!(id.len(), LENGTH);
            assert_eq!(decode(&id), Some(sequence), "{id}");
        }
    }

    #[test]
    fn a_made_up_id_is_recognised() {
        let id = encode(7);
        let altered = format!("{}{}", &id[..31], if id.ends_with('A') { 'B' } else { 'A' });
        assert_eq!(decode(&altered), None);
        assert_eq!(decode("3HL4kqtJvjVBH40Nrjfkd.eOa8zT1X_2"), None);
        assert_eq!(decode(&id[1..]), None);
        assert_eq!(decode("not an id, and 32 characters lon"), None);
        assert_eq!(VersionRef::parse("null"), Some(VersionRef::Null));
        assert_eq!(VersionRef::parse(""), None);
    }
}
