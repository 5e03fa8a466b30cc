//! The log as JSON: one flat object a line, with the fields of all spans around an event beside its own.

use std::fmt::{self, Debug};
use std::io::Write as _;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Writes each event as a line of JSON.
pub(super) struct JsonLines<W> {
    writer: W,
}

impl<W> JsonLines<W> {
    /// Lines go to `writer`, each in one piece.
    pub(super) const fn new(writer: W) -> Self {
        Self { writer }
    }
}

/// Named values in the order in which they came; a name that comes again replaces its value.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn set(&mut self, name: &'static str, value: Value) {
        // Orders for the layer that makes traces of spans.
        if name.starts_with("otel.") {
            return;
        }
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, slot)) => *slot = value,
            None => self.0.push((name, value)),
        }
    }

    fn line(&self) -> String {
        let mut line = String::from("{");
        for (name, value) in &self.0 {
            if line.len() > 1 {
                line.push(',');
            }
            line.push_str(&Value::from(*name).to_string());
            line.push(':');
            line.push_str(&value.to_string());
        }
        line.push_str("}\n");
        line
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.set(field.name(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), value.into());
    }
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut all = Fields::default();
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        all.set("timestamp", now.into());
        all.set("level", event.metadata().level().as_str().into());
        all.set("target", event.metadata().target().into());
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(Fields(fields)) = span.extensions().get::<Fields>() {
                fields.iter().for_each(|(name, value)| all.set(name, value.clone()));
            }
        }
        event.record(&mut all);
        // Nobody is left to hear that the log cannot be written.
        let _ = self.writer.make_writer().write_all(all.line().as_bytes());
    }
}

impl<W> fmt::Debug for JsonLines<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonLines")
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_fields_of_all_spans_stand_beside_those_of_the_event() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::registry().with(JsonLines::new(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let run = tracing::error_span!("run", job = "a \"b\"", run_id = tracing::field::Empty);
            let _run = run.enter();
            run.record("run_id", "r1");
            let batch = tracing::error_span!("batch", batch = 7, range = 2, attempt = 1);
            let _batch = batch.enter();
            tracing::warn!(attempt = 3, share = 0.5, is_last = true, "put\noff: {}", "x");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let [line] = &*text.lines().collect::<Vec<_>>() else { panic!("{text}") };
        let json: Value = serde_json::from_str(line).unwrap();
        let expected = serde_json::json!({
            "level": "WARN", "target": "s3sweep::telemetry::json_lines::tests", "job": "a \"b\"", "run_id": "r1",
            "batch": 7, "range": 2, "attempt": 3, "share": 0.5, "is_last": true, "message": "put\noff: x",
            "timestamp": json["timestamp"],
        });
        assert_eq!(json, expected);
        let stamp = json["timestamp"].as_str().unwrap();
        assert!(stamp.len() == 27 && stamp.parse::<jiff::Timestamp>().is_ok(), "{stamp}");
        assert_eq!(line.matches("\"attempt\"").count(), 1, "no name stands twice: {line}");
    }
}
