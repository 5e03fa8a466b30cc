//! Traces for an OpenTelemetry collector: the spans `run`, `list`, `batch` and `request`, over HTTP as protobuf.
//!
//! The standard variables of the environment say where they go; without an endpoint nothing is done. Log lines
//! are not sent, because some name keys. A collector that is away costs nothing but its traces.

use std::env;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::Handle;
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry};

use crate::http::client_builder;

use super::logging::trouble_with_traces;

/// How long the end of the program waits for the last spans.
const FLUSH_MAX: Duration = Duration::from_secs(3);
/// Time for one request to the collector, with everything in it.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read; a good one has a handful.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The way to the collector.
#[derive(Debug)]
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends what is left, for a few seconds at most. To be called outside the runtime while it works.
    pub(super) fn flush(&self) {
        // A collector that is away was said to be so.
        let _ = self.0.shutdown_with_timeout(FLUSH_MAX);
    }
}

/// The layer that makes traces of spans, where the environment names a collector. The requests are sent on the
/// runtime of the caller.
///
/// # Errors
/// A sentence that says why there are no traces.
#[expect(clippy::type_complexity, reason = "a layer and what it sends to")]
pub(super) fn layer() -> Result<Option<(Box<dyn Layer<Registry> + Send + Sync>, Traces)>, String> {
    if !is_wanted(|name| env::var(name).ok()) {
        return Ok(None);
    }
    let runtime = Handle::try_current().map_err(|error| format!("no traces: {error}"))?;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Courier::new(runtime)?)
        .with_protocol(Protocol::HttpBinary)
        .build()
        // Not the reason itself: it may repeat headers, which hold the collector's credentials.
        .map_err(|_| "no traces: the OTEL_EXPORTER_OTLP_ variables do not fit".to_owned())?;
    let provider =
        SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(Named(exporter)).build();
    let ours = filter_fn(|of: &Metadata<'_>| of.is_span() && of.target().starts_with("s3sweep"));
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("s3sweep"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(ours.with_max_level_hint(LevelFilter::ERROR));
    Ok(Some((layer.boxed(), Traces(provider))))
}

/// Whether the environment asks for traces.
fn is_wanted(variable: impl Fn(&str) -> Option<String>) -> bool {
    let is = |name: &str, value: &str| {
        variable(name).is_some_and(|given| given.trim().eq_ignore_ascii_case(value))
    };
    let is_given = |name: &str| variable(name).is_some_and(|given| !given.trim().is_empty());
    !is("OTEL_SDK_DISABLED", "true")
        && !is("OTEL_TRACES_EXPORTER", "none")
        && (is_given("OTEL_EXPORTER_OTLP_ENDPOINT") || is_given("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
}

/// Who we are; the environment may know better.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let builder = Resource::builder().with_attribute(version);
    let is_named = env::var_os("OTEL_SERVICE_NAME").is_some()
        || env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|given| given.contains("service.name="));
    if is_named { builder.build() } else { builder.with_service_name("s3sweep").build() }
}

/// Gives the fields of spans the names that OpenTelemetry has for them.
#[derive(Debug)]
struct Named<E>(E);

/// The name of a field; those without one in OpenTelemetry are ours.
fn named(attribute: KeyValue) -> Option<KeyValue> {
    let KeyValue { key, value, .. } = attribute;
    let name = match key.as_str() {
        "operation" => "rpc.method",
        "request_id" => "aws.request_id",
        "code" => "error.type",
        "attempt" => {
            return match value {
                Value::I64(attempt) if attempt > 1 => {
                    Some(KeyValue::new("http.request.resend_count", attempt - 1))
                }
                _ => None,
            };
        }
        "job" => "s3sweep.job",
        "run_id" => "s3sweep.run_id",
        "ending" => "s3sweep.ending",
        "range" => "s3sweep.range",
        "batch" => "s3sweep.batch",
        _ => return Some(KeyValue::new(key, value)),
    };
    Some(KeyValue::new(Key::from_static_str(name), value))
}

impl<E: SpanExporter> SpanExporter for Named<E> {
    fn export(&self, mut batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        for span in &mut batch {
            span.attributes = std::mem::take(&mut span.attributes).into_iter().filter_map(named).collect();
            if span.name == "request" {
                span.attributes.push(KeyValue::new("rpc.system", "aws-api"));
                span.attributes.push(KeyValue::new("rpc.service", "S3"));
            }
        }
        self.0.export(batch)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// Sends requests on the runtime, for a caller that has none.
struct Courier {
    http: reqwest::Client,
    runtime: Handle,
}

impl fmt::Debug for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Courier")
    }
}

impl Courier {
    fn new(runtime: Handle) -> Result<Self, String> {
        let http = client_builder(false)
            .timeout(ATTEMPT_TIMEOUT)
            .build()
            .map_err(|error| format!("no traces: the HTTP client: {}", error.without_url()))?;
        Ok(Self { http, runtime })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let http = self.http.clone();
        let sent = self.runtime.spawn(async move {
            let mut answer = http.execute(request).await?;
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                    break;
                }
                body.extend_from_slice(&chunk);
            }
            Ok::<_, reqwest::Error>((answer.status(), body))
        });
        let (status, body) = sent.await?.map_err(reqwest::Error::without_url)?;
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        Ok(response)
    }
}

impl HttpClient for Courier {
    fn send_bytes<'c, 'f>(
        &'c self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'c: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let answer = self.send(request).await;
            let why = match &answer {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(format!("it answered {}", answer.status().as_u16())),
                Err(error) => Some(error.to_string()),
            };
            if let Some(why) = why {
                trouble_with_traces(&format!("the collector does not take the traces: {why}"));
            }
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_sent_where_the_environment_names_a_collector_and_does_not_forbid_it() {
        let wanted = |given: &[(&str, &str)]| {
            is_wanted(|name| {
                given.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(!wanted(&[]) && !wanted(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]));
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        assert!(
            wanted(&[endpoint]) && wanted(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/v1/traces")])
        );
        assert!(!wanted(&[endpoint, ("OTEL_SDK_DISABLED", "True")]));
        assert!(!wanted(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]));
    }

    #[test]
    fn fields_get_the_names_of_opentelemetry() {
        let name = |key: &'static str| named(KeyValue::new(key, "x")).map(|named| named.key.to_string());
        assert_eq!(name("operation").as_deref(), Some("rpc.method"));
        assert_eq!(name("request_id").as_deref(), Some("aws.request_id"));
        assert_eq!(name("run_id").as_deref(), Some("s3sweep.run_id"));
        assert_eq!(named(KeyValue::new("attempt", 1)), None);
        assert_eq!(named(KeyValue::new("attempt", 3)), Some(KeyValue::new("http.request.resend_count", 2)));
    }
}
