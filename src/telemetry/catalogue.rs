//! The catalogue: every metric that s3sweep has, with its type, its unit, its labels and its meaning.
//!
//! The registry is built from this table and knows no other name; `docs/metrics.md` is written from it, and
//! dashboards and alerts are held against it. Label values come from the closed lists here or from the job
//! file: never a key, a prefix or an account, so that no bucket can grow the number of series.

use crate::model::KeepReason;

/// The label that all series carry: the job's name. Not `job`, which is Prometheus's own.
pub const JOB_LABEL: &str = "sweep_job";

/// What a metric does with its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetricKind {
    /// It only grows, also over the interruptions of a run.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts observations by their size.
    Histogram,
}

impl MetricKind {
    /// The word of the exposition formats.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Where the values of a label come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LabelValues {
    /// One of these.
    Closed(&'static [&'static str]),
    /// The names of the job's rules.
    Rules,
    /// The version of the program.
    Version,
}

/// A label of a metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub values: LabelValues,
}

/// Where and how long a metric is to be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// Everywhere, and it stays in the textfile and at the Pushgateway when the process has ended.
    Stays,
    /// Everywhere once the run is known, with what earlier processes of the run counted; it stays.
    OfRun,
    /// Everywhere; 0 once the run has ended.
    ZeroAtEnd,
    /// Everywhere while the run works, and absent once it has ended.
    WhileRunning,
    /// On the listener only: node_exporter and the Pushgateway have metrics of this name themselves.
    ListenerOnly,
}

/// One metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MetricSpec {
    /// Its full name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricKind,
    /// What its value counts; empty where it is a state.
    pub unit: &'static str,
    /// Its labels beside [`JOB_LABEL`].
    pub labels: &'static [Label],
    /// The line that is exposed with it.
    pub help: &'static str,
    /// The question that it answers, and what must be known to read it right.
    pub answers: &'static str,
    /// Where and how long it is to be seen.
    pub presence: Presence,
}

/// What becomes of versions; the words of `action`.
pub const ACTIONS: &[&str] = &["delete", "copy", "move"];
/// How planned versions end; the words of `outcome`.
pub const OUTCOMES: &[&str] = &["done", "gone", "failed", "skipped"];
/// Why listed versions stay; the words of `reason`.
pub const KEEP_REASONS: &[&str] = &KeepReason::WORDS;
/// The states of a process; the words of `state`.
pub const RUN_STATES: &[&str] = &["starting", "planning", "confirming", "running", "stopping", "ended"];
/// How a process ends; the words of `ending`.
pub const ENDINGS: &[&str] = &[
    "done",
    "done-with-failures",
    "refused",
    "bug",
    "checkpoint-refused",
    "locked",
    "local-io",
    "interrupted",
    "declined",
    "tripwire",
    "credentials",
    "budget",
    "failures",
];
/// The parts whose trouble a run survives; the words of `part`.
pub const PARTS: &[&str] = &["listener", "pushgateway", "textfile", "webhook", "lock", "live", "traces"];

/// The operations of the client, by the names of the S3 API; the words of `operation`.
pub const OPERATIONS: &[&str] = &[
    "Configure",
    "HeadBucket",
    "GetBucketVersioning",
    "GetObjectLockConfiguration",
    "ListObjectVersions",
    "DeleteObjects",
    "DeleteObject",
    "CopyObject",
    "PutObject",
    "CreateMultipartUpload",
    "UploadPart",
    "UploadPartCopy",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
    "ListParts",
    "ListMultipartUploads",
    "HeadObject",
    "GetObject",
    "GetObjectTagging",
    "PutObjectTagging",
    "GetObjectAcl",
    "PutObjectAcl",
    "RestoreObject",
    OTHER,
];

/// The word for what is not in a list.
pub(super) const OTHER: &str = "other";
/// The word for an error of which only the HTTP status is known, as in the answer to HEAD.
pub(super) const NO_CODE: &str = "none";

