//! What is told to others when a command has ended: the notice, the forms it takes, and who hears of it. Pure.
//!
//! A [`Notice`] is plain values. Who wants to hear is a [`Hook`]; what goes out is the notice's own JSON or a
//! [`Template`] filled with it. Sending is somebody else's work.

mod hook;
mod template;

use serde::Serialize;

pub use hook::{Address, AddressFault, Hook, Payload, Source};
pub use template::{Template, TemplateFault, placeholder_names};

/// The version of the body: rises when a field changes its meaning or goes. New fields may come at any time.
const BODY_VERSION: u32 = 1;
/// Rules that a body tells of; a job may have many more than anybody reads.
pub const RULES_TOLD_MAX: usize = 100;
/// Codes of failures that a body tells of.
pub const CODES_TOLD_MAX: usize = 5;

/// What kind of end a command came to. Who asked for one kind hears of the graver ones too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// An end that needs nobody: everything done, or a bound of the job reached.
    End,
    /// An end that somebody should look at.
    Failure,
    /// Something happened that must not, and the run ended at once.
    Tripwire,
}

impl Event {
    /// Every event by the word of the job file.
    pub const WORDS: &'static [(&'static str, Self)] =
        &[("end", Self::End), ("failure", Self::Failure), ("tripwire", Self::Tripwire)];

    /// The word of the job file and of the body.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Failure => "failure",
            Self::Tripwire => "tripwire",
        }
    }
}

/// A command that has ended, in values. Its JSON is the body that receivers get, with `version` and `delivery`
/// before it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Notice {
    /// The kind of end.
    pub event: Event,
    /// The job's name.
    pub job: String,
    /// `plan`, `apply` or `run`.
    pub command: &'static str,
    /// The bucket.
    pub bucket: String,
    /// Its endpoint, `aws` for AWS.
    pub endpoint: String,
    /// The run; absent where the command ended before there was one.
    pub run: Option<String>,
    /// One word for the end, such as `done` or `tripwire`.
    pub ending: &'static str,
    /// The exit code of the process.
    pub exit_code: u8,
    /// The end in a sentence; never empty.
    pub sentence: String,
    /// When the run began, by the server's clock.
    pub began: Option<String>,
    /// When it was last changed, by the server's clock; by this machine's where there was no run.
    pub ended: String,
    /// Seconds between the two, which is the whole life of the run.
    pub seconds: Option<f64>,
    /// Versions by what became of them, over the whole life of the run.
    pub versions: Option<Versions>,
    /// The same in bytes.
    pub bytes: Option<Bytes>,
    /// By rule, in the job's order; the first [`RULES_TOLD_MAX`].
    pub rules: Vec<RuleFigures>,
    /// The most frequent reasons for which versions failed or were skipped, at most [`CODES_TOLD_MAX`].
    pub failures: Vec<FailureCode>,
    /// The machine's name.
    pub host: String,
}

/// Versions and delete markers of a run.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Versions {
    /// Listed and decided.
    pub listed: u64,
    /// Of these, kept.
    pub kept: u64,
    /// Of these, selected by a rule.
    pub planned: u64,
    /// Deleted, moved or copied.
    pub done: u64,
    /// Found to be gone already.
    pub gone: u64,
    /// Failed for good.
    pub failed: u64,
    /// Left alone after planning.
    pub skipped: u64,
    /// Planned, without an outcome yet.
    pub pending: u64,
}

/// Bytes of a run.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Bytes {
    /// Of what was selected.
    pub planned: u64,
    /// Of what was deleted, moved or copied.
    pub done: u64,
    /// Of what is no longer in the bucket: deleted or moved.
    pub freed: u64,
}

/// A rule's part in a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RuleFigures {
    /// Its name.
    pub name: String,
    /// `keep`, `delete`, `move` or `copy`.
    pub action: String,
    /// Versions it selected.
    pub planned: u64,
    /// Deleted, moved or copied.
    pub done: u64,
    /// Found to be gone.
    pub gone: u64,
    /// Failed.
    pub failed: u64,
    /// Skipped.
    pub skipped: u64,
    /// Bytes it selected.
    pub bytes_planned: u64,
    /// Bytes deleted, moved or copied.
    pub bytes_done: u64,
}

/// How often versions failed, or were skipped, for one reason.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FailureCode {
    /// `failed` or `skipped`.
    pub outcome: String,
    /// The server's error code, or why a version was skipped.
    pub code: String,
    /// Versions.
    pub versions: u64,
}

/// A notice as it goes out by itself.
#[derive(Serialize)]
struct Body<'n> {
    version: u32,
    delivery: &'n str,
    #[serde(flatten)]
    notice: &'n Notice,
}

impl Notice {
    /// The body as JSON. `delivery` names this notice to this receiver, however often it is sent.
    pub fn json(&self, delivery: &str) -> String {
        let body = Body { version: BODY_VERSION, delivery, notice: self };
        // Strings, whole numbers and one finite float: nothing that JSON cannot say.
        serde_json::to_string(&body).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
