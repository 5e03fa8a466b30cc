//! The job file: from YAML to a [`Job`], or to every [`Problem`] at once.
//!
//! Two steps. `yaml` turns the text into a tree of located nodes and is the only place that knows
//! the YAML library. The readers walk that tree and collect every problem they meet; nothing of a
//! file with a problem is used. `lint` adds warnings about what is allowed but probably not meant.

mod compile;
mod fingerprint;
mod lint;
mod live_section;
mod lock_section;
mod metrics_section;
mod notify_section;
mod problem;
mod reader;
mod rule_section;
mod secret_place;
mod sections;
mod spec;
mod storage_class;
mod template;
mod transfer_canonical;
mod transfer_checks;
mod transfer_section;
mod units;
mod yaml;

pub use compile::load;
pub use fingerprint::{Fingerprint, differences};
pub use lint::may_select_markers;
pub use problem::{Problem, Problems};
pub use spec::{
    Action, Addressing, Audit, BucketSpec, Budget, Endpoint, Job, KeyShape, Limits, ListingMode, LivePage,
    LockSpec, Metrics, Pushgateway, Report, Retry, SandboxFaults, SandboxSpec, Scope, StopOnFailures,
    Transfer,
};

/// Bytes that a job file may have: a bound for what the parser is given.
pub const FILE_BYTES_MAX: usize = 256 << 10;

/// Rules that a job may have. Far above what anybody reads, and each version may have to meet all
/// of them.
pub const RULES_MAX: usize = 1_000;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod transfer_check_tests;
#[cfg(test)]
mod transfer_tests;

/// A duration with its unit, such as `24h`, as job files write it.
pub fn parse_duration(text: &str) -> Option<std::time::Duration> {
    units::duration(text)
}

/// Whether a text may name a job: safe as a label, a directory and a word of a report.
pub fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