/// The error codes that may become a label, the server's and ours; every other code counts as `other`.
pub const CODES: &[&str] = &[
    // The rate, and the server.
    "SlowDown",
    "ServiceUnavailable",
    "Throttling",
    "TooManyRequests",
    "RequestLimitExceeded",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    // The way there.
    "Transport",
    "Timeout",
    "MalformedAnswer",
    "NotS3",
    "UntrustedCertificate",
    // Who asks.
    "AccessDenied",
    "ExpiredToken",
    "InvalidToken",
    "InvalidAccessKeyId",
    "NoCredentials",
    "SignatureDoesNotMatch",
    "RequestTimeTooSkewed",
    // What is asked for.
    "NoSuchBucket",
    "NoSuchKey",
    "NoSuchVersion",
    "NoSuchUpload",
    "ObjectLockConfigurationNotFoundError",
    "MethodNotAllowed",
    "NotImplemented",
    "PreconditionFailed",
    "ConditionalRequestConflict",
    "InvalidObjectState",
    "BadDigest",
    "InvalidDigest",
    "InvalidArgument",
    "InvalidRequest",
    "InvalidRange",
    "InvalidPart",
    "EntityTooLarge",
    "EntityTooSmall",
    "MalformedXML",
    "MetadataTooLarge",
    "InvalidStorageClass",
    "PermanentRedirect",
    "UnaddressableKey",
    "UnencodableKey",
    "UnencodableMetadata",
    // What became of single versions.
    "Unaccounted",
    "GaveUp",
    "ContentDiffers",
    "EtagDiffers",
    "VerificationFailed",
    "SourceChanged",
    "DestinationConflict",
    "DestinationExists",
    "DestinationTooLong",
    "DestinationIsSource",
    "DestinationBusy",
    "NotThere",
    "NoMarker",
    // Promises of the protocol that were broken.
    "VersionIdIgnored",
    "ForeignKey",
    "PrefixIgnored",
    "EchoDiffers",
    "NoProgress",
    "TruncatedWithoutMarker",
    "NoMarkerMade",
    NO_CODE,
    OTHER,
];

const RULE: Label = Label { name: "rule", values: LabelValues::Rules };
const ACTION: Label = Label { name: "action", values: LabelValues::Closed(ACTIONS) };
const OUTCOME: Label = Label { name: "outcome", values: LabelValues::Closed(OUTCOMES) };
const REASON: Label = Label { name: "reason", values: LabelValues::Closed(KEEP_REASONS) };
const OPERATION: Label = Label { name: "operation", values: LabelValues::Closed(OPERATIONS) };
const CODE: Label = Label { name: "code", values: LabelValues::Closed(CODES) };
const PART: Label = Label { name: "part", values: LabelValues::Closed(PARTS) };

const fn counter(name: &'static str, unit: &'static str, help: &'static str) -> MetricSpec {
    MetricSpec {
        name,
        kind: MetricKind::Counter,
        unit,
        labels: &[],
        help,
        answers: "",
        presence: Presence::Stays,
    }
}

const fn gauge(name: &'static str, unit: &'static str, help: &'static str) -> MetricSpec {
    MetricSpec { kind: MetricKind::Gauge, ..counter(name, unit, help) }
}

impl MetricSpec {
    const fn by(self, labels: &'static [Label]) -> Self {
        Self { labels, ..self }
    }

    const fn answers(self, answers: &'static str) -> Self {
        Self { answers, ..self }
    }

    const fn seen(self, presence: Presence) -> Self {
        Self { presence, ..self }
    }

    const fn of_kind(self, kind: MetricKind) -> Self {
        Self { kind, ..self }
    }
}

