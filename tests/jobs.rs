//! The job files that come with the program say what their comments say.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use s3sweep::job::{self, Action, Audit, Endpoint, Job};
use s3sweep::model::{ActionId, DeleteOptions, Key, Kind, RuleId, Timestamp, Version, VersionId};
use s3sweep::rules::{Decision, KeyFold, NullVersions, Policy, Rules, Sequenced, State, Verdict};

const DAY: Duration = Duration::from_secs(86_400);

fn load(name: &str) -> Job {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs").join(name);
    let text = fs::read_to_string(&path).unwrap();
    let job = job::load(&text, name, &|_| None).unwrap_or_else(|problems| unreachable!("{problems}"));
    assert_eq!(job.warnings, [], "{name}");
    assert_eq!(format!("{}.yaml", job.name), name, "a job is named like its file");
    job
}

/// The (version id, rule) pairs that the job selects among the entries of one key, given newest
/// first as (id, kind, age in days, bytes).
fn selected(job: &Job, key: &str, entries: &[(&str, Kind, u32, u64)]) -> Vec<(String, String)> {
    let began = Timestamp::from_millis(1_800_000_000_000);
    let rules = Rules {
        rules: job.rules.clone(),
        policy: Policy {
            began,
            allow_promotion: job.allow_promotion,
            null_versions: NullVersions::Refuse,
            suspended: false,
        },
        histories: Vec::new(),
    };
    let mut fold = KeyFold::default();
    let mut decided = Vec::new();
    for (at, (id, kind, age_days, size)) in entries.iter().enumerate() {
        let version = Version {
            key: Key::from(key),
            id: VersionId::new(*id).unwrap(),
            kind: *kind,
            is_latest: at == 0,
            last_modified: began.minus(DAY * *age_days),
            size: *size,
            etag: None,
            storage_class: None,
        };
        fold.push(&rules, Sequenced::known(version), &mut decided).unwrap();
    }
    fold.finish(&rules, &mut decided);
    let name = |RuleId(index): RuleId| job.rules[usize::from(index)].name.clone();
    let act = |decision| if let Decision::Act { rule, .. } = decision { Some(name(rule)) } else { None };
    decided.iter().filter_map(|d| Some((d.version.id.to_string(), act(d.decision)?))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(id, rule)| ((*id).to_owned(), (*rule).to_owned())).collect()
}

#[test]
fn every_file_is_tested_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs");
    let found: BTreeSet<String> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let tested = [
        "empty-bucket.yaml",
        "noncurrent-30d-keep-3.yaml",
        "orphan-markers.yaml",
        "protect-prefix.yaml",
        "quickstart.yaml",
    ];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), tested);
}

#[test]
fn quickstart_keeps_what_is_protected_and_sweeps_what_is_old() {
    use Kind::{DeleteMarker as M, Version as V};
    let job = load("quickstart.yaml");
    assert_eq!(job.bucket.endpoint, Endpoint::Sandbox);
    let sandbox = job.sandbox.as_ref().unwrap();
    assert_eq!((sandbox.keys, sandbox.versions_per_key, sandbox.marker_share), (20_000, 4, 0.1));
    assert_eq!((sandbox.oldest, sandbox.newest, sandbox.size_bytes), (120 * DAY, DAY, 256 << 10));
    assert_eq!(sandbox.prefixes, ["logs/", "tmp/", "legal/"]);
    assert_eq!(job.report.audit, Audit::Full);

    let live = [("a", V, 10, 9), ("b", V, 50, 9), ("c", V, 60, 9), ("m", M, 70, 0), ("d", V, 90, 9)];
    assert_eq!(
        selected(&job, "table=x/1", &live),
        pairs(&[("c", "old-versions"), ("m", "old-markers"), ("d", "old-versions")])
    );
    assert_eq!(selected(&job, "legal/1", &live), []);
    let deleted = [("m", M, 40, 0)];
    assert_eq!(selected(&job, "k", &deleted), pairs(&[("m", "orphan-markers")]));
    let hiding = [("m", M, 40, 0), ("a", V, 50, 9)];
    assert_eq!(selected(&job, "k", &hiding), []);
}

#[test]
fn noncurrent_versions_go_by_their_successor_and_their_rank() {
    use Kind::Version as V;
    let job = load("noncurrent-30d-keep-3.yaml");
    assert_eq!(job.limits.versions_per_second, Some(3_000));
    assert_eq!((job.limits.concurrency, job.limits.list_concurrency), (32, 8));
    assert_eq!(job.budget.max_share, Some(0.8));
    assert_eq!(job.budget.deadline, Some(Duration::from_secs(4 * 3_600)));
    let entries = [
        ("current", V, 29, 1),
        ("n1", V, 31, 1),
        ("n2", V, 31, 1),
        ("n3", V, 29, 1),
        ("young", V, 40, 1),
        ("old", V, 50, 1),
        ("older", V, 60, 1),
    ];
    assert_eq!(selected(&job, "k", &entries), pairs(&[("old", "old-versions"), ("older", "old-versions")]));
}

#[test]
fn orphan_markers_go_where_nothing_is_left() {
    use Kind::{DeleteMarker as M, Version as V};
    let job = load("orphan-markers.yaml");
    assert!(!job.confirm);
    assert_eq!(selected(&job, "k", &[("m", M, 8, 0)]), pairs(&[("m", "orphan-markers")]));
    assert_eq!(selected(&job, "k", &[("m", M, 6, 0)]), []);
    assert_eq!(selected(&job, "k", &[("m", M, 8, 0), ("v", V, 9, 1)]), []);
    assert_eq!(selected(&job, "k", &[("m", M, 8, 0), ("n", M, 9, 0)]), []);
    assert_eq!(selected(&job, "k", &[("v", V, 8, 1)]), []);
}

#[test]
fn emptying_takes_every_entry_and_the_latest_last() {
    use Kind::{DeleteMarker as M, Version as V};
    let job = load("empty-bucket.yaml");
    assert_eq!(job.bucket.expected_owner.as_deref(), Some("123456789012"));
    assert_eq!(job.actions, [Action::Delete(DeleteOptions::default())]);
    assert_eq!(job.rules[0].verdict, Verdict::Act(ActionId(0)));
    assert_eq!(job.rules[0].conditions.state, [State::Any]);
    let entries = [("a", V, 1, 1), ("b", M, 2, 0), ("null", V, 3, 1)];
    let expected = [("b", "everything"), ("null", "everything"), ("a", "everything")];
    assert_eq!(selected(&job, "k", &entries), pairs(&expected));
}

#[test]
fn what_is_protected_is_out_of_reach() {
    use Kind::Version as V;
    let job = load("protect-prefix.yaml");
    assert_eq!(job.scope.prefixes, [Key::from("logs/"), Key::from("tmp/")]);
    let entries = [("a", V, 20, 9), ("b", V, 30, 2 << 20), ("c", V, 40, 9)];
    assert_eq!(selected(&job, "logs/legal/x", &entries), []);
    assert_eq!(selected(&job, "tmp/manifest.json", &entries), []);
    assert_eq!(selected(&job, "logs/x", &entries), pairs(&[("b", "large-old-versions")]));
    assert_eq!(selected(&job, "tmp/x", &entries), pairs(&[("b", "tmp"), ("c", "tmp"), ("a", "tmp")]));
}
