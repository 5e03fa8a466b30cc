//! Whole runs against the oracle, version by version: every kind of rule, every bound of the
//! listing, every server that the sandbox can take after.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::checks::{check_bucket, check_oplog, check_status, check_sweep, doomed};
use common::oracle::{Plan, Rule};
use common::{BUCKET, World, mixed, plain, ref_of};
use s3sweep::model::{Kind, VersioningStatus};
use s3sweep::sandbox::{
    Config, CutListings, Effect, Faults, KeyErrors, KeyShape, Latency, Operation, Personality, Resets, Seed,
    SeedItem, When,
};

const OLD_VERSIONS: Rule = Rule {
    name: "old-versions",
    keeps: false,
    prefix: &[],
    suffix: &[],
    state: &["noncurrent"],
    older_than_days: None,
    noncurrent_for_days: Some(60),
    beyond_newest: Some(1),
    min_size: None,
    max_size: None,
    storage_class: &[],
};

fn everything() -> Rule {
    Rule { name: "everything", state: &["any"], ..Rule::default() }
}

fn orphans() -> Rule {
    Rule { name: "orphans", state: &["orphan-marker"], ..Rule::default() }
}

/// What most users want: a legal hold by prefix, old versions, then markers with nothing beneath.
fn tidy() -> Plan {
    let legal = Rule { name: "legal", keeps: true, prefix: &["data/"], ..Rule::default() };
    let markers = Rule {
        name: "old-markers",
        state: &["noncurrent-marker"],
        older_than_days: Some(30),
        ..Rule::default()
    };
    Plan::of(&[Rule { suffix: &["0.parquet", "1.parquet"], ..legal }, OLD_VERSIONS, markers, orphans()])
}

/// Rules that undo each other's work if they are applied in the wrong order.
fn selective() -> Plan {
    Plan::of(&[
        Rule { name: "cold", storage_class: &["GLACIER"], older_than_days: Some(100), ..Rule::default() },
        Rule { name: "large", keeps: true, min_size: Some(8_000), ..Rule::default() },
        Rule { name: "small", state: &["noncurrent", "current"], max_size: Some(4_000), ..Rule::default() },
        Rule { name: "hidden", state: &["latest-marker", "noncurrent-marker"], ..Rule::default() },
    ])
}

/// Runs the plan on a fresh bucket and compares everything; the number of deleted entries.
#[track_caller]
fn sweep(world: &World, plan: &Plan) -> usize {
    let is_suspended = world.sandbox.store().status(BUCKET).unwrap() == VersioningStatus::Suspended;
    let before = world.entries();
    let job = world.job(&plan.yaml());
    world.run(&job).expect(0);
    doomed(&check_sweep(world, &before, plan, is_suspended)).len()
}

#[test]
fn every_set_of_rules_does_what_the_oracle_says() {
    let markers = Plan::of(&[Rule { name: "markers", state: &["delete-marker"], ..Rule::default() }]);
    for plan in [tidy(), selective(), markers, Plan::of(&[everything()]), Plan::of(&[orphans()])] {
        let deleted = sweep(&World::new(mixed(90)), &plan);
        assert!(deleted > 5, "{deleted} deleted: this says nothing\n{}", plan.yaml());
    }
}

#[test]
fn an_older_version_becomes_current_only_where_the_job_allows_it() {
    let latest_markers = Rule { name: "undelete", state: &["latest-marker"], ..Rule::default() };
    let refused = Plan::of(&[latest_markers]);
    let kept = sweep(&World::new(mixed(60)), &refused);
    let undeleted = sweep(&World::new(mixed(60)), &Plan { allow_promotion: true, ..refused });
    assert!(undeleted > kept + 5, "{undeleted} against {kept}");
}

#[test]
fn pages_may_be_cut_anywhere() {
    for page_size in [1, 2, 3, 7, 100, 1000] {
        let world = World::new(mixed(if page_size == 1 { 24 } else { 45 }));
        sweep(&world, &Plan { page_size: Some(page_size), ..tidy() });
    }
}

#[test]
fn scopes_bound_what_is_listed() {
    let seed = mixed(60);
    let keys: Vec<String> = World::new(seed.clone())
        .entries()
        .iter()
        .filter(|entry| entry.is_latest)
        .map(|entry| entry.key.to_string())
        .collect();
    let (from_key, to_key) = (Some(keys[11].clone()), Some(keys[44].clone()));
    let base = Plan { page_size: Some(9), ..Plan::of(&[everything()]) };
    let prefixes = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    for plan in [
        Plan { prefixes: prefixes(&["tmp/", "data/", "nothing/"]), ..base.clone() },
        Plan { prefixes: prefixes(&["logs/", "logs/table=events/"]), ..base.clone() },
        Plan { from_key: from_key.clone(), to_key: to_key.clone(), ..base.clone() },
        Plan { prefixes: prefixes(&["data/", "logs/"]), from_key, to_key, ..base.clone() },
        Plan { from_key: Some("logs".into()), to_key: Some("logs/\u{10ffff}".into()), ..base },
    ] {
        let world = World::new(seed.clone());
        let all = world.count();
        let deleted = sweep(&world, &plan);
        assert!(deleted > 0 && deleted < all, "{deleted} of {all}\n{}", plan.yaml());
    }
}

