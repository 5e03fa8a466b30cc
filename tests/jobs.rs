//! The job files that come with the program say what their comments say.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use s3sweep::job::{self, Action, Audit, Endpoint, Job, Transfer};
use s3sweep::model::{
    ActionId, ChecksumKind, DeleteOptions, History, IfExists, Key, Kind, Requirement, RuleId, Timestamp,
    Verify, Version, VersionId,
};
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
        histories: job
            .actions
            .iter()
            .map(|action| action.transfer().map(|transfer| transfer.settings.history))
            .collect(),
        lock_object: None,
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
    let act = |decision| match decision {
        Decision::Act { rule, .. } | Decision::Copy { rule, .. } => Some(name(rule)),
        Decision::Keep(_) => None,
    };
    decided.iter().filter_map(|d| Some((d.version.id.to_string(), act(d.decision)?))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(id, rule)| ((*id).to_owned(), (*rule).to_owned())).collect()
}

/// The one action of a job that copies or moves, and the key of the copy of a version.
fn transfer(job: &Job) -> (&Transfer, impl Fn(&str) -> String) {
    let [Action::Transfer(transfer)] = &job.actions[..] else { unreachable!("{:?}", job.actions) };
    let render = |key: &str| {
        let (id, at) = (VersionId::new("v").unwrap(), Timestamp::from_millis(0));
        let key = transfer.settings.key.render(&Key::from(key), &id, at, &job.scope.prefixes);
        key.as_str().unwrap().to_owned()
    };
    (transfer, render)
}

