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
    characters(sequence).into_iter().map(char::from).collect()
}

/// Adds the id of the version with this sequence number.
pub(super) fn push(out: &mut Vec<u8>, sequence: u64) {
    out.extend_from_slice(&characters(sequence));
}

fn characters(sequence: u64) -> [u8; LENGTH] {
    let first = scramble(sequence ^ SEQUENCE_SALT);
    let (second, third) = (check(first, 1), check(first, 2));
    // 24 bits for every four characters.
    let groups = [
        first >> 40,
        first >> 16,
        first << 8 | second >> 56,
        second >> 32,
        second >> 8,
        second << 16 | third >> 48,
        third >> 24,
        third,
    ];
    let mut text = [0; LENGTH];
    for (four, bits) in text.chunks_exact_mut(4).zip(groups) {
        for (character, shift) in four.iter_mut().zip([18, 12, 6, 0]) {
            *character = ALPHABET[(bits >> shift & 63) as usize];
        }
    }
    text
}

/// The sequence number that an id carries; `None` where no sequence number has this id.
pub(super) fn decode(text: &str) -> Option<u64> {
    let text: &[u8; LENGTH] = text.as_bytes().try_into().ok()?;
    let mut groups = [0_u64; LENGTH / 4];
    let mut all_known = true;
    for (group, four) in groups.iter_mut().zip(text.chunks_exact(4)) {
        for character in four {
            let value = VALUES[usize::from(*character)];
            all_known &= value < 64;
            *group = *group << 6 | u64::from(value & 63);
        }
    }
    let [a, b, c, d, e, f, g, h] = groups;
    let first = a << 40 | b << 16 | c >> 8;
    let second = c << 56 | d << 32 | e << 8 | f >> 16;
    let third = f << 48 | g << 24 | h;
    let is_ours = all_known && second == check(first, 1) && third == check(first, 2);
    is_ours.then(|| unscramble(first) ^ SEQUENCE_SALT)
}

/// The place of each character in the alphabet; 64 for what is not in it.
const VALUES: [u8; 256] = {
    let mut values = [64; 256];
    let mut place = 0;
    while place < ALPHABET.len() {
        values[ALPHABET[place] as usize] = place as u8;
        place += 1;
    }
    values
};

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
