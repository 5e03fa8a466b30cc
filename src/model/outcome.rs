//! What became of a version, and what an error code means for the work.

use super::RuleId;

/// What an error asks of the caller. The table from codes to classes is `s3::error`'s.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// The wish is fulfilled already: the version does not exist.
    Done,
    /// Worth another try after a jittered wait.
    Transient,
    /// Worth another try; the server asks for less.
    Throttled,
    /// Final for this item; the others are not concerned.
    Permanent,
    /// The request as a whole is refused for one of its items: divide it.
    Divide,
    /// Refresh the credentials, once, and try again.
    Credentials,
    /// The clocks differ: correct by the answer's `Date`, once, and try again.
    ClockSkew,
    /// The server lacks the operation: use the fallback, where there is one.
    Unsupported,
    /// The bucket lives in another region or at another endpoint.
    Elsewhere,
    /// Nothing more can be achieved by this run as it is configured.
    Stop,
}

/// Why an item failed for good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The server's code, or one of ours in the same style: `Unaccounted`, `UnaddressableKey`,
    /// `GaveUp`.
    pub code: Box<str>,
    /// The server's message, cleaned of control characters; may be empty.
    pub message: Box<str>,
}

/// Why an item was left alone after it was planned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SkipReason {
    /// An elder entry of its key could not be removed: the latest goes last.
    ElderRemains,
    /// The plan it belongs to was given up.
    PlanAbandoned,
    /// Another version of its key could not be copied: a history travels whole or not at all.
    ChainBroken,
    /// It is archived, and has to be restored before it can be copied.
    NeedsRestore,
}

impl SkipReason {
    /// The word used in the audit and in the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ElderRemains => "elder-remains",
            Self::PlanAbandoned => "plan-abandoned",
            Self::ChainBroken => "chain-broken",
            Self::NeedsRestore => "needs-restore",
        }
    }
}

/// The end of one item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The server confirmed that it deleted the version.
    Done,
    /// The server said that the version does not exist.
    Gone,
    /// It will not succeed in this run.
    Failed(Failure),
    /// It was left alone.
    Skipped(SkipReason),
}

impl Outcome {
    /// The word used in the audit and in the metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Gone => "gone",
            Self::Failed(_) => "failed",
            Self::Skipped(_) => "skipped",
        }
    }
}

/// Why a listed version is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeepReason {
    /// No rule matched.
    NoRule,
    /// A rule with `action: keep` matched.
    Rule(RuleId),
    /// It was created after the run began, by the server's clock.
    Cutoff,
    /// A rule selected it, but without it an older version would become current.
    Promotion(RuleId),
    /// A rule selected it, but it is a `null` version of a bucket with suspended versioning.
    NullVersion(RuleId),
    /// A rule selected it, but the server's answer leaves its place among its neighbours open.
    Ambiguous(RuleId),
    /// The listing left its key before the end, and what lies beneath it has a say.
    Unfinished,
    /// A rule selected it for copying, but its key has more entries than one history may have.
    ChainTooLong(RuleId),
    /// It is a version of the object that keeps other hosts from the job.
    LockObject,
}

impl KeepReason {
    /// The words used in the audit and in the metrics, by [`KeepReason::place`].
    pub const WORDS: [&'static str; 9] = [
        "no-rule",
        "rule",
        "cutoff",
        "promotion",
        "null-version",
        "ambiguous",
        "unfinished",
        "chain-too-long",
        "lock-object",
    ];

    /// Which of [`KeepReason::WORDS`] is meant.
    pub const fn place(self) -> usize {
        match self {
            Self::NoRule => 0,
            Self::Rule(_) => 1,
            Self::Cutoff => 2,
            Self::Promotion(_) => 3,
            Self::NullVersion(_) => 4,
            Self::Ambiguous(_) => 5,
            Self::Unfinished => 6,
            Self::ChainTooLong(_) => 7,
            Self::LockObject => 8,
        }
    }

    /// The word used in the audit and in the metrics.
    pub const fn as_str(self) -> &'static str {
        Self::WORDS[self.place()]
    }

    /// The rule that had a say, where one had.
    pub const fn rule(self) -> Option<RuleId> {
        match self {
            Self::Rule(rule)
            | Self::Promotion(rule)
            | Self::NullVersion(rule)
            | Self::Ambiguous(rule)
            | Self::ChainTooLong(rule) => Some(rule),
            Self::NoRule | Self::Cutoff | Self::Unfinished | Self::LockObject => None,
        }
    }
}