/// Every metric.
pub const CATALOGUE: &[MetricSpec] = &[
    // What the run has done.
    counter(
        "s3sweep_listed_versions_total",
        "versions",
        "Versions and delete markers that were listed.",
    )
    .seen(Presence::OfRun)
    .answers("How far is the listing? Of the whole run, also over interruptions."),
    counter("s3sweep_kept_versions_total", "versions", "Listed versions that stay, by the reason.")
        .by(&[REASON])
        .seen(Presence::OfRun)
        .answers("Why does so much stay? The reasons are those of the plan and of the audit."),
    counter("s3sweep_planned_versions_total", "versions", "Listed versions that a rule selected.")
        .by(&[RULE, ACTION])
        .seen(Presence::OfRun)
        .answers("How much did each rule select? The plan is complete when no range is open."),
    counter("s3sweep_planned_bytes_total", "bytes", "Bytes of the versions that a rule selected.")
        .by(&[RULE, ACTION])
        .seen(Presence::OfRun)
        .answers("How many bytes did each rule select?"),
    counter(
        "s3sweep_settled_versions_total",
        "versions",
        "Planned versions whose outcome is known: done, gone (not there any more), failed, skipped.",
    )
    .by(&[RULE, ACTION, OUTCOME])
    .seen(Presence::OfRun)
    .answers("What became of what was selected? A version of a move is done when its source is deleted."),
    counter("s3sweep_freed_bytes_total", "bytes", "Bytes of the versions that were deleted at the source.")
        .seen(Presence::OfRun)
        .answers("How much space did the run free?"),
    counter(
        "s3sweep_copied_versions_total",
        "versions",
        "Versions and delete markers whose copies were verified, for copies and for moves.",
    )
    .seen(Presence::OfRun)
    .answers("How much was copied? Counted when the whole history of the key was compared."),
    counter("s3sweep_copied_bytes_total", "bytes", "Bytes of the versions whose copies were verified.")
        .seen(Presence::OfRun)
        .answers("How many bytes were copied, by the server or by this program?"),
    counter(
        "s3sweep_streamed_bytes_total",
        "bytes",
        "Bytes of versions that this process read, to copy them or to compare them.",
    )
    .answers("How much traffic goes through this machine? Counts from the start of the process."),
    counter("s3sweep_failed_versions_total", "versions", "Versions that failed for good, by error code.")
        .by(&[CODE])
        .seen(Presence::OfRun)
        .answers("Why did versions fail? A code appears with its first version."),
    // Requests.
    counter("s3sweep_requests_total", "requests", "Attempts that were sent, by operation.")
        .by(&[OPERATION])
        .answers("What does the run cost in requests? Counts from the start of the process, as all of requests do."),
    counter("s3sweep_request_errors_total", "requests", "Attempts that failed, by operation and error code.")
        .by(&[OPERATION, CODE])
        .answers("What does the server refuse? Single versions refused within an answer are not counted here."),
    counter("s3sweep_retries_total", "requests", "Attempts beyond the first of their call, by operation.")
        .by(&[OPERATION])
        .answers("How often is a request repeated at once?"),
    counter(
        "s3sweep_throttled_versions_total",
        "versions",
        "Times that a version was put off because the server asked for less.",
    )
    .answers("How much of what is sent does the server refuse for the rate? A version may count many times."),
    gauge(
        "s3sweep_request_duration_seconds",
        "seconds",
        "Time from sending an attempt to the end of its answer, by operation.",
    )
    .of_kind(MetricKind::Histogram)
    .by(&[OPERATION])
    .answers("How fast does the server answer? Failed attempts count too; waiting for the pace does not."),
    counter("s3sweep_range_splits_total", "ranges", "Ranges of keys that were divided for another lister.")
        .answers("Does listing find work for all its listers? Counts from the start of the process."),
    counter(
        "s3sweep_troubles_total",
        "troubles",
        "Trouble beside the work that the run survived, by the part that had it.",
    )
    .by(&[PART])
    .answers("Can what is seen be trusted? Counts each failure; the log tells the first of a row."),
    // What happens now.
    gauge("s3sweep_in_flight_requests", "requests", "Requests that wait for their answer.")
        .seen(Presence::ZeroAtEnd)
        .answers("How much of the allowed concurrency is in use?"),
    gauge(
        "s3sweep_in_flight_versions",
        "versions",
        "Versions named by requests that wait for their answer.",
    )
    .seen(Presence::ZeroAtEnd)
    .answers("How many versions may be changed at this moment?"),
    gauge("s3sweep_pending_versions", "versions", "Versions that are planned and have no outcome yet.")
        .answers("How long is the queue? What is left after the end waits for the next run or apply."),
    gauge(
        "s3sweep_pace_versions_per_second",
        "versions_per_second",
        "Versions a second that the adaptive pace lets requests name now.",
    )
    .seen(Presence::WhileRunning)
    .answers("What does the server grant? Absent where only ceilings hold (adaptive: false)."),
    gauge(
        "s3sweep_pace_list_requests_per_second",
        "requests_per_second",
        "Listings a second that the adaptive pace lets go now.",
    )
    .seen(Presence::WhileRunning)
    .answers("What does the server grant to listings? Absent where only ceilings hold."),
    gauge(
        "s3sweep_ceiling_versions_per_second",
        "versions_per_second",
        "The ceiling of versions a second in force: the job's, or a lower one that an operator set.",
    )
    .answers("What holds the run back: the job or the server? Absent where there is no ceiling."),
    gauge(
        "s3sweep_ceiling_requests_per_second",
        "requests_per_second",
        "The job's ceiling of requests a second.",
    )
    .answers("As above, for requests of any kind. Absent where the job sets none."),
    gauge(
        "s3sweep_ceiling_bytes_per_second",
        "bytes_per_second",
        "The job's ceiling of bytes a second through this program.",
    )
    .answers("As above, for streamed bytes. Absent where the job sets none."),
    gauge("s3sweep_ranges", "ranges", "Ranges of keys: open (being listed, or waiting to be) and done.")
        .by(&[Label { name: "state", values: LabelValues::Closed(&["open", "done"]) }])
        .answers("How is the listing divided? Listing is complete when none is open."),
    gauge("s3sweep_planner_paused", "", "1 while listing waits for planned versions to be carried out.")
        .seen(Presence::ZeroAtEnd)
        .answers("Is listing ahead of the work? That is no trouble: it keeps the checkpoint small."),
    gauge("s3sweep_paused", "", "1 while an operator holds the run.")
        .seen(Presence::ZeroAtEnd)
        .answers("Does the run stand still because somebody wants it to?"),
    gauge("s3sweep_checkpoint_bytes", "bytes", "Size of the checkpoint on disk: its file and its log.")
        .by(&[Label { name: "part", values: LabelValues::Closed(&["main", "wal"]) }])
        .answers("How much disk does the state take? Read when it is asked for. Absent before the run is known."),
    gauge("s3sweep_budget_left_versions", "versions", "Versions that the budget still allows.")
        .answers("How much may the run still do? Absent where the job sets no budget.max_versions."),
    gauge("s3sweep_budget_left_bytes", "bytes", "Bytes that the budget still allows.")
        .answers("How much may the run still do? Absent where the job sets no budget.max_bytes."),
    gauge("s3sweep_deadline_time_seconds", "seconds", "When budget.deadline ends the run, in Unix time.")
        .seen(Presence::WhileRunning)
        .answers("Until when may the run work? Absent where the job sets no deadline."),
    // The run itself.
    gauge("s3sweep_run_state", "", "What the process does: one of the states is 1.")
        .by(&[Label { name: "state", values: LabelValues::Closed(RUN_STATES) }])
        .answers(
            "Does it plan, ask, work, stop, or has it ended? `planning` lists and sends nothing; a run that needs \
             no question is `running` from its first page.",
        ),
    gauge(
        "s3sweep_run_start_time_seconds",
        "seconds",
        "When the run began, in Unix time; when the process began, until its run is known.",
    )
    .answers("Since when? A run that is gone on with keeps its beginning."),
    gauge(
        "s3sweep_run_end_time_seconds",
        "seconds",
        "When the process ended its work, in Unix time; 0 while it works.",
    )
    .answers("When did it end, however it ended?"),
    gauge("s3sweep_run_exit_code", "", "Exit code of the process; -1 while it works.")
        .answers("How did it end? The codes are those of the README."),
    gauge("s3sweep_run_ending", "", "1; the label says how the process ended. Absent while it works.")
        .by(&[Label { name: "ending", values: LabelValues::Closed(ENDINGS) }])
        .answers(
            "Which of the ends that share an exit code was it? 75 is `interrupted` or `declined` (somebody said no), \
             78 is `budget` or `failures` (more than the job allows).",
        ),
    gauge("s3sweep_process_start_time_seconds", "seconds", "When the process began, in Unix time.")
        .answers(
            "Which of the processes that worked on a run, one after the other, speaks here? Kept when the process \
             has ended, unlike process_start_time_seconds.",
        ),
    gauge(
        "s3sweep_last_success_time_seconds",
        "seconds",
        "When a run or apply of this job last ended with exit code 0, in Unix time.",
    )
    .answers(
        "Did it succeed lately? Carried over from former processes by the state directory; absent where none \
         succeeded yet. A plan is no success.",
    ),
    gauge(
        "s3sweep_last_progress_time_seconds",
        "seconds",
        "When a page, a copy or an outcome was last committed, in Unix time; the start of the process before the first.",
    )
    .answers("Does it stand still?"),
    gauge("s3sweep_build_info", "", "1; the label names the version of the program.")
        .by(&[Label { name: "version", values: LabelValues::Version }])
        .answers("Which version ran?"),
    // The process. The names are those of all Prometheus clients.
    counter("process_cpu_seconds_total", "seconds", "User and system CPU time of the process.")
        .seen(Presence::ListenerOnly)
        .answers("How much CPU does it use?"),
    gauge("process_resident_memory_bytes", "bytes", "Memory of the process that is in RAM.")
        .seen(Presence::ListenerOnly)
        .answers("How much memory does it use?"),
    gauge("process_virtual_memory_bytes", "bytes", "Address space of the process.")
        .seen(Presence::ListenerOnly)
        .answers("As above, the part that is not in RAM included."),
    gauge("process_open_fds", "", "Open file descriptors.")
        .seen(Presence::ListenerOnly)
        .answers("Does it come near the limit of open files?"),
    gauge("process_max_fds", "", "Limit of open file descriptors; absent where there is none.")
        .seen(Presence::ListenerOnly)
        .answers("As above."),
    gauge("process_threads", "", "Threads of the process.")
        .seen(Presence::ListenerOnly)
        .answers("How many threads does it have?"),
    gauge("process_start_time_seconds", "seconds", "When the process began, in Unix time.")
        .seen(Presence::ListenerOnly)
        .answers("Was it started again?"),
];

