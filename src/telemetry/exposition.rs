//! The two text formats in which Prometheus takes metrics, and the choice between them.
//!
//! Both are written here, alike in everything in which they agree, so that a series is the same series
//! whichever format was asked for. Pure.

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use super::catalogue::{MetricSpec, spec};

/// A format of exposition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Prometheus text, version 0.0.4: what the Pushgateway and textfiles take too.
    Text,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format for a request's `Accept` header. Text where nothing else is asked for by name: browsers and
    /// `curl` take anything.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let weigh = |wanted: Self| {
            let ranges = accept.unwrap_or_default().split(',').filter_map(MediaRange::parse);
            ranges
                .filter(|range| range.format() == Some(wanted))
                .map(|range| range.weight)
                .fold(0.0, f64::max)
        };
        let (open, text) = (weigh(Self::OpenMetrics), weigh(Self::Text));
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// One element of an `Accept` header.
struct MediaRange<'a> {
    kind: &'a str,
    version: Option<&'a str>,
    weight: f64,
}

impl<'a> MediaRange<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next()?;
        let mut range = Self { kind, version: None, weight: 1.0 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "version" => range.version = Some(value),
                "q" => range.weight = value.parse().ok().filter(|weight| (0.0..=1.0).contains(weight))?,
                _ => {}
            }
        }
        Some(range)
    }

    fn format(&self) -> Option<Format> {
        match (self.kind.to_ascii_lowercase().as_str(), self.version) {
            ("application/openmetrics-text", None | Some("1.0.0")) => Some(Format::OpenMetrics),
            ("text/plain", None | Some("0.0.4")) => Some(Format::Text),
            _ => None,
        }
    }
}

/// Writes families in a format, those that `wanted` accepts. Gauges that are not a number are left out: they
/// have nothing to tell.
pub(super) fn render(
    families: &[MetricFamily],
    format: Format,
    wanted: impl Fn(&MetricSpec) -> bool,
) -> String {
    let mut out = String::with_capacity(16 << 10);
    for family in families {
        let metrics: Vec<&Metric> =
            family.get_metric().iter().filter(|metric| tells(family, metric)).collect();
        let Some(spec) = spec(family.name()).filter(|spec| wanted(spec) && !metrics.is_empty()) else {
            continue;
        };
        head(&mut out, family, spec, format);
        for metric in metrics {
            samples(&mut out, family, metric);
        }
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn tells(family: &MetricFamily, metric: &Metric) -> bool {
    family.get_field_type() != MetricType::GAUGE || !metric.get_gauge().get_value().is_nan()
}

fn head(out: &mut String, family: &MetricFamily, spec: &MetricSpec, format: Format) {
    let name = match format {
        Format::Text => spec.name,
        Format::OpenMetrics => spec.name.trim_end_matches("_total"),
    };
    out.push_str("# HELP ");
    out.push_str(name);
    out.push(' ');
    escape(out, family.help(), format == Format::OpenMetrics);
    out.push_str("\n# TYPE ");
    out.push_str(name);
    out.push(' ');
    out.push_str(spec.kind.as_str());
    out.push('\n');
    let has_unit = name.strip_suffix(spec.unit).is_some_and(|rest| rest.ends_with('_'));
    if format == Format::OpenMetrics && !spec.unit.is_empty() && has_unit {
        out.push_str("# UNIT ");
        out.push_str(name);
        out.push(' ');
        out.push_str(spec.unit);
        out.push('\n');
    }
}

fn samples(out: &mut String, family: &MetricFamily, metric: &Metric) {
    let (name, labels) = (family.name(), metric.get_label());
    match family.get_field_type() {
        MetricType::COUNTER => sample(out, name, "", labels, None, metric.get_counter().get_value()),
        MetricType::GAUGE => sample(out, name, "", labels, None, metric.get_gauge().get_value()),
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            #[expect(clippy::cast_precision_loss, reason = "counts of requests stay far below 2^52")]
            let count = histogram.get_sample_count() as f64;
            for bucket in histogram.get_bucket() {
                #[expect(clippy::cast_precision_loss, reason = "counts of requests stay far below 2^52")]
                let below = bucket.cumulative_count() as f64;
                // With a decimal point, as OpenMetrics wants it, also for whole numbers.
                let bound = format!("{:?}", bucket.upper_bound());
                sample(out, name, "_bucket", labels, Some(&bound), below);
            }
            sample(out, name, "_bucket", labels, Some("+Inf"), count);
            sample(out, name, "_sum", labels, None, histogram.get_sample_sum());
            sample(out, name, "_count", labels, None, count);
        }
        // The catalogue knows no other kinds.
        _ => {}
    }
}

fn sample(out: &mut String, name: &str, suffix: &str, labels: &[LabelPair], le: Option<&str>, value: f64) {
    out.push_str(name);
    out.push_str(suffix);
    let all = labels.iter().map(|label| (label.name(), label.value())).chain(le.map(|le| ("le", le)));
    let mut separator = '{';
    for (label, text) in all {
        out.push(separator);
        separator = ',';
        out.push_str(label);
        out.push_str("=\"");
        escape(out, text, true);
        out.push('"');
    }
    if separator == ',' {
        out.push('}');
    }
    out.push(' ');
    if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        out.push_str(&value.to_string());
    }
    out.push('\n');
}

fn escape(out: &mut String, text: &str, with_quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if with_quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_what_is_asked_for_by_name_and_most_wanted() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                          version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::negotiate(Some(prometheus)), Format::OpenMetrics);
        assert_eq!(Format::negotiate(Some("application/openmetrics-text")), Format::OpenMetrics);
        assert_eq!(
            Format::negotiate(Some("Application/OpenMetrics-Text; Version=\"1.0.0\"")),
            Format::OpenMetrics
        );
        for text in [
            None,
            Some(""),
            Some("*/*"),
            Some("text/html,application/xhtml+xml,*/*;q=0.8"),
            Some("text/plain;version=0.0.4,application/openmetrics-text;q=0.9"),
            Some("application/openmetrics-text;version=0.0.1"),
            Some("application/openmetrics-text;version=2.0.0,text/plain;q=0.1"),
            Some("application/openmetrics-text;q=0"),
            Some("application/openmetrics-text;q=2,;;=,q"),
        ] {
            assert_eq!(Format::negotiate(text), Format::Text, "{text:?}");
        }
    }

    #[test]
    fn text_is_escaped_as_its_place_demands() {
        let mut out = String::new();
        escape(&mut out, "a\"b\\c\nd", true);
        escape(&mut out, " a\"b", false);
        assert_eq!(out, "a\\\"b\\\\c\\nd a\"b");
    }
}
