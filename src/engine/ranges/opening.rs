//! How the key space of a range is opened up once its first page is known, before anything can be
//! said of what lies behind that page: listings by delimiter of the levels above it, and a ladder of
//! probes that finds the highest character that changes at all.

use super::frame::{DELIMITER, Frame, shared};

/// Levels that are listed by delimiter.
const LEVELS_MAX: usize = 8;
/// Rungs of a ladder.
const RUNGS_MAX: usize = 12;

/// What to ask for at first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Opening {
    /// Prefixes to list by delimiter.
    pub(super) levels: Vec<String>,
    /// Split points to try, the nearest first. Once nothing is found behind one, nothing is behind
    /// those that follow.
    pub(super) rungs: Vec<String>,
}

/// Plans the opening of a range whose first page goes from the key `first` to the key `last`.
pub(super) fn opening(frame: &Frame, scope: &str, first: &str, last: &str) -> Opening {
    let apart = shared(first, last).max(scope.len());
    let mut opening = Opening::default();
    if !last.starts_with(scope) {
        return opening;
    }
    // The children of each level that the last key lies in: the delimiter at `at` ends one of them.
    for (at, _) in last.match_indices(DELIMITER).filter(|(at, _)| *at >= scope.len()) {
        let parent = last[..at].rfind(DELIMITER).map_or(0, |before| before + 1).max(scope.len());
        if parent <= apart {
            opening.levels.push(last[..parent].to_owned());
        }
    }
    opening.levels.dedup();
    opening.levels.truncate(LEVELS_MAX);
    if first == last {
        // One key fills the page: what comes behind it is listed by others.
        opening.rungs.push(last.to_owned());
    }
    let segment = last[..apart].rfind(DELIMITER).map_or(0, |at| at + 1).max(scope.len());
    if last[apart..].contains(DELIMITER) {
        return opening;
    }
    let depths: Vec<_> = last[..apart].char_indices().map(|(at, _)| at).filter(|at| *at >= segment).collect();
    let all: Vec<String> = depths
        .into_iter()
        .rev()
        .filter_map(|at| Some(format!("{}{}", &last[..at], frame.next_char(last, at)?)))
        .collect();
    opening.rungs.extend(galloping(all.len()).map(|at| all[at].clone()));
    opening
}

/// Places in a ladder of `len` rungs: close to each other at first, then ever further apart, the last
/// one always.
fn galloping(len: usize) -> impl Iterator<Item = usize> {
    let mut next = 0;
    let mut places: Vec<usize> = std::iter::from_fn(|| {
        let at = next;
        next += (at / 3).max(1);
        (at < len).then_some(at)
    })
    .collect();
    if places.len() > RUNGS_MAX {
        let step = places.len().div_ceil(RUNGS_MAX);
        places = places.into_iter().step_by(step).collect();
    }
    if len > 0 && places.last() != Some(&(len - 1)) {
        places.push(len - 1);
    }
    places.into_iter()
}

/// At most `max` of these boundaries, evenly spread.
pub(super) fn thinned<T>(boundaries: Vec<T>, max: usize) -> Vec<T> {
    let len = boundaries.len();
    if len <= max {
        return boundaries;
    }
    boundaries
        .into_iter()
        .enumerate()
        .filter(|(at, _)| at * max / len != (at + 1) * max / len)
        .map(|(_, b)| b)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_above_the_last_key_are_listed_and_no_level_of_keys() {
        let frame = Frame::default();
        let levels = |first, last| opening(&frame, "", first, last).levels;
        assert_eq!(levels("t=a/y=1/m=1/x", "t=a/y=1/m=2/x"), ["", "t=a/", "t=a/y=1/"]);
        assert_eq!(levels("t=a/y=1/m=1/x0", "t=a/y=1/m=1/x9"), ["", "t=a/", "t=a/y=1/"]);
        assert!(levels("abc", "abd").is_empty());
        assert_eq!(opening(&frame, "t=a/y", "t=a/y=1/x", "t=a/y=2/x").levels, ["t=a/y"]);
    }

    #[test]
    fn a_ladder_climbs_from_the_first_character_that_has_not_moved() {
        let keys: Vec<String> = (0..1000).map(|n| format!("{n:012}")).collect();
        let mut frame = Frame::default();
        frame.learn(keys.iter().map(String::as_str));
        let rungs = opening(&frame, "", &keys[0], &keys[999]).rungs;
        assert_eq!(rungs[..3], ["000000001", "00000001", "0000001"]);
        assert_eq!(rungs.last().unwrap(), "1");
        assert!(rungs.len() <= RUNGS_MAX + 1);
    }

    #[test]
    fn one_key_on_a_whole_page_is_left_to_its_lister() {
        assert_eq!(opening(&Frame::default(), "", "huge", "huge").rungs, ["huge"]);
    }

    #[test]
    fn thinning_spreads_evenly() {
        assert_eq!(thinned((0..100).collect(), 4), [24, 49, 74, 99]);
        assert_eq!(thinned(vec![1, 2], 4), [1, 2]);
    }
}