/// The metric of a name.
pub fn spec(name: &str) -> Option<&'static MetricSpec> {
    CATALOGUE.iter().find(|spec| spec.name == name)
}

/// The word of `list` that is `word`, or [`OTHER`].
pub(super) fn word_of(list: &'static [&'static str], word: &str) -> &'static str {
    list.iter().find(|known| **known == word).copied().unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{Outcome, SkipReason};

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut names = BTreeSet::new();
        for spec in CATALOGUE {
            let name = spec.name;
            assert!(names.insert(name), "{name} twice");
            let bare = name.strip_prefix("s3sweep_").unwrap_or(name);
            assert!(bare.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(name.starts_with("s3sweep_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), spec.kind == MetricKind::Counter, "{name}");
            let base = name.trim_end_matches("_total");
            for unit in ["bytes", "seconds"] {
                assert_eq!(base.ends_with(&format!("_{unit}")), spec.unit == unit, "{name}");
            }
            assert!(spec.help.ends_with('.') && !spec.answers.is_empty(), "{name}");
        }
    }

    #[test]
    fn labels_are_bounded() {
        for spec in CATALOGUE {
            for label in spec.labels {
                assert_ne!(label.name, JOB_LABEL);
                if let LabelValues::Closed(values) = label.values {
                    let unique: BTreeSet<_> = values.iter().collect();
                    assert_eq!(unique.len(), values.len(), "{}: {}", spec.name, label.name);
                }
            }
        }
    }

    #[test]
    fn outcomes_are_those_of_the_model() {
        let failure = crate::model::Failure { code: "".into(), message: "".into() };
        let outcomes = [
            Outcome::Done,
            Outcome::Gone,
            Outcome::Failed(failure),
            Outcome::Skipped(SkipReason::ElderRemains),
        ];
        assert_eq!(outcomes.each_ref().map(Outcome::as_str), OUTCOMES);
    }

    #[test]
    fn what_is_not_in_a_list_is_other() {
        assert_eq!(word_of(CODES, "SlowDown"), "SlowDown");
        assert_eq!(word_of(CODES, "Invented17"), OTHER);
        assert_eq!(spec("s3sweep_paused").map(|spec| spec.kind), Some(MetricKind::Gauge));
        assert_eq!(spec("s3sweep_invented"), None);
    }
}
