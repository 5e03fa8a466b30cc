//! The job file: from YAML to a [`Job`], or to every [`Problem`] at once.
//!
//! Two steps. [`yaml`] turns the text into a tree of located nodes and is the only place that
//! knows the YAML library. The readers walk that tree and collect every problem they meet; nothing
//! of a file with a problem is used.

mod fingerprint;
mod problem;
mod spec;

pub use fingerprint::{Fingerprint, differences};
pub use problem::{Problem, Problems};
pub use spec::{
    Addressing, Audit, BucketSpec, Budget, Checksum, Endpoint, Job, KeyShape, Limits, Metrics, Report, Retry,
    SandboxFaults, SandboxSpec, Scope, StopOnFailures,
};

/// Rules that a job may have. Far above what anybody reads, and each version may have to meet all
/// of them.
pub const RULES_MAX: usize = 1_000;
