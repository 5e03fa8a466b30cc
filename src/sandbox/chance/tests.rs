use super::*;
use crate::sandbox::faults::{
    CutListings, KeyErrors, Latency, PartitionLimit, RequestErrors, Resets, ScriptedKey, ScriptedRequest,
};

fn key_errors(share: f64) -> Faults {
    let errors =
        KeyErrors { share, codes: vec!["InternalError".into(), "SlowDown".into()], prefix: String::new() };
    Faults { seed: 42, key_errors: vec![errors], ..Faults::default() }
}

fn items(keys: &[String]) -> impl Iterator<Item = (&str, Option<&str>)> {
    keys.iter().map(|key| (key.as_str(), Some("v")))
}

/// What befalls each item.
fn draw_items(chance: &Chance, keys: &[String], now: Instant) -> Vec<ItemFate> {
    let fates = chance.of_items(items(keys), now);
    assert_ne!(fates, ItemFates::SlowDown);
    (0..keys.len()).map(|place| fates.of(place).clone()).collect()
}

#[test]
fn an_item_fails_whatever_the_order_of_requests() {
    let keys: Vec<String> = (0..1000).map(|n| format!("k{n}")).collect();
    let chance = Chance::new(key_errors(0.05));
    let now = Instant::now();
    let forward = draw_items(&chance, &keys, now);
    let other = Chance::new(key_errors(0.05));
    let backward: Vec<ItemFate> =
        keys.iter().rev().flat_map(|key| draw_items(&other, std::slice::from_ref(key), now)).collect();
    assert!(forward.iter().eq(backward.iter().rev()));
    let failed = forward.iter().filter(|fate| **fate != ItemFate::Fine).count();
    assert!((20..100).contains(&failed), "about 50 of 1000: {failed}");
    for code in ["InternalError", "SlowDown"] {
        assert!(forward.contains(&ItemFate::Error(code.into())), "{code}");
    }
}