#[test]
fn a_limit_ends_the_listing_even_inside_a_key() {
    for (limit, page_size) in [(1, 1000), (50, 10), (53, 10), (101, 1000), (1_000_000, 1000)] {
        let plan = Plan { limit: Some(limit), page_size: Some(page_size), ..Plan::of(&[everything()]) };
        sweep(&World::new(mixed(40)), &plan);
    }
}

#[test]
fn odd_keys_are_deleted_and_no_others() {
    for key_shape in [KeyShape::Odd, KeyShape::Unicode] {
        let prefixes = vec![String::new(), "p /+%41/".to_owned()];
        let seed = Seed { key_shape, prefixes, ..mixed(116) };
        // The prefix is odd too, so that the query of the listing is.
        let scope = vec!["p /+%41/".to_owned()];
        let plan = Plan { page_size: Some(11), ..Plan::of(&[everything()]) };
        let deleted = sweep(&World::new(seed.clone()), &Plan { prefixes: scope, ..plan.clone() });
        let all = sweep(&World::new(seed), &plan);
        assert!(deleted > 100 && all > deleted, "{deleted} of {all}");
    }
}

fn suspended() -> Seed {
    let item = |key: &str, age_secs: f64, null: bool, delete_marker: bool| SeedItem {
        key: key.into(),
        age_secs,
        null,
        delete_marker,
        size_bytes: 10,
        ..SeedItem::default()
    };
    let mut items = Vec::new();
    for number in 0..40 {
        let key = format!("key-{number:02}");
        let age = |days: f64| 86_400.0 * days + f64::from(number);
        items.push(item(&key, age(200.0), number % 4 == 0, false));
        items.push(item(&key, age(150.0), number % 4 == 1, number % 5 == 0));
        items.push(item(&key, age(100.0), number % 4 == 2, number % 7 == 0));
    }
    Seed { bucket: BUCKET.into(), versioning: VersioningStatus::Suspended, items, ..Seed::default() }
}

#[test]
fn null_versions_of_a_suspended_bucket_go_only_where_the_job_allows_it() {
    for plan in [Plan::of(&[everything()]), tidy()] {
        let refused = sweep(&World::new(suspended()), &Plan { page_size: Some(4), ..plan.clone() });
        let allowed = Plan { null_versions_allowed: true, page_size: Some(4), ..plan };
        let deleted = sweep(&World::new(suspended()), &allowed);
        assert!(deleted > refused, "{deleted} against {refused}");
    }
}

fn personalities() -> Vec<(&'static str, Personality)> {
    let aws = Personality::default;
    vec![
        ("inclusive_key_marker", Personality { inclusive_key_marker: true, ..aws() }),
        ("marker_skips_key", Personality { marker_skips_key_when_gone: true, ..aws() }),
        ("marker_restarts_key", Personality { marker_restarts_key_when_gone: true, ..aws() }),
        ("grouped_pages", Personality { grouped_pages: true, ..aws() }),
        ("encode_keys_not_markers", Personality { encode_keys_not_markers: true, ..aws() }),
        ("ignore_encoding_type", Personality { ignore_encoding_type: true, ..aws() }),
        ("short_pages", Personality { short_pages: true, ..aws() }),
        ("missing_version_is_error", Personality { missing_version_is_error: true, ..aws() }),
        ("no_multi_delete", Personality { no_multi_delete: true, ..aws() }),
        ("content_md5_required_only", Personality { content_md5_required_only: true, ..aws() }),
        (
            "like Ceph RGW",
            Personality {
                inclusive_key_marker: true,
                marker_skips_key_when_gone: true,
                encode_keys_not_markers: true,
                short_pages: true,
                ..aws()
            },
        ),
        (
            "like MinIO",
            Personality { marker_restarts_key_when_gone: true, content_md5_required_only: true, ..aws() },
        ),
        ("like LocalStack", Personality { grouped_pages: true, missing_version_is_error: true, ..aws() }),
    ]
}

/// A world that takes after a server, with keys that need encoding.
fn world_like(personality: &Personality, keys: u64) -> World {
    let seed = Seed { key_shape: KeyShape::Unicode, ..mixed(keys) };
    World::with(Config { seeds: vec![seed], personality: personality.clone(), ..Config::default() })
}

