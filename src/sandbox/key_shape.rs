//! Keys of the shapes that buckets have in real life, and of those that break clients.

use super::chance::mix;
use super::seed::KeyShape;
use super::version_id::scramble;

/// Parts of keys in many scripts. `é` stands here composed and decomposed; U+FF5E comes before
/// U+1F600 in bytes and behind it in UTF-16.
const UNICODE: [&str; 10] = [
    "Größe",
    "日本語/ファイル",
    "\u{e9}te\u{301}",
    "e\u{301}te\u{e9}",
    "\u{ff5e}wave",
    "\u{1f600}smile",
    "Ελληνικά",
    "עברית",
    "हिन्दी",
    "\u{10ffff}last",
];

/// Parts of keys that clients get wrong.
const ODD: [&str; 28] = [
    "a//b",
    "/leading",
    "../up",
    "a/../b",
    "./here",
    "a/./b",
    "..",
    "trailing/",
    "  blanks  ",
    "a+b",
    "a%2Fb",
    "%",
    "%zz",
    "a&b=c",
    "<tag>&amp;",
    "\"quotes'",
    "line\nfeed",
    "carriage\rreturn",
    "tab\there",
    "control\u{1}",
    "\u{fffe}no",
    "del\u{7f}",
    "back\\slash",
    "a?b#c",
    "null",
    "a;b:c,d",
    "*~()!",
    "nbsp\u{a0}\u{200b}",
];

/// The key with this index. Different indexes give different keys.
pub(super) fn key(shape: KeyShape, prefix: &str, seed: u64, index: u64) -> String {
    match shape {
        KeyShape::Hive => hive(prefix, seed, index),
        KeyShape::Flat => format!("{prefix}{:016x}", scramble(index ^ mix(&[seed]))),
        KeyShape::Unicode => format!("{prefix}{}-{index}", part(&UNICODE, index)),
        KeyShape::Odd => odd(prefix, index),
    }
}

fn part<'p>(parts: &[&'p str], index: u64) -> &'p str {
    parts[usize::try_from(index % parts.len() as u64).unwrap_or(0)]
}

/// Each hour of a table has up to 64 parts; tables of hours follow each other.
fn hive(prefix: &str, seed: u64, index: u64) -> String {
    let (hour_index, part) = (index / 64, index % 64);
    let (hour, day_index) = (hour_index % 24, hour_index / 24);
    let (day, month_index) = (day_index % 28 + 1, day_index / 28);
    let (month, year) = (month_index % 12 + 1, 2015 + month_index / 12);
    let hash = mix(&[seed, index]) >> 32;
    format!(
        "{prefix}table=events/year={year}/month={month:02}/day={day:02}/hour={hour:02}/part-{part:05}-{hash:08x}.parquet"
    )
}

fn odd(prefix: &str, index: u64) -> String {
    let count = ODD.len() as u64;
    // The first round stands as it is, later ones are numbered; the last of each is as long as a
    // key can be.
    let (round, place) = (index / (count + 1), index % (count + 1));
    let number = if round == 0 { String::new() } else { format!("{round}~") };
    if place < count {
        return format!("{prefix}{number}{}", part(&ODD, place));
    }
    let length = 1024_usize.saturating_sub(prefix.len() + number.len());
    format!("{prefix}{number}{}", "x".repeat(length))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn different_indexes_give_different_keys() {
        for shape in [KeyShape::Hive, KeyShape::Flat, KeyShape::Unicode, KeyShape::Odd] {
            let keys: BTreeSet<_> = (0..5000).map(|index| key(shape, "p/", 3, index)).collect();
            assert_eq!(keys.len(), 5000, "{shape:?}");
            assert!(keys.iter().all(|key| key.len() <= 1024 && key.starts_with("p/")), "{shape:?}");
        }
    }

    #[test]
    fn keys_follow_from_the_seed() {
        assert_eq!(key(KeyShape::Hive, "", 3, 77), key(KeyShape::Hive, "", 3, 77));
        assert_ne!(key(KeyShape::Flat, "", 3, 77), key(KeyShape::Flat, "", 4, 77));
    }
}
