//! What a run did, for people and for programs.

mod audit;
mod summary;
mod text;
mod units;

pub use audit::{AuditFile, AuditLevel, AuditLine, CopiedLine, read as read_audit};
pub use summary::{FailureLine, PlanFigures, RULE_ACTIONS_NOTE, RuleSummary, SampleLine, Summary};
pub use text::{plan_text, report_text, summary_text};
pub use units::{bytes, count, duration};
