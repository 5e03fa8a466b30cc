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
