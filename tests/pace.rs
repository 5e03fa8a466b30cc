//! The pace of whole runs: a server that limits its rate is found out, and little is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{World, plain};
use s3sweep::sandbox::{Faults, PartitionLimit};

const EVERYTHING: &str = "rules: [{ name: all, match: { state: any }, action: delete }]\n";

/// The value of a metric in the text format.
fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Deletes 12,000 versions of a bucket that is one partition; how many were refused on the way, and
/// the pace at the end.
fn swept(limits: &str) -> (f64, f64) {
    let limit = PartitionLimit { keys_per_second: 3_500.0, burst_keys: 3_500.0, ..PartitionLimit::default() };
    let faults = Faults { partition_limit: Some(limit), ..Faults::default() };
    let world = World::with_faults(plain(6_000, 2), faults);
    let textfile = world.state_root().with_file_name("metrics.prom");
    let metrics = format!("metrics: {{ textfile: \"{}\" }}\n", textfile.display());
    let job = world.job(&format!("{EVERYTHING}{limits}{metrics}allow_promotion: true\n"));
    world.run(&job).expect(0);
    assert_eq!(world.count(), 0, "everything is gone in the end");
    let text = std::fs::read_to_string(textfile).unwrap();
    (metric(&text, "s3sweep_throttled_versions_total"), metric(&text, "s3sweep_pace_versions_per_second"))
}

#[test]
fn a_server_that_limits_its_rate_refuses_little_of_an_adaptive_run() {
    let (refused, pace) = swept("limits: { concurrency: 64 }\n");
    assert!(refused > 0.0, "the limit is met");
    assert!(pace > 1_000.0 && pace < 8_000.0, "it goes on near the limit: {pace}");
    let (refused_without, no_pace) = swept("limits: { concurrency: 64, adaptive: false }\n");
    assert_eq!(no_pace, 0.0);
    assert!(refused * 2.0 < refused_without, "{refused} with a pace, {refused_without} without");
}
