//! A numeric frame for keys: which characters occur at which place, learnt from the keys that pages
//! show, and from that where a key lies between two others and which key lies half-way.
//!
//! A place is the number of delimiters before it and the number of characters since the last one, so
//! that `month=07` is read alike under every year. Where few characters of a place were seen, those
//! of a place that was seen completely and shares one with it are taken to occur too: the first page
//! of a bucket of hexadecimal keys shows one leading digit, and all sixteen further behind.
//!
//! What comes out is a guess. It decides how evenly the work is divided, never what is listed.

use std::collections::BTreeMap;

/// Divides keys into segments, as users of S3 do.
pub(super) const DELIMITER: char = '/';
/// Segments and characters of a segment that are told apart; deeper ones are not looked at.
const SEGMENTS_MAX: usize = 24;
const OFFSETS_MAX: usize = 512;
/// Characters that are remembered of a place.
const CHARS_MAX: usize = 256;
/// Shares of the key space below this are not told apart: a `f64` holds no more digits.
const SHARE_MIN: f64 = 1e-13;
/// A split point is no longer than this behind the part that its neighbours share.
const POINT_BYTES_MAX: usize = 200;

/// The characters of one place.
#[derive(Clone, Debug, Default)]
struct Chars {
    /// Seen, in order.
    seen: Vec<char>,
    /// They went back from one key to a later one, so that the greatest has probably been seen.
    is_complete: bool,
    /// A character that does not come, although it was expected, and none behind it.
    below: Option<char>,
    /// Seen or expected, in order.
    expected: Vec<char>,
}

impl Chars {
    fn add(&mut self, c: char) -> bool {
        match self.seen.binary_search(&c) {
            Err(at) if self.seen.len() < CHARS_MAX => {
                self.seen.insert(at, c);
                true
            }
            _ => false,
        }
    }
}

/// What is known of the characters of keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Frame {
    segments: Vec<Vec<Chars>>,
    /// Levels whose children are known: by their prefix, the children's prefixes in order.
    levels: BTreeMap<String, Vec<String>>,
}

/// A step into the key space: into one of `len` equal parts.
struct Step {
    rank: usize,
    len: usize,
    /// How many bytes of the key name the part; `None` where the key lies between the parts.
    bytes: Option<usize>,
}

/// The characters of a key with their places: byte position, segment, offset, character.
fn places(text: &str) -> impl Iterator<Item = (usize, usize, usize, char)> {
    let (mut segment, mut offset) = (0, 0);
    text.char_indices().map(move |(at, c)| {
        let place = (at, segment, offset, c);
        if c == DELIMITER {
            (segment, offset) = (segment + 1, 0);
        } else {
            offset += 1;
        }
        place
    })
}

