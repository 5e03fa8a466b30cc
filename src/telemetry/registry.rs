//! Collectors made from the catalogue and from nothing else.

use std::collections::BTreeSet;

use prometheus::core::Collector;
use prometheus::{
    Counter, Error, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, Result,
};

use super::catalogue::{CATALOGUE, JOB_LABEL, MetricKind, MetricSpec, spec};

/// Upper bounds of the latency buckets, in seconds: from an answer out of a cache to one that was given up.
const LATENCY_BUCKETS: &[f64] = &[0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0];

/// Makes each metric of the catalogue once.
pub(super) struct Builder {
    registry: Registry,
    missing: BTreeSet<&'static str>,
}

impl Builder {
    /// Series carry the job's name.
    pub(super) fn new(job: &str) -> Result<Self> {
        let labels = [(JOB_LABEL.to_owned(), job.to_owned())].into_iter().collect();
        let registry = Registry::new_custom(None, Some(labels))?;
        Ok(Self { registry, missing: CATALOGUE.iter().map(|spec| spec.name).collect() })
    }

    /// The registry, once every metric of the catalogue was made.
    pub(super) fn finish(self) -> Result<Registry> {
        match self.missing.first() {
            None => Ok(self.registry),
            Some(name) => Err(Error::Msg(format!("{name} is in the catalogue and is not measured"))),
        }
    }

    fn take(&mut self, name: &str, kind: MetricKind, is_labelled: bool) -> Result<&'static MetricSpec> {
        let spec = spec(name)
            .filter(|spec| spec.kind == kind && spec.labels.is_empty() != is_labelled)
            .ok_or_else(|| Error::Msg(format!("the catalogue has no such {} {name}", kind.as_str())))?;
        self.missing.remove(spec.name);
        Ok(spec)
    }

    fn register<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C> {
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    pub(super) fn counter(&mut self, name: &str) -> Result<IntCounter> {
        let spec = self.take(name, MetricKind::Counter, false)?;
        self.register(IntCounter::with_opts(opts(spec))?)
    }

    pub(super) fn seconds_counter(&mut self, name: &str) -> Result<Counter> {
        let spec = self.take(name, MetricKind::Counter, false)?;
        self.register(Counter::with_opts(opts(spec))?)
    }

    pub(super) fn counters(&mut self, name: &str) -> Result<IntCounterVec> {
        let spec = self.take(name, MetricKind::Counter, true)?;
        self.register(IntCounterVec::new(opts(spec), &label_names(spec))?)
    }

    /// A gauge that others add to and take from.
    pub(super) fn level(&mut self, name: &str) -> Result<IntGauge> {
        let spec = self.take(name, MetricKind::Gauge, false)?;
        self.register(IntGauge::with_opts(opts(spec))?)
    }

    /// A gauge that is set; not a number where there is nothing to tell, which is not exposed.
    pub(super) fn gauge(&mut self, name: &str) -> Result<Gauge> {
        let spec = self.take(name, MetricKind::Gauge, false)?;
        let gauge = Gauge::with_opts(opts(spec))?;
        gauge.set(f64::NAN);
        self.register(gauge)
    }

    pub(super) fn gauges(&mut self, name: &str) -> Result<GaugeVec> {
        let spec = self.take(name, MetricKind::Gauge, true)?;
        self.register(GaugeVec::new(opts(spec), &label_names(spec))?)
    }

    pub(super) fn latencies(&mut self, name: &str) -> Result<HistogramVec> {
        let spec = self.take(name, MetricKind::Histogram, true)?;
        let opts = HistogramOpts::new(spec.name, spec.help).buckets(LATENCY_BUCKETS.to_vec());
        self.register(HistogramVec::new(opts, &label_names(spec))?)
    }
}

fn opts(spec: &MetricSpec) -> Opts {
    Opts::new(spec.name, spec.help)
}

fn label_names(spec: &MetricSpec) -> Vec<&'static str> {
    spec.labels.iter().map(|label| label.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_catalogue_cannot_be_made() {
        let mut builder = Builder::new("nightly").unwrap();
        assert!(builder.counter("s3sweep_invented_total").is_err());
        assert!(builder.counter("s3sweep_in_flight_requests").is_err(), "another kind");
        assert!(builder.counter("s3sweep_requests_total").is_err(), "it has labels");
        builder.counter("s3sweep_listed_versions_total").unwrap();
        assert!(builder.counter("s3sweep_listed_versions_total").is_err(), "twice");
    }

    #[test]
    fn what_is_in_the_catalogue_must_be_measured() {
        let missing = Builder::new("nightly").unwrap().finish().unwrap_err();
        assert!(missing.to_string().contains("is not measured"), "{missing}");
    }
}
