//! What can be known about a run while it runs and when it has ended: logs, metrics, the exporter.

mod exporter;
pub mod live;
mod logging;
mod metrics;
mod textfile;

pub use exporter::Exporter;
pub use logging::{LogFormat, init as init_logging};
pub use metrics::{Metrics, Progress};
pub use textfile::write as write_textfile;