impl Frame {
    /// Learns from keys in the order of the listing.
    pub(super) fn learn<'k>(&mut self, keys: impl IntoIterator<Item = &'k str>) {
        let mut changed = Vec::new();
        let mut before: Option<&str> = None;
        for key in keys {
            for (_, segment, offset, c) in places(key) {
                if let Some(chars) = self.place(segment, offset)
                    && chars.add(c)
                {
                    changed.push(segment);
                }
            }
            if let Some(before) = before {
                self.learn_from_neighbours(before, key, &mut changed);
            }
            before = Some(key);
        }
        changed.sort_unstable();
        changed.dedup();
        changed.into_iter().for_each(|segment| self.expect(segment));
    }

    /// Takes all children of a level, in order, each with the level's prefix and its own delimiter.
    pub(super) fn learn_level(&mut self, prefix: &str, children: Vec<String>) {
        let segment = prefix.matches(DELIMITER).count();
        if let Some(places) = self.segments.get_mut(segment) {
            places.iter_mut().for_each(|chars| chars.is_complete = true);
            self.expect(segment);
        }
        self.levels.insert(prefix.to_owned(), children);
    }

    /// Nothing lies behind the key `at`, up to the end of a range: characters that were only expected
    /// to follow at its last place are not expected any more.
    pub(super) fn refute(&mut self, at: &str) {
        let Some((_, segment, offset, c)) = places(at).last() else { return };
        let chars = self.segments.get_mut(segment).and_then(|places| places.get_mut(offset));
        if let Some(chars) =
            chars.filter(|chars| !chars.is_complete && chars.seen.iter().all(|seen| *seen < c))
        {
            chars.below = Some(chars.below.map_or(c, |below| below.min(c)));
            self.expect(segment);
        }
    }

    /// The number of bytes to leave out for keys that share `common`: a level whose children are known
    /// is looked at from its beginning.
    pub(super) fn aligned(&self, common: &str) -> usize {
        let level = common.rfind(DELIMITER).map_or(0, |at| at + 1);
        if self.levels.contains_key(&common[..level]) { level } else { common.len() }
    }

    fn place(&mut self, segment: usize, offset: usize) -> Option<&mut Chars> {
        if segment >= SEGMENTS_MAX || offset >= OFFSETS_MAX {
            return None;
        }
        while self.segments.len() <= segment {
            self.segments.push(Vec::new());
        }
        let places = &mut self.segments[segment];
        while places.len() <= offset {
            places.push(Chars::default());
        }
        places.get_mut(offset)
    }

    /// A character that goes back although the keys go up has been through its whole cycle.
    fn learn_from_neighbours(&mut self, before: &str, key: &str, changed: &mut Vec<usize>) {
        let segments = before.split(DELIMITER).zip(key.split(DELIMITER));
        for (segment, (a, b)) in segments.take(SEGMENTS_MAX).enumerate() {
            for (offset, (a, b)) in a.chars().zip(b.chars()).take(OFFSETS_MAX).enumerate() {
                if b < a
                    && let Some(chars) = self.place(segment, offset)
                    && !chars.is_complete
                {
                    chars.is_complete = true;
                    changed.push(segment);
                }
            }
        }
    }

    fn expect(&mut self, segment: usize) {
        let places = &mut self.segments[segment];
        let mut whole: Vec<Vec<char>> = Vec::new();
        for chars in places.iter().filter(|chars| chars.is_complete && chars.seen.len() > 1) {
            if !whole.contains(&chars.seen) {
                whole.push(chars.seen.clone());
            }
        }
        for chars in places.iter_mut() {
            chars.expected = chars.seen.clone();
            if chars.is_complete {
                continue;
            }
            for other in &whole {
                let is_alike = |c: &char| *c != DELIMITER && chars.seen.binary_search(c).is_ok();
                if other.iter().any(is_alike) {
                    let below = chars.below.unwrap_or(char::MAX);
                    chars.expected.extend(other.iter().filter(|c| **c < below));
                }
            }
            chars.expected.sort_unstable();
            chars.expected.dedup();
        }
    }

    /// The characters to expect at a place, in order.
    fn expected(&self, segment: usize, offset: usize) -> &[char] {
        let chars = self.segments.get(segment).and_then(|places| places.get(offset));
        chars.map_or(&[], |chars| &chars.expected)
    }

    /// The next character to expect behind the one that stands at byte `at` of `text`.
    pub(super) fn next_char(&self, text: &str, at: usize) -> Option<char> {
        let (_, segment, offset, c) = places(text).find(|place| place.0 == at)?;
        self.expected(segment, offset).iter().copied().find(|other| *other > c)
    }

    /// Where a key lies among those that share its first `from` bytes: 0 is their beginning, 1 their
    /// end. Never falls as keys ascend.
    pub(super) fn position(&self, text: &str, from: usize) -> f64 {
        let (mut position, mut share) = (0.0, 1.0);
        let mut walk = Walk::to(text, from);
        while let Some(step) = self.step_to(text, walk).filter(|_| share >= SHARE_MIN) {
            let unit = share / step.len as f64;
            position += step.rank as f64 * unit;
            let Some(bytes) = step.bytes else { break };
            walk.take(&text[walk.at..walk.at + bytes]);
            share = unit;
        }
        position
    }

    /// The part of the key space that `text` goes into next.
    fn step_to(&self, text: &str, walk: Walk) -> Option<Step> {
        if let Some(children) = self.children(text, walk) {
            let rank = children.partition_point(|child| child.as_str() <= text);
            let inside = rank.checked_sub(1).filter(|at| text.starts_with(&children[*at]));
            let bytes = inside.map(|at| children[at].len() - walk.at);
            return Some(Step { rank: inside.unwrap_or(rank), len: children.len(), bytes });
        }
        let c = text[walk.at..].chars().next()?;
        let expected = self.expected(walk.segment, walk.offset);
        let rank = expected.partition_point(|other| *other < c);
        let bytes = expected.get(rank).filter(|other| **other == c).map(|c| c.len_utf8());
        (!expected.is_empty()).then_some(Step { rank, len: expected.len(), bytes })
    }

    fn children(&self, text: &str, walk: Walk) -> Option<&[String]> {
        let children = if walk.offset == 0 { self.levels.get(&text[..walk.at]) } else { None };
        children.map(Vec::as_slice).filter(|children| !children.is_empty())
    }

    /// A short key near `target`, give or take `tolerance`, among those that begin with `common`.
    pub(super) fn point(&self, common: &str, target: f64, tolerance: f64) -> String {
        let mut point = common.to_owned();
        let mut walk = Walk::to(common, common.len());
        let (mut position, mut share) = (0.0, 1.0);
        while share >= SHARE_MIN && point.len() < common.len() + POINT_BYTES_MAX {
            let children = self.children(&point, walk);
            let expected = self.expected(walk.segment, walk.offset);
            let len = children.map_or(expected.len(), <[String]>::len);
            if len == 0 {
                break;
            }
            let unit = share / len as f64;
            let rank = (((target - position) / unit).max(0.0) as usize).min(len - 1);
            match children {
                Some(children) => point.clone_from(&children[rank]),
                None => point.push(expected[rank]),
            }
            walk.take(&point[walk.at..]);
            position += rank as f64 * unit;
            share = unit;
            if rank > 0 && (target - position).abs() <= tolerance {
                break;
            }
        }
        point
    }
}

