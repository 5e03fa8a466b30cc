//! When a run will end, as far as that can be told: pure, and shared by all who show it.

use serde::Serialize;

/// Longer than this is no estimate but a sign that nothing moves.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;

/// What an estimate is made of.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Outlook {
    /// Whether everything is listed.
    pub is_listed: bool,
    /// Whether what is planned is carried out by this run.
    pub executes: bool,
    /// Whether an operator holds the run.
    pub is_paused: bool,
    /// Versions listed so far.
    pub listed: u64,
    /// Of these, planned.
    pub planned: u64,
    /// Planned, without an outcome yet.
    pub pending: u64,
    /// Versions that are believed to be listed yet; `None` where nobody knows.
    pub to_list: Option<u64>,
    /// Versions listed in a second, lately.
    pub listed_per_second: f64,
    /// Outcomes in a second, lately.
    pub settled_per_second: f64,
}

/// When it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Estimate {
    /// After about so long.
    Left {
        /// From now on.
        seconds: u64,
        /// What that was judged by.
        how: &'static str,
    },
    /// It cannot be told.
    Unknown {
        /// Why.
        why: &'static str,
    },
}

impl Default for Estimate {
    fn default() -> Self {
        Self::Unknown { why: "nothing has been listed yet" }
    }
}

impl Estimate {
    /// Judges by what is left and by how fast it went lately.
    pub fn of(outlook: &Outlook) -> Self {
        let unknown = |why| Self::Unknown { why };
        if outlook.is_paused {
            return unknown("paused");
        }
        let to_list = match (outlook.is_listed, outlook.to_list) {
            (true, _) => 0,
            _ if outlook.listed == 0 => return Self::default(),
            (false, Some(to_list)) => to_list,
            (false, None) => return unknown("some ranges have not been looked at yet"),
        };
        #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
        let (to_list, listed, planned, pending) =
            (to_list as f64, outlook.listed as f64, outlook.planned as f64, outlook.pending as f64);
        let share = if listed > 0.0 { planned / listed } else { 0.0 };
        let to_settle = if outlook.executes { pending + to_list * share } else { 0.0 };
        let seconds = |amount: f64, rate: f64| match (amount > 0.0, rate > 0.0) {
            (false, _) => Some(0.0),
            (true, true) => Some(amount / rate),
            (true, false) => None,
        };
        let listing = seconds(to_list, outlook.listed_per_second);
        let settling = seconds(to_settle, outlook.settled_per_second);
        let (Some(listing), Some(settling)) = (listing, settling) else {
            return unknown("nothing has moved lately");
        };
        let left = listing.max(settling);
        if left > SECONDS_MAX {
            return unknown("it moves too slowly to tell");
        }
        let how = match (outlook.is_listed, outlook.executes) {
            (true, _) => "what is planned, at the rate of the last minute",
            (false, true) => "how far the ranges have come, at the rates of the last minute",
            (false, false) => "how far the ranges have come, at the rate of the last minute",
        };
        #[expect(clippy::cast_sign_loss, reason = "amounts and rates are not negative")]
        Self::Left { seconds: left.ceil() as u64, how }
    }

    /// How much of the whole is done, from 0 to 1, where that can be told.
    pub fn share_done(outlook: &Outlook) -> Option<f64> {
        let to_list = if outlook.is_listed { 0 } else { outlook.to_list? };
        #[expect(clippy::cast_precision_loss, reason = "a bar for people")]
        let (listed, to_list, planned, pending) =
            (outlook.listed as f64, to_list as f64, outlook.planned as f64, outlook.pending as f64);
        if listed <= 0.0 {
            return None;
        }
        // Listing a version costs little beside settling it; where both are done, the slower counts.
        let is_settling = outlook.executes && planned > 0.0;
        let to_settle = planned + to_list * planned / listed;
        let done =
            if is_settling { (planned - pending) / to_settle.max(1.0) } else { listed / (listed + to_list) };
        Some(done.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlook() -> Outlook {
        Outlook {
            executes: true,
            listed: 1_000,
            planned: 500,
            pending: 100,
            to_list: Some(3_000),
            listed_per_second: 100.0,
            settled_per_second: 80.0,
            ..Outlook::default()
        }
    }

    fn left(outlook: &Outlook) -> Option<u64> {
        match Estimate::of(outlook) {
            Estimate::Left { seconds, .. } => Some(seconds),
            Estimate::Unknown { .. } => None,
        }
    }

    #[test]
    fn the_slower_of_listing_and_settling_counts() {
        assert_eq!(left(&outlook()), Some(30), "3,000 to list at 100 a second, 1,600 to settle at 80");
        assert_eq!(left(&Outlook { settled_per_second: 16.0, ..outlook() }), Some(100));
        assert_eq!(left(&Outlook { is_listed: true, ..outlook() }), Some(2));
        assert_eq!(left(&Outlook { executes: false, settled_per_second: 0.0, ..outlook() }), Some(30));
    }

    #[test]
    fn what_cannot_be_told_is_not_told() {
        for (unknown, word) in [
            (Outlook { to_list: None, ..outlook() }, "ranges"),
            (Outlook { is_paused: true, ..outlook() }, "paused"),
            (Outlook { listed: 0, ..outlook() }, "listed"),
            (Outlook { settled_per_second: 0.0, ..outlook() }, "moved"),
            (Outlook { settled_per_second: 1e-9, ..outlook() }, "slowly"),
        ] {
            let estimate = Estimate::of(&unknown);
            assert!(matches!(estimate, Estimate::Unknown { why } if why.contains(word)), "{estimate:?}");
        }
        assert_eq!(Estimate::share_done(&Outlook { to_list: None, ..outlook() }), None);
    }

    #[test]
    fn a_bar_ends_at_its_end() {
        assert_eq!(Estimate::share_done(&outlook()), Some(0.2), "400 of 2,000");
        let listed = Outlook { is_listed: true, pending: 0, ..outlook() };
        assert_eq!(Estimate::share_done(&listed), Some(1.0));
        let planning = Outlook { executes: false, ..outlook() };
        assert_eq!(Estimate::share_done(&planning), Some(0.25));
    }
}