#[test]
fn every_personality_comes_to_the_same_end() {
    for (name, personality) in personalities() {
        println!("{name}");
        let world = world_like(&personality, 45);
        sweep(&world, &tidy());
        assert!(!world.sandbox.oplog().is_empty(), "{name}");
    }
}

#[test]
fn small_pages_of_every_personality_end_inside_keys() {
    for (name, personality) in personalities() {
        if personality.grouped_pages {
            continue;
        }
        println!("{name}");
        let plan = Plan { page_size: Some(3), ..Plan::of(&[OLD_VERSIONS, orphans()]) };
        sweep(&world_like(&personality, 30), &plan);
    }
}

#[test]
fn many_listers_divide_ranges_and_come_to_the_same_end() {
    let mut divided = 0;
    for (round, (name, personality)) in personalities().into_iter().enumerate() {
        let shapes = [KeyShape::Hive, KeyShape::Flat, KeyShape::Unicode];
        let seed = Seed { key_shape: shapes[round % 3], ..mixed(160) };
        let (seeds, is_grouped) = (vec![seed], personality.grouped_pages);
        let slow =
            |operation, fixed_ms| Latency { operation: Some(operation), fixed_ms, per_key_us: 0, sigma: 0.0 };
        let latency = vec![slow(Operation::ListObjectVersions, 8), slow(Operation::DeleteObjects, 3)];
        let faults = Faults {
            latency,
            resets: vec![Resets { operation: None, share: 0.02, when: When::BeforeApplying }],
            cut_listings: Some(CutListings { share: 0.02, at_byte: None }),
            ..Faults::default()
        };
        let world = World::with(Config { seeds, personality, faults, ..Config::default() });
        // Pages of grouped entries that are cut inside keys keep more than the oracle says.
        let page_size = Some(if is_grouped { 1000 } else { 6 });
        let plan = Plan { page_size, ..if round % 2 == 0 { tidy() } else { Plan::of(&[everything()]) } };
        sweep(&world, &plan);
        println!("{name}: {} ranges", world.ranges());
        divided += world.ranges() - 1;
    }
    assert!(divided > 60, "ranges were divided {divided} times only");
}

#[test]
fn one_page_costs_one_request() {
    let world = World::new(plain(40, 3));
    sweep(&world, &Plan::of(&[everything()]));
    assert_eq!((world.requests(Operation::ListObjectVersions), world.ranges()), (1, 1));
}

#[test]
fn a_server_with_keys_in_the_order_of_utf16_is_listed_sequentially() {
    let seed = Seed { key_shape: KeyShape::Unicode, ..mixed(60) };
    let bounds = [None, Some("data/\u{ff5e}wave-1"), Some("data/\u{1f600}"), Some("data/日")];
    let utf16 = Personality { utf16_order: true, ..Personality::default() };
    let grouped = Personality { utf16_order: true, grouped_pages: true, ..Personality::default() };
    for (round, from) in bounds.into_iter().enumerate() {
        for to in [None, Some("data/\u{ff5e}wave-4"), Some("data/\u{1f600}smile-3"), Some("logs/")] {
            if from.zip(to).is_some_and(|(from, to)| from >= to) {
                continue;
            }
            let (personality, page_size) =
                if round % 2 == 0 { (utf16.clone(), Some(7)) } else { (grouped.clone(), None) };
            let world = World::with(Config { seeds: vec![seed.clone()], personality, ..Config::default() });
            let (from_key, to_key) = (from.map(String::from), to.map(String::from));
            let plan = Plan { sequential: true, from_key, to_key, page_size, ..Plan::of(&[everything()]) };
            assert!(sweep(&world, &plan) > 0, "{from:?} to {to:?}");
            assert_eq!(world.ranges(), 1);
        }
    }
    // In the order of bytes it works too.
    let plan = Plan { sequential: true, page_size: Some(7), ..tidy() };
    sweep(&World::new(seed), &plan);
}

#[test]
fn deleting_behind_the_lister_loses_nothing_whatever_becomes_of_the_marker() {
    // A batch is full after 1,000 versions, and 7 pages of 143 are the latest version and 1,000 others:
    // the entry that the next page is asked for from would be the last of the batch that leaves first.
    let noncurrent = Rule { name: "noncurrent", state: &["noncurrent"], ..Rule::default() };
    let plan = Plan { page_size: Some(143), ..Plan::of(&[noncurrent]) };
    // Time for the deletion to come before the listing.
    let slow = |operation| Latency { operation: Some(operation), fixed_ms: 160, per_key_us: 0, sigma: 0.0 };
    let faults = Faults { latency: vec![slow(Operation::ListObjectVersions)], ..Faults::default() };
    let aws = Personality::default;
    std::thread::scope(|scope| {
        for personality in [
            Personality { marker_skips_key_when_gone: true, ..aws() },
            Personality { marker_restarts_key_when_gone: true, ..aws() },
        ] {
            let (plan, faults) = (&plan, faults.clone());
            scope.spawn(move || {
                let seeds = vec![plain(1, 1500)];
                let world = World::with(Config { seeds, faults, personality, ..Config::default() });
                assert_eq!(sweep(&world, plan), 1499);
                // What this test is for did happen: something was deleted before the listing ended.
                let deleting = world.requests(Operation::DeleteObjects);
                assert!(deleting > 1, "{deleting} requests");
            });
        }
    });
}