#[test]
fn every_file_is_tested_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs");
    let found: BTreeSet<String> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let tested = [
        "change-storage-class.yaml",
        "copy-to-other-endpoint.yaml",
        "empty-bucket.yaml",
        "move-to-archive.yaml",
        "noncurrent-30d-keep-3.yaml",
        "orphan-markers.yaml",
        "protect-prefix.yaml",
        "quickstart.yaml",
        "rename-prefix.yaml",
        "try-moving.yaml",
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

#[test]
fn old_versions_go_to_the_archive_with_their_markers() {
    use Kind::{DeleteMarker as M, Version as V};
    let job = load("move-to-archive.yaml");
    let (to, key) = transfer(&job);
    assert_eq!(job.rules[1].verdict, Verdict::Act(ActionId(0)));
    assert_eq!(to.removes_source, Some(DeleteOptions::default()));
    assert_eq!((&*to.to.name, &to.to.region), ("my-archive", &None));
    assert_eq!(key("logs/a"), "old/logs/a");
    assert_eq!(to.settings.storage_class.as_deref(), Some("GLACIER_IR"));
    assert_eq!(to.settings.if_exists, IfExists::Append);
    assert_eq!(to.settings.require, [Requirement::Tags, Requirement::Metadata]);
    assert_eq!(job.budget.max_bytes, Some(50 << 40));
    let large = 1 << 20;
    let entries = [
        ("current", V, 31, large),
        ("young", V, 35, large),
        ("marker", M, 40, 0),
        ("small", V, 50, 128 << 10),
        ("old", V, 60, large),
    ];
    let expected = [("young", "archive"), ("marker", "archive"), ("old", "archive")];
    assert_eq!(selected(&job, "k", &entries), pairs(&expected));
    assert_eq!(selected(&job, "k", &[("a", V, 29, large), ("b", V, 90, large)]), []);
}

#[test]
fn the_moves_to_try_out_stay_on_the_embedded_server() {
    use Kind::{DeleteMarker as M, Version as V};
    let job = load("try-moving.yaml");
    assert_eq!(job.bucket.endpoint, Endpoint::Sandbox);
    let places: Vec<_> = job
        .actions
        .iter()
        .filter_map(Action::transfer)
        .map(|to| (&*to.to.name, to.removes_source.is_some(), to.settings.key.to_string()))
        .collect();
    let wanted = [("archive", true, "2024/{key}"), ("mirror", false, "{key}")];
    assert_eq!(places, wanted.map(|(bucket, moves, key)| (bucket, moves, key.to_owned())));
    let entries = [("a", V, 1, 1), ("b", M, 2, 0), ("c", V, 3, 1)];
    let of = |key| selected(&job, key, &entries);
    assert_eq!(of("logs/x"), pairs(&[("b", "logs"), ("c", "logs"), ("a", "logs")]));
    assert_eq!(of("data/x"), pairs(&[("a", "mirror")]));
}

#[test]
fn a_renamed_prefix_takes_every_entry_along() {
    use Kind::{DeleteMarker as M, Version as V};
    let job = load("rename-prefix.yaml");
    let (to, key) = transfer(&job);
    assert_eq!((&to.to, to.settings.if_exists), (&job.bucket, IfExists::Fail));
    assert!(to.removes_source.is_some());
    assert_eq!(key("reports/2024/a"), "archive/reports/2024/a");
    // The next run does not list what this one wrote.
    assert!(!key("reports/2024/a").starts_with(job.scope.prefixes[0].as_str().unwrap()));
    let entries = [("a", V, 1, 1), ("b", M, 2, 0), ("c", V, 3, 1)];
    let expected = [("b", "rename"), ("c", "rename"), ("a", "rename")];
    assert_eq!(selected(&job, "reports/x", &entries), pairs(&expected));
}

#[test]
fn another_endpoint_gets_the_whole_history_and_the_source_stays() {
    use Kind::{DeleteMarker as M, Version as V};
    let job = load("copy-to-other-endpoint.yaml");
    let (to, key) = transfer(&job);
    assert_eq!(job.rules[0].verdict, Verdict::Copy(ActionId(0)));
    assert_eq!(to.removes_source, None);
    assert_eq!((&to.to.endpoint, &*to.to.name), (&Endpoint::Aws, "my-data-copy"));
    assert_eq!(
        (to.to.profile.as_deref(), job.bucket.profile.as_deref()),
        (Some("cloud"), Some("on-premises"))
    );
    assert_eq!(to.to.expected_owner.as_deref(), Some("123456789012"));
    assert_eq!(key("a/b"), "a/b");
    assert_eq!((to.settings.if_exists, to.settings.verify), (IfExists::SkipSame, Verify::Bytes));
    assert_eq!(to.settings.checksum, Some(ChecksumKind::Crc64Nvme));
    assert_eq!((job.limits.bytes_per_second, job.limits.stream_memory_bytes), (Some(100 << 20), 256 << 20));
    let entries = [("m", M, 1, 0), ("v", V, 2, 1)];
    assert_eq!(selected(&job, "k", &entries), pairs(&[("v", "everything"), ("m", "everything")]));
}

#[test]
fn the_storage_class_of_current_versions_changes_in_place() {
    use Kind::{DeleteMarker as M, Version as V};
    let job = load("change-storage-class.yaml");
    let (to, key) = transfer(&job);
    assert_eq!(to.to, job.bucket);
    assert!(to.is_in_place(&job.bucket));
    assert_eq!(key("a/b"), "a/b");
    assert_eq!((to.settings.history, to.settings.if_exists), (History::Current, IfExists::Append));
    assert_eq!(to.settings.storage_class.as_deref(), Some("STANDARD_IA"));
    assert_eq!(job.rules[0].conditions.state, [State::Current]);
    let large = 1 << 20;
    let entries = [("a", V, 100, large), ("b", V, 200, large)];
    assert_eq!(selected(&job, "k", &entries), pairs(&[("a", "cold")]));
    assert_eq!(selected(&job, "k", &[("a", V, 89, large)]), []);
    assert_eq!(selected(&job, "k", &[("a", V, 100, 1000)]), []);
    assert_eq!(selected(&job, "k", &[("m", M, 100, 0), ("a", V, 200, large)]), []);
}
