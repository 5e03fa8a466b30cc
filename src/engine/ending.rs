//! How a run can end. The exit codes are an interface: schedulers and alerts are built on them.

/// The end of a command, with a sentence for the person who reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Everything that was planned is done.
    Done,
    /// Everything was tried, and this many items failed or were skipped.
    DoneWithFailures(u64),
    /// The command line, the job file, or the bucket or endpoint that it names.
    Usage(String),
    /// A bug of ours: an invariant of the checkpoint or of the engine does not hold.
    Bug(String),
    /// The checkpoint is corrupt, or belongs to another job, bucket or program version.
    Checkpoint(String),
    /// Another run holds the lock.
    Locked(String),
    /// The local disk or another local resource.
    LocalIo(String),
    /// A signal, or an outage that lasted too long. The same command goes on from here.
    Interrupted(String),
    /// The user was asked and said no: the plan is given up, nothing of it was sent.
    Declined,
    /// Something happened that must not: the run ended at once, and nothing more was sent.
    Tripwire(String),
    /// Credentials or permissions.
    Credentials(String),
    /// A budget or the deadline of the job was reached.
    Budget(String),
    /// More versions failed than the job allows.
    Failures(String),
}

/// What is said of a signal's end until it is known otherwise.
const SETTLED: &str = " after settling what was in flight";

impl Ending {
    /// The end that a signal asks for, by the signal's name.
    pub fn by_signal(name: &str) -> Self {
        Self::Interrupted(format!("{name}: stopped{SETTLED}"))
    }

    /// The same end, where requests for so many versions were cut off.
    #[must_use]
    pub fn with_unanswered(self, versions: u64) -> Self {
        if versions == 0 {
            return self;
        }
        let words = self.message();
        let words = words.strip_suffix(SETTLED).unwrap_or(&words);
        let words = format!(
            "{words}; requests were cut off: for {versions} versions in flight no answer is known, and the next run \
             sends them again"
        );
        self.saying(words)
    }

    /// The exit code of the process.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Done => 0,
            Self::DoneWithFailures(_) => 1,
            Self::Usage(_) => 2,
            Self::Checkpoint(_) => 65,
            Self::Bug(_) => 70,
            Self::Locked(_) => 73,
            Self::LocalIo(_) => 74,
            Self::Interrupted(_) | Self::Declined => 75,
            Self::Tripwire(_) => 76,
            Self::Credentials(_) => 77,
            Self::Budget(_) | Self::Failures(_) => 78,
        }
    }

    /// The same end, with what is to be said of it in other words.
    #[must_use]
    pub fn saying(mut self, words: String) -> Self {
        match &mut self {
            Self::Done | Self::DoneWithFailures(_) | Self::Declined => {}
            Self::Usage(text)
            | Self::Bug(text)
            | Self::Checkpoint(text)
            | Self::Locked(text)
            | Self::LocalIo(text)
            | Self::Interrupted(text)
            | Self::Tripwire(text)
            | Self::Credentials(text)
            | Self::Budget(text)
            | Self::Failures(text) => *text = words,
        }
        self
    }

    /// One word for the checkpoint, the summary and the metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::DoneWithFailures(_) => "done-with-failures",
            Self::Usage(_) => "refused",
            Self::Checkpoint(_) => "checkpoint-refused",
            Self::Bug(_) => "bug",
            Self::Locked(_) => "locked",
            Self::LocalIo(_) => "local-io",
            Self::Interrupted(_) => "interrupted",
            Self::Declined => "declined",
            Self::Tripwire(_) => "tripwire",
            Self::Credentials(_) => "credentials",
            Self::Budget(_) => "budget",
            Self::Failures(_) => "failures",
        }
    }

    /// The sentence, empty where everything is done.
    pub fn message(&self) -> String {
        match self {
            Self::Done => String::new(),
            Self::Declined => "not confirmed: this command deleted nothing, and its plan is given up".into(),
            Self::DoneWithFailures(n) => format!("{n} versions failed or were skipped"),
            Self::Usage(text)
            | Self::Bug(text)
            | Self::Checkpoint(text)
            | Self::Locked(text)
            | Self::LocalIo(text)
            | Self::Interrupted(text)
            | Self::Tripwire(text)
            | Self::Credentials(text)
            | Self::Budget(text)
            | Self::Failures(text) => text.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::ENDINGS;

    #[test]
    fn an_end_says_what_was_cut_off() {
        let signal = Ending::by_signal("SIGTERM");
        assert_eq!(signal.message(), "SIGTERM: stopped after settling what was in flight");
        assert_eq!(signal.clone().with_unanswered(0), signal);
        let words = "; requests were cut off: for 8514 versions in flight no answer is known, and the next run \
                     sends them again";
        let cut = Ending::Interrupted(format!("SIGTERM: stopped{words}"));
        assert_eq!(signal.with_unanswered(8514), cut);
        let budget = Ending::Budget("budget.deadline is reached".into()).with_unanswered(8514);
        assert_eq!(budget, Ending::Budget(format!("budget.deadline is reached{words}")));
        assert_eq!(Ending::Declined.with_unanswered(8514), Ending::Declined);
    }

    #[test]
    fn the_metrics_know_every_word() {
        let text = String::new;
        let endings = [
            Ending::Done,
            Ending::DoneWithFailures(1),
            Ending::Usage(text()),
            Ending::Bug(text()),
            Ending::Checkpoint(text()),
            Ending::Locked(text()),
            Ending::LocalIo(text()),
            Ending::Interrupted(text()),
            Ending::Declined,
            Ending::Tripwire(text()),
            Ending::Credentials(text()),
            Ending::Budget(text()),
            Ending::Failures(text()),
        ];
        assert_eq!(endings.each_ref().map(Ending::word), ENDINGS);
    }
}
