//! Logs go to stderr; stdout belongs to results.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{Directive, FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::events::Part;
use super::json_lines::JsonLines;

/// The target of a command's last words. Those of a failure are logged whatever the log's level is.
pub const LAST_WORDS: &str = "s3sweep::end";

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Targets that could print signing material, headers or bodies at their most talkative levels.
/// They are capped whatever level the user asks for: no secret reaches any output.
const CAPPED_TARGETS: &[&str] = &[
    "aws_config",
    "aws_credential_types",
    "aws_runtime",
    "aws_sdk_sso",
    "aws_sdk_ssooidc",
    "aws_sdk_sts",
    "aws_sigv4",
    "aws_smithy_http_client",
    "aws_smithy_runtime",
    "aws_smithy_runtime_api",
    "h2",
    "hyper",
    "hyper_util",
    "opentelemetry",
    "reqwest",
    "rustls",
];

/// Builds the filter for a level such as `info`, or for a list of directives as in
/// `info,s3sweep::s3=debug`; the capped targets stay capped behind either.
///
/// # Errors
/// A sentence that says what is wrong with `level`.
fn filter(level: &str) -> Result<EnvFilter, String> {
    let foreign = level.split(',').filter_map(|part| part.split_once('=')).find(|(target, _)| {
        let root = target.trim().split([':', '[']).next().unwrap_or_default();
        root != "s3sweep"
    });
    if let Some((target, _)) = foreign {
        return Err(format!("--log-level names the target {target:?}; only targets of s3sweep can be set"));
    }
    // A word alone would be taken for a target, and silence everything else.
    let is_level = |word: &str| word.trim().parse::<LevelFilter>().is_ok();
    if let Some(word) = level.split(',').find(|part| !part.contains('=') && !is_level(part)) {
        return Err(format!("--log-level {word:?} is not a level (error, warn, info, debug, trace, off)"));
    }
    let mut filter = EnvFilter::try_new(level).map_err(|error| {
        format!("--log-level {level:?} is not a level (error, warn, info, debug, trace): {error}")
    })?;
    let cap = if level.trim().eq_ignore_ascii_case("error") { "error" } else { "warn" };
    for target in CAPPED_TARGETS {
        let directive: Directive =
            format!("{target}={cap}").parse().map_err(|error| format!("the cap of {target}: {error}"))?;
        filter = filter.add_directive(directive);
    }
    Ok(filter)
}

/// What must be told of the end of the program.
#[derive(Debug, Default)]
pub struct Tracing {
    #[cfg(feature = "otlp")]
    traces: Option<super::otlp::Traces>,
}

impl Tracing {
    /// Sends traces that are still here, for a few seconds at most. To be called outside the runtime while it
    /// still works.
    pub fn flush(&self) {
        #[cfg(feature = "otlp")]
        if let Some(traces) = &self.traces {
            traces.flush();
        }
    }
}

/// Installs the subscriber for the whole process, from within its runtime. Later calls change nothing.
///
/// # Errors
/// A sentence that says what is wrong with `level`.
pub fn init(level: &str, format: LogFormat, color: bool) -> Result<Tracing, String> {
    let filter = filter(level)?;
    let log = match format {
        LogFormat::Text => {
            // A person reads sentences: without the spans around an event, which then cost nothing.
            let events = filter_fn(|of: &Metadata<'_>| of.is_event()).with_max_level_hint(LevelFilter::TRACE);
            let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(color);
            layer.with_target(false).with_filter(filter.and(events)).boxed()
        }
        LogFormat::Json => {
            let is_failure =
                |of: &Metadata<'_>| of.is_event() && *of.level() == Level::ERROR && of.target() == LAST_WORDS;
            let failures = filter_fn(is_failure).with_max_level_hint(LevelFilter::ERROR);
            JsonLines::new(io::stderr).with_filter(filter.or(failures)).boxed()
        }
    };
    let (layers, tracing, trouble) = with_traces(log);
    // An error here means that a subscriber is installed already, as in tests: it stays.
    let _installed = tracing_subscriber::registry().with(layers).try_init();
    if let Some(trouble) = trouble {
        trouble_with_traces(&trouble);
    }
    Ok(tracing)
}

/// Troubles with traces. These belong to the process and begin before there are metrics, which read this.
static TRACES_TROUBLES: AtomicU64 = AtomicU64::new(0);

/// Counts trouble with traces; the first is told, the others would be the same.
pub(super) fn trouble_with_traces(text: &str) {
    if TRACES_TROUBLES.fetch_add(1, Ordering::Relaxed) == 0 {
        tracing::warn!(part = Part::Traces.as_str(), "{text}");
    }
}

/// How often [`trouble_with_traces`] was called.
pub(super) fn traces_troubles() -> u64 {
    TRACES_TROUBLES.load(Ordering::Relaxed)
}

type Layers = Vec<Box<dyn Layer<Registry> + Send + Sync>>;

/// The log, and traces where they are wanted; what is wrong with these is no reason not to work.
#[cfg(feature = "otlp")]
fn with_traces(log: Box<dyn Layer<Registry> + Send + Sync>) -> (Layers, Tracing, Option<String>) {
    match super::otlp::layer() {
        Ok(Some((layer, traces))) => (vec![log, layer], Tracing { traces: Some(traces) }, None),
        Ok(None) => (vec![log], Tracing::default(), None),
        Err(trouble) => (vec![log], Tracing::default(), Some(trouble)),
    }
}

/// The log; traces need a cargo feature.
#[cfg(not(feature = "otlp"))]
fn with_traces(log: Box<dyn Layer<Registry> + Send + Sync>) -> (Layers, Tracing, Option<String>) {
    (vec![log], Tracing::default(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_that_could_print_secrets_stay_capped() {
        for level in ["trace", "debug", "info,s3sweep::telemetry=trace"] {
            let text = filter(level).unwrap().to_string();
            assert!(text.contains("aws_sigv4=warn") && !text.contains("aws_sigv4=trace"), "{text}");
            assert!(text.contains("hyper=warn") && !text.contains("hyper=trace"), "{text}");
        }
    }

    #[test]
    fn a_directive_cannot_lift_the_cap() {
        for level in ["aws_sigv4=trace", "info,aws_sigv4::http_request=trace", "warn,[span]=trace"] {
            assert!(filter(level).is_err(), "{level}");
        }
    }

    #[test]
    fn a_bad_level_is_named() {
        assert!(filter("nonsense").is_err_and(|message| message.contains("nonsense")));
        assert!(filter("s3sweep=loud").is_err_and(|message| message.contains("s3sweep=loud")));
    }
}