#[test]
fn grouped_pages_cut_inside_keys_keep_what_they_leave_open() {
    for page_size in [3, 10, 40] {
        let personality = Personality { grouped_pages: true, ..Personality::default() };
        let world = world_like(&personality, 45);
        let before = world.entries();
        let plan = Plan { page_size: Some(page_size), ..tidy() };
        let job = world.job(&plan.yaml());
        world.run(&job).expect(0);
        let fates = plan.decide(&before, false, world.began());
        let left: Vec<_> = world.entries().iter().map(ref_of).collect();
        for line in world.audit() {
            let entry = (line.key_bytes().unwrap(), line.version_id.parse_id());
            let wanted = &fates[&entry];
            assert_eq!(left.contains(&entry), line.outcome == "kept", "{line:?}");
            // More may be kept than the oracle says, never less, and only for this reason or for
            // what follows from it.
            assert!(wanted.deleted || line.outcome == "kept", "{line:?}");
            let follows = matches!(line.reason.as_deref(), Some("ambiguous" | "promotion" | "no-rule"));
            assert!(!wanted.deleted || line.outcome == "done" || follows, "{line:?}");
        }
        assert_eq!(world.audit().len(), before.len());
        check_oplog(&world.sandbox.oplog(), &before, &fates, false);
    }
}

trait ParseId {
    fn parse_id(&self) -> s3sweep::model::VersionId;
}

impl ParseId for str {
    fn parse_id(&self) -> s3sweep::model::VersionId {
        s3sweep::model::VersionId::new(self).unwrap()
    }
}

#[test]
fn items_that_fail_for_a_while_and_answers_that_omit_them_are_seen_through() {
    let key_errors = vec![KeyErrors {
        share: 0.2,
        codes: vec!["InternalError".into(), "SlowDown".into()],
        prefix: String::new(),
    }];
    let faults = Faults { seed: 5, key_errors, omit_items: 0.05, ..Faults::default() };
    let world = World::with_faults(mixed(120), faults);
    sweep(&world, &Plan::of(&[everything()]));
}

#[test]
fn a_plan_changes_nothing_and_apply_does_exactly_that_plan() {
    let world = World::new(mixed(60));
    let before = world.entries();
    let plan = tidy();
    let job = world.job(&plan.yaml());
    let job = job.to_str().unwrap();
    let planned = world.call(&["plan", job, "--output", "json"]).expect(0).json();
    assert_eq!(world.entries(), before, "plan changes nothing");
    assert!(world.sandbox.oplog().is_empty(), "plan sends nothing");
    // What comes into being after the plan is not in it.
    let store = world.sandbox.store();
    let now = world.sandbox.now();
    for entry in before.iter().filter(|entry| entry.kind == Kind::Version).take(20) {
        store.put(BUCKET, entry.key.clone(), 1, now).unwrap();
    }
    store.insert_marker(BUCKET, "data/new", now).unwrap();
    let fates = plan.decide(&before, false, world.began());
    assert_eq!(planned["plan"]["planned"], doomed(&fates).len() as u64);
    world.call(&["apply", job, "--yes"]).expect(0);
    let with_new: Vec<_> = world
        .entries()
        .into_iter()
        .filter(|entry| !before.iter().any(|old| ref_of(old) == ref_of(entry)))
        .collect();
    assert!(with_new.len() > 10, "what is new stays");
    let all: Vec<_> = before.iter().cloned().chain(with_new).collect();
    check_bucket(&world, &all, &fates);
    check_status(&world, &fates);
    check_oplog(&world.sandbox.oplog(), &before, &fates, false);
    let applied = world.sandbox.oplog().len();
    world.call(&["apply", job, "--yes"]).expect(2).says(&["no plan"]);
    assert_eq!(world.sandbox.oplog().len(), applied);
}

#[test]
fn a_second_run_finds_nothing_to_do() {
    let world = World::new(mixed(45));
    sweep(&world, &tidy());
    let before = world.entries();
    let deletions = world.sandbox.oplog().len();
    world.run(&world.job(&tidy().yaml())).expect(0);
    let fates = tidy().decide(&before, false, world.began());
    assert!(doomed(&fates).is_empty(), "the rules come to rest");
    check_status(&world, &fates);
    assert_eq!(world.sandbox.oplog().len(), deletions);
    assert!(world.sandbox.oplog().iter().all(|record| record.effect != Effect::Absent));
}