/// A place in a key.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    /// Bytes before it.
    at: usize,
    segment: usize,
    offset: usize,
}

impl Walk {
    /// The place behind the first `bytes` bytes.
    fn to(text: &str, bytes: usize) -> Self {
        let mut walk = Self::default();
        walk.take(&text[..bytes]);
        walk
    }

    fn take(&mut self, text: &str) {
        for c in text.chars() {
            self.at += c.len_utf8();
            (self.segment, self.offset) =
                if c == DELIMITER { (self.segment + 1, 0) } else { (self.segment, self.offset + 1) };
        }
    }
}

/// The number of bytes that two texts share from their beginning, whole characters only.
pub(super) fn shared(a: &str, b: &str) -> usize {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b);
    same.map(|(c, _)| c.len_utf8()).sum()
}

/// A key between two others by their characters alone, where nothing was learnt: behind `low`, before
/// `high`.
pub(super) fn between(low: &str, high: &str) -> Option<String> {
    let at = shared(low, high);
    let common = &low[..at];
    let a = low[at..].chars().next().map_or(0x20, u32::from);
    let b = u32::from(high[at..].chars().next()?);
    if let Some(c) = middle(a, b) {
        return Some(format!("{common}{c}"));
    }
    // Neighbours: half of what is left under the lower one.
    let mut rest = low[at..].chars();
    let first = rest.next()?;
    let second = rest.next().map_or(0x20, u32::from);
    let c = middle(second, if second < 0x7e { 0x7f } else { 0x10_ffff })?;
    Some(format!("{common}{first}{c}"))
}

/// A character strictly between two, never a surrogate.
fn middle(a: u32, b: u32) -> Option<char> {
    let middle = a + b.saturating_sub(a) / 2;
    (middle > a && middle < b).then(|| char::from_u32(middle).unwrap_or('\u{e000}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex() -> Frame {
        let keys: Vec<String> = (0..64_u32).map(|n| format!("00{:02x}", n * 4)).collect();
        let mut frame = Frame::default();
        frame.learn(keys.iter().map(String::as_str));
        frame
    }

    #[test]
    fn a_place_that_was_seen_in_part_is_taken_to_be_like_one_that_was_seen_completely() {
        let frame = hex();
        // The last places went through all their digits, the first have shown a nought only.
        assert_eq!(frame.next_char("0000", 0), Some('4'));
        assert_eq!(frame.position("0", 0), 0.0);
        assert!(frame.position("8", 0) > 0.4 && frame.position("c", 0) > frame.position("8", 0));
        assert_eq!(frame.position("zz", 0), 1.0);
    }

    #[test]
    fn what_is_refuted_is_not_expected_again() {
        let mut frame = hex();
        frame.refute("4");
        assert_eq!(frame.next_char("0000", 0), None);
        // What was seen stays.
        frame.learn(["4000"]);
        assert_eq!(frame.next_char("0000", 0), Some('4'));
    }

    #[test]
    fn positions_never_fall_and_a_point_lies_where_it_was_asked_for() {
        let mut frame = hex();
        frame.learn_level("", ["a/", "logs/", "z/"].map(String::from).to_vec());
        frame.learn(["a/1", "a/2", "logs/é", "logs/日本", "z/😀"]);
        let keys = ["", "0", "a", "a/1", "a/2", "b", "logs/", "logs/é", "logs/日本", "m", "z/", "z/😀", "zz"];
        for pair in keys.windows(2) {
            assert!(frame.position(pair[0], 0) <= frame.position(pair[1], 0), "{pair:?}");
        }
        assert_eq!(frame.point("", 0.5, 0.2), "logs/");
        for target in [0.1, 0.34, 0.5, 0.9] {
            let point = frame.point("", target, 0.05);
            assert!((frame.position(&point, 0) - target).abs() < 0.34, "{target}: {point}");
        }
    }

    #[test]
    fn a_key_between_two_others_lies_between_them() {
        for (low, high) in [
            ("a", "c"),
            ("a", "b"),
            ("", "b"),
            ("ab", "b"),
            ("x/1", "x/2"),
            ("\u{d7ff}", "\u{e001}"),
            ("日", "本"),
        ] {
            let at = between(low, high).unwrap();
            assert!(at.as_str() > low && at.as_str() < high, "{low:?} {at:?} {high:?}");
        }
        assert_eq!(between("a", "a"), None);
    }
}
