//! The pace of whole runs: a server that limits its rate is found out, and little is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::scrape::{address_of, scrape, value_of};
use common::{JOB, World, plain, wait_until};
use s3sweep::sandbox::{Faults, PartitionLimit};

const EVERYTHING: &str = "rules: [{ name: all, match: { state: any }, action: delete }]\n";

/// Deletes 12,000 versions of a bucket that is one partition; how many were refused on the way, and
/// the last pace that was seen, where one was.
fn swept(limits: &str) -> (f64, Option<f64>) {
    let limit = PartitionLimit { keys_per_second: 3_500.0, burst_keys: 3_500.0, ..PartitionLimit::default() };
    let faults = Faults { partition_limit: Some(limit), ..Faults::default() };
    let world = World::with_faults(plain(6_000, 2), faults);
    let textfile = world.state_root().with_file_name("metrics.prom");
    let metrics = format!("metrics: {{ listen: '127.0.0.1:0', textfile: \"{}\" }}\n", textfile.display());
    let job = world.job(&format!("{EVERYTHING}{limits}{metrics}allow_promotion: true\n"));
    let mut running = world.start_run(&job);
    let mut pace = None;
    wait_until("the end of the run", || {
        let seen = address_of(&running).and_then(|address| scrape(&address));
        pace = seen.and_then(|text| value_of(&text, &of_job("pace_versions_per_second"))).or(pace);
        running.has_ended()
    });
    running.wait().expect(0);
    assert_eq!(world.count(), 0, "everything is gone in the end");
    let text = std::fs::read_to_string(textfile).unwrap();
    (value_of(&text, &of_job("throttled_versions_total")).unwrap(), pace)
}

fn of_job(name: &str) -> String {
    format!("s3sweep_{name}{{sweep_job=\"{JOB}\"}}")
}

#[test]
fn a_server_that_limits_its_rate_refuses_little_of_an_adaptive_run() {
    let (refused, pace) = swept("limits: { concurrency: 64 }\n");
    assert!(refused > 0.0, "the limit is met");
    assert!(pace.is_some_and(|pace| pace > 1_000.0 && pace < 8_000.0), "it goes on near the limit: {pace:?}");
    let (refused_without, no_pace) = swept("limits: { concurrency: 64, adaptive: false }\n");
    assert_eq!(no_pace, None);
    assert!(refused * 2.0 < refused_without, "{refused} with a pace, {refused_without} without");
}

/// Under a low ceiling a batch of a thousand versions takes long; what was answered of it counts before.
#[test]
fn progress_does_not_stand_still_under_a_low_ceiling() {
    let world = World::new(plain(6000, 2));
    let job = world.job(
        "limits: { versions_per_second: 200, concurrency: 8 }\n\
         rules: [{ name: all, match: { state: any }, action: delete }]\n",
    );
    let mut running = world.start_run(&job);
    // Eight whole batches would be 40 s.
    wait_until("half of the first batches", || world.count() <= 12_000 - 8 * 500 || running.has_ended());
    let (done, deleted) = (world.status()["done"].as_u64().unwrap(), 12_000 - world.count() as u64);
    assert!(done * 2 >= deleted, "{done} of {deleted} are settled");
    running.signal("INT");
    running.wait().expect(75);
}
