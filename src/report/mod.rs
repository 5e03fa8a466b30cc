//! What a run did, for people and for programs.

mod audit;
mod fidelity;
mod summary;
mod text;
mod transfers;
mod units;

pub use audit::{AuditFile, AuditLevel, AuditLine, CopiedLine, read as read_audit};
pub use fidelity::{FidelityLine, How, Way, fidelity, fidelity_by, fidelity_text};
pub use summary::{
    Ceilings, FailureLine, MOVE_ACTIONS_NOTE, MOVES_COPIED, MOVES_COPIED_BYTES, PlanFigures,
    RULE_ACTIONS_NOTE, ReasonCount, RuleSummary, SampleLine, Summary, WORK_TIME_NOTE, WorkTime,
};
pub use text::{plan_text, report_text, summary_text};
pub use transfers::{TransferFigures, TransferRule, transfer_text};
pub use units::{bytes, count, duration};