#[test]
fn an_item_that_failed_is_drawn_anew() {
    let keys: Vec<String> = (0..200).map(|n| format!("k{n}")).collect();
    let chance = Chance::new(key_errors(0.5));
    let mut left = keys;
    for _ in 0..60 {
        let fates = draw_items(&chance, &left, Instant::now());
        left = left
            .into_iter()
            .zip(fates)
            .filter(|(_, fate)| *fate != ItemFate::Fine)
            .map(|(key, _)| key)
            .collect();
    }
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn another_seed_draws_otherwise() {
    let keys: Vec<String> = (0..300).map(|n| format!("k{n}")).collect();
    let draw = |seed| draw_items(&Chance::new(Faults { seed, ..key_errors(0.2) }), &keys, Instant::now());
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn a_scripted_key_fails_so_many_times() {
    let scripted = ScriptedKey { key: "k".into(), code: "InternalError".into(), times: Some(2) };
    let chance = Chance::new(Faults { scripted_keys: vec![scripted], ..Faults::default() });
    let draw = |key: &str| draw_items(&chance, &[key.to_owned()], Instant::now())[0].clone();
    let failed = ItemFate::Error("InternalError".into());
    assert_eq!(
        [draw("k"), draw("other"), draw("k"), draw("k")],
        [failed.clone(), ItemFate::Fine, failed, ItemFate::Fine]
    );
}

#[test]
fn the_nth_request_of_an_operation_fails() {
    let script = |nth, kind| ScriptedRequest { operation: Operation::DeleteObjects, nth, kind };
    let chance = Chance::new(Faults {
        scripted_requests: vec![
            script(2, FaultKind::Error("SlowDown".into())),
            script(3, FaultKind::Reset(When::AfterApplying)),
            script(4, FaultKind::CutBody(10)),
        ],
        ..Faults::default()
    });
    assert_eq!(chance.of_request(Operation::DeleteObjects), Fate::default());
    assert_eq!(chance.of_request(Operation::ListObjectVersions), Fate::default());
    assert_eq!(chance.of_request(Operation::DeleteObjects).error, Some(("SlowDown".into(), None)));
    assert_eq!(chance.of_request(Operation::DeleteObjects).reset, Some(When::AfterApplying));
    assert_eq!(chance.of_request(Operation::DeleteObjects).cut, Some(Cut::AtByte(10)));
    assert_eq!(chance.of_request(Operation::DeleteObjects), Fate::default());
}

#[test]
fn shares_of_requests_come_out_about_right_and_the_same_each_time() {
    let faults = Faults {
        seed: 7,
        request_errors: vec![RequestErrors {
            operation: Some(Operation::DeleteObjects),
            share: 0.1,
            code: "SlowDown".into(),
            retry_after_secs: Some(3),
        }],
        resets: vec![Resets { operation: None, share: 0.1, when: When::BeforeApplying }],
        cut_listings: Some(CutListings { share: 0.1, at_byte: None }),
        ..Faults::default()
    };
    let draw = |operation| {
        let chance = Chance::new(faults.clone());
        (0..1000).map(|_| chance.of_request(operation)).collect::<Vec<_>>()
    };
    let deletes = draw(Operation::DeleteObjects);
    assert_eq!(deletes, draw(Operation::DeleteObjects));
    let count = |fates: &[Fate], is: fn(&Fate) -> bool| fates.iter().filter(|fate| is(fate)).count();
    assert!((60..150).contains(&count(&deletes, |fate| fate.error == Some(("SlowDown".into(), Some(3))))));
    assert!((60..150).contains(&count(&deletes, |fate| fate.reset.is_some())));
    assert_eq!(count(&deletes, |fate| fate.cut.is_some()), 0);
    let lists = draw(Operation::ListObjectVersions);
    assert!((60..150).contains(&count(&lists, |fate| fate.cut.is_some())));
    assert_eq!(count(&lists, |fate| fate.error.is_some()), 0);
}

#[test]
fn a_cut_body_is_always_shorter() {
    for cut in [Cut::AtByte(0), Cut::AtByte(50), Cut::AtByte(5000), Cut::AtShare(0), Cut::AtShare(u32::MAX)] {
        assert!(cut.length(100) < 100, "{cut:?}");
    }
    assert_eq!(Cut::AtByte(50).length(100), 50);
    assert_eq!(Cut::AtShare(1 << 31).length(100), 50);
    assert_eq!(Cut::AtByte(5).length(0), 0);
}

#[test]
fn a_partition_takes_its_rate_and_no_more() {
    let limit = PartitionLimit {
        prefix_bytes: 1,
        keys_per_second: 10.0,
        burst_keys: 5.0,
        ..PartitionLimit::default()
    };
    let chance = Chance::new(Faults { partition_limit: Some(limit), ..Faults::default() });
    let start = Instant::now();
    let take = |key: &str, after_millis| {
        (0..100)
            .filter(|_| chance.partition_takes(key.as_bytes(), start + Duration::from_millis(after_millis)))
            .count()
    };
    assert_eq!(take("a1", 0), 5);
    assert_eq!(take("b1", 0), 5, "another partition");
    assert_eq!(take("a2", 300), 3);
    assert_eq!(take("a2", 10_000), 5, "no more than the burst is saved up");
}

#[test]
fn credentials_expire_one_by_one() {
    let chance = Chance::new(Faults { expire_token_after: Some(2), ..Faults::default() });
    let uses = ["one", "one", "one", "two", "two", "two"].map(|token| chance.credentials_expired("k", token));
    assert_eq!(uses, [false, false, true, false, false, true]);
}

#[test]
fn what_happens_once_happens_once() {
    let chance =
        Chance::new(Faults { foreign_key: Some("x".into()), suspend_after: Some(1), ..Faults::default() });
    assert_eq!((chance.take_foreign_key(), chance.take_foreign_key()), (Some("x".into()), None));
    let suspends: Vec<bool> = (0..3).map(|_| chance.of_request(Operation::HeadBucket).suspend_all).collect();
    assert_eq!(suspends, [false, true, false]);
}

#[test]
fn boundaries_part_the_keys_and_a_request_of_refused_keys_fails_as_a_whole() {
    let limit = PartitionLimit {
        boundaries: vec!["b".into(), "c".into()],
        keys_per_second: 1.0,
        burst_keys: 2.0,
        whole_request: true,
        ..PartitionLimit::default()
    };
    let chance = Chance::new(Faults { partition_limit: Some(limit), ..Faults::default() });
    let now = Instant::now();
    let draw = |keys: &[&str]| {
        let fates = chance.of_items(keys.iter().map(|key| (*key, None)), now);
        let is_fine = |place| *fates.of(place) == ItemFate::Fine;
        (fates != ItemFates::SlowDown).then(|| (0..keys.len()).map(is_fine).collect::<Vec<bool>>())
    };
    assert_eq!(draw(&["a", "azz", "az", "b"]), Some(vec![true, true, false, true]));
    assert_eq!(draw(&["0", "bz", "b0", "c"]), Some(vec![false, true, false, true]));
    assert_eq!(draw(&["a", "b", "bb"]), None);
}

fn latency(operation: Option<Operation>, fixed_ms: u64, sigma: f64) -> Latency {
    Latency { operation, fixed_ms, per_key_us: 200, sigma }
}

#[test]
fn latency_counts_keys() {
    let chance = Chance::new(Faults {
        latency: vec![latency(Some(Operation::DeleteObjects), 50, 0.0), latency(None, 5, 0.0)],
        ..Faults::default()
    });
    let delete = chance.of_request(Operation::DeleteObjects).latency;
    assert_eq!(
        (delete.before(), delete.after(1000)),
        (Duration::from_millis(25), Duration::from_millis(225))
    );
    let head = chance.of_request(Operation::HeadBucket).latency;
    assert_eq!(head.before() + head.after(0), Duration::from_millis(5));
}

#[test]
fn latency_is_spread_lognormally_and_follows_from_the_seed() {
    let draw = |seed| {
        let faults = Faults { seed, latency: vec![latency(None, 80, 0.35)], ..Faults::default() };
        let chance = Chance::new(faults);
        (0..2000)
            .map(|_| {
                let latency = chance.of_request(Operation::ListObjectVersions).latency;
                (latency.before() + latency.after(0)).as_secs_f64() * 1000.0
            })
            .collect::<Vec<f64>>()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    let logs: Vec<f64> = draw(1).iter().map(|millis| (millis / 80.0).ln()).collect();
    let mean = logs.iter().sum::<f64>() / 2000.0;
    let deviation = (logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / 2000.0).sqrt();
    assert!(mean.abs() < 0.03 && (deviation - 0.35).abs() < 0.03, "{mean} {deviation}");
}
