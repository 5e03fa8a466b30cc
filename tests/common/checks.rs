//! What must hold after every run.

use std::collections::{BTreeMap, BTreeSet};

use s3sweep::model::{Key, Kind, Version, VersionId};
use s3sweep::sandbox::{Effect, OpRecord, Operation};

use super::oracle::{Fates, Plan};
use super::{Ref, World, ref_of};

/// The run has done to the bucket what the oracle says, and nothing else; the audit, the status and
/// the server's operation log tell the same. Returns the fates.
#[track_caller]
pub fn check_sweep(world: &World, before: &[Version], plan: &Plan, is_suspended: bool) -> Fates {
    let fates = plan.decide(before, is_suspended, world.began());
    check_bucket(world, before, &fates);
    check_audit(world, &fates);
    check_status(world, &fates);
    check_oplog(&world.sandbox.oplog(), before, &fates, plan.allow_promotion);
    fates
}

pub fn doomed(fates: &Fates) -> BTreeSet<Ref> {
    fates.iter().filter(|(_, fate)| fate.deleted).map(|(entry, _)| entry.clone()).collect()
}

#[track_caller]
fn same<T: Ord + std::fmt::Debug>(what: &str, found: &BTreeSet<T>, wanted: &BTreeSet<T>) {
    let missing: Vec<_> = wanted.difference(found).take(5).collect();
    let surplus: Vec<_> = found.difference(wanted).take(5).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "{what}: {} found, {} wanted; missing {missing:?}, surplus {surplus:?}",
        found.len(),
        wanted.len()
    );
}

/// What is left is what the oracle keeps, version by version.
#[track_caller]
pub fn check_bucket(world: &World, before: &[Version], fates: &Fates) {
    let gone = doomed(fates);
    let wanted: BTreeSet<Ref> = before.iter().map(ref_of).filter(|entry| !gone.contains(entry)).collect();
    let found: BTreeSet<Ref> = world.entries().iter().map(ref_of).collect();
    same("entries left", &found, &wanted);
}

/// One line for each listed entry, with the outcome and the reason that the oracle gives.
#[track_caller]
pub fn check_audit(world: &World, fates: &Fates) {
    let mut told: BTreeMap<Ref, (bool, Option<String>, String)> = BTreeMap::new();
    for line in world.audit() {
        let entry: Ref = (line.key_bytes().unwrap(), VersionId::new(&*line.version_id).unwrap());
        let deleted = matches!(&*line.outcome, "done" | "gone");
        assert!(deleted || line.outcome == "kept", "{line:?}");
        let reason =
            if deleted { String::new() } else { line.reason.clone().unwrap_or_default().into_owned() };
        let rule = line.rule.clone().map(std::borrow::Cow::into_owned);
        assert!(told.insert(entry, (deleted, rule, reason)).is_none(), "told twice: {line:?}");
    }
    let wanted: BTreeMap<Ref, (bool, Option<String>, String)> = fates
        .iter()
        .map(|(entry, fate)| {
            (entry.clone(), (fate.deleted, fate.rule.map(str::to_owned), fate.reason.to_owned()))
        })
        .collect();
    same("audit", &told.into_iter().collect(), &wanted.into_iter().collect());
}

/// The accounting identity, and the figures of the oracle.
#[track_caller]
pub fn check_status(world: &World, fates: &Fates) {
    let status = world.status();
    let figure = |name: &str| status[name].as_u64().unwrap_or_else(|| panic!("{name} in {status}"));
    check_identity(&status);
    let deleted = doomed(fates).len() as u64;
    assert_eq!(figure("listed"), fates.len() as u64, "{status}");
    assert_eq!(figure("planned"), deleted, "{status}");
    assert_eq!(figure("done") + figure("gone"), deleted, "{status}");
    assert_eq!(status["exit_code"], 0, "{status}");
}

#[track_caller]
pub fn check_identity(status: &serde_json::Value) {
    let figure = |name: &str| status[name].as_u64().unwrap_or_else(|| panic!("{name} in {status}"));
    assert_eq!(figure("listed"), figure("kept") + figure("planned") + figure("undecided"), "{status}");
    let accounted = ["pending", "done", "gone", "failed", "skipped"].map(figure).iter().sum::<u64>();
    assert_eq!(figure("planned"), accounted, "{status}");
}

/// Follows the operation log: every delete names a version of the plan, the latest entry of a key
/// goes after all others that go, and no older version becomes current on the way.
#[track_caller]
pub fn check_oplog(oplog: &[OpRecord], before: &[Version], fates: &Fates, allow_promotion: bool) {
    let doomed = doomed(fates);
    let mut left: BTreeMap<Key, Vec<&Version>> = BTreeMap::new();
    for entry in before {
        left.entry(entry.key.clone()).or_default().push(entry);
    }
    for record in oplog {
        assert!(matches!(record.operation, Operation::DeleteObject | Operation::DeleteObjects), "{record:?}");
        let id = record.version_id.as_deref().unwrap_or_else(|| panic!("no version id: {record:?}"));
        let entry = (record.key.clone(), VersionId::new(id).unwrap());
        assert!(doomed.contains(&entry), "outside the plan: {record:?}");
        match record.effect {
            Effect::Deleted | Effect::MarkerDeleted => {}
            // A repetition of what was done before.
            Effect::Absent => continue,
            Effect::Created | Effect::MarkerCreated => panic!("a version came into being: {record:?}"),
        }
        let history = left.get_mut(&record.key).unwrap();
        let place = history.iter().position(|version| version.id == entry.1).unwrap();
        let gone = history.remove(place);
        if gone.is_latest {
            let early: Vec<_> = history.iter().filter(|elder| doomed.contains(&ref_of(elder))).collect();
            assert!(early.is_empty(), "{record:?} went before its elders {early:?}");
        }
        if place == 0 && !allow_promotion {
            let next = history.first().filter(|next| next.kind == Kind::Version);
            assert!(next.is_none(), "{record:?} made {next:?} current");
        }
    }
}
