//! What can be known about a run while it runs and when it has ended: logs, metrics, the exporter, the
//! textfile and the Pushgateway.

mod catalogue;
mod events;
mod exporter;
mod exposition;
mod json_lines;
pub mod live;
mod logging;
mod metrics;
#[cfg(feature = "otlp")]
mod otlp;
mod outputs;
mod process;
mod pushgateway;
mod registry;
mod textfile;

pub use catalogue::{
    ACTIONS, CATALOGUE, CODES, ENDINGS, JOB_LABEL, KEEP_REASONS, Label, LabelValues, MetricKind, MetricSpec,
    OPERATIONS, OUTCOMES, PARTS, Presence, RUN_STATES, spec as metric_spec,
};
pub use events::{
    BatchCounts, Ceilings, Event, Fault, OutcomeKind, OutcomeRun, PageCounts, Part, Quantity, RunBegan,
    RunState,
};
pub use exporter::Exporter;
pub use exposition::Format;
pub use logging::{LAST_WORDS, LogFormat, init as init_logging};
pub use metrics::{Attempt, Metrics, Progress, RuleLabel};
pub use outputs::{OutputSettings, Outputs};
pub use pushgateway::GatewaySettings;
