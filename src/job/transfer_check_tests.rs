use crate::model::IfExists;
use crate::rules::State;

use super::transfer_tests::{copying, first, good, job, problem, read};
use super::*;

#[test]
fn delete_markers_have_no_place_in_a_key_by_version() {
    for key in ["{key}@{version_id}", "{last_modified:%Y}/{key}"] {
        let action = format!("{{ move: {{ bucket: archive, key: '{key}' }} }}");
        for state in [
            "prefix: a",
            "state: any",
            "state: delete-marker",
            "state: [current, latest-marker]",
            "state: noncurrent-marker",
            "state: orphan-marker",
        ] {
            let told = problem(&job(state, &action));
            assert!(
                told.ends_with(
                    "move.key differs from version to version: delete markers have no place in it; \
                     say state: [current, noncurrent] in the rule's match"
                ),
                "{told}"
            );
        }
        for fine in
            ["state: [current, noncurrent]", "state: noncurrent", "min_size: 1B", "storage_class: STANDARD"]
        {
            good(&job(fine, &action));
        }
        let all = action.replace("archive,", "archive, history: all,");
        let told = problem(&job("state: [current, noncurrent]", &all));
        assert!(
            told.contains("move.history is all, but the key differs from version to version; leave"),
            "{told}"
        );
    }
}

#[test]
fn a_history_of_the_current_version_is_for_rules_of_current_versions() {
    let action = "{ copy: { bucket: archive, history: current, if_exists: fail } }";
    assert_eq!(good(&job("prefix: a", action)).rules[0].conditions.state, [State::Current]);
    assert_eq!(good(&job("state: current", action)).rules[0].conditions.state, [State::Current]);
    assert_eq!(good(&job("state: [current]", action)).warnings, []);
    for state in ["any", "noncurrent", "[current, noncurrent]", "latest-marker"] {
        let told = problem(&job(&format!("state: {state}"), action));
        assert!(told.contains("copy.history is current, but the rule's state is not; say state: current in"));
    }
}

#[test]
fn copies_in_place_are_of_current_versions_and_lie_on_top() {
    let changing = "{ move: { storage_class: GLACIER_IR } }";
    for (conditions, action) in [
        ("state: current", changing),
        ("prefix: a", "{ move: { history: current, encryption: AES256 } }"),
        ("state: current", "{ move: { tags: none } }"),
        ("state: current", "{ move: { metadata: { expires: x } } }"),
        ("state: current", "{ move: { checksum: sha256, if_exists: append } }"),
        ("state: current", "{ move: { acl: private, bucket: my-bucket } }"),
        ("state: current", "{ move: { lock: { legal_hold: true }, key: \"{key}\" } }"),
        ("state: current", "{ copy: { bucket: my-bucket } }"),
        (
            "state: current",
            "{ copy: { bucket: my-bucket, endpoint: \"https://s3.us-east-1.amazonaws.com\" } }",
        ),
    ] {
        assert_eq!(first(&job(conditions, action)).settings.if_exists, IfExists::Append, "{action}");
    }
    for (conditions, action) in [
        ("state: any", changing),
        ("prefix: a", changing),
        ("state: [current, noncurrent]", "{ copy: { storage_class: GLACIER_IR } }"),
        ("state: current", "{ copy: { storage_class: GLACIER_IR, history: all } }"),
    ] {
        let told = problem(&job(conditions, action));
        assert!(
            told.contains(
                "a copy in place becomes the current version: older versions cannot be changed in place \
                 without turning the history around; take current versions only (history: current)"
            ),
            "{told}"
        );
    }
    for same in ["{ move: { bucket: my-bucket } }", "{ move: { storage_class: same, acl: copy } }"] {
        assert!(
            problem(&job("state: current", same))
                .contains("moved in place, the versions would be what they were")
        );
    }
    for word in ["fail", "skip_same"] {
        let told = problem(&job(
            "state: current",
            &format!("{{ copy: {{ storage_class: X, if_exists: {word} }} }}"),
        ));
        assert!(
            told.contains("copy.if_exists: a copy in place always finds its source; expected append"),
            "{told}"
        );
    }
}

#[test]
fn a_template_that_puts_the_prefix_back_is_in_place_too() {
    let scoped = |prefix: &str, key: &str| {
        job("state: noncurrent", &format!("{{ copy: {{ key: '{key}', storage_class: X }} }}"))
            + &format!("scope: {{ prefixes: [{prefix}] }}\n")
    };
    assert!(problem(&scoped("a/", "a/{key_without_prefix}")).contains("a copy in place"));
    let whole = job("state: noncurrent", "{ copy: { key: '{key_without_prefix}', storage_class: X } }");
    assert!(problem(&whole).contains("a copy in place"));
    assert!(!first(&scoped("a/", "b/{key_without_prefix}")).settings.key.is_identity());
}

#[test]
fn a_copy_that_stops_a_second_run_is_warned_of() {
    let warned = |action: &str| {
        let job = good(&(job("state: current, older_than: 1d", action) + "allow_promotion: true\n"));
        job.warnings.iter().map(ToString::to_string).collect::<Vec<String>>()
    };
    let told = warned("{ copy: { bucket: archive } }");
    assert_eq!(told.len(), 1, "{told:?}");
    for words in ["a second run", "DestinationExists", "ends with 1; say if_exists: skip_same"] {
        assert!(told[0].contains(words), "{told:?}");
    }
    assert_eq!(warned("{ copy: { prefix: old/, bucket: archive } }").len(), 1);
    for given in ["fail", "skip_same", "append"] {
        assert_eq!(warned(&format!("{{ copy: {{ bucket: archive, if_exists: {given} }} }}")), [""; 0]);
    }
    assert_eq!(warned("{ move: { bucket: archive } }"), [""; 0], "what moved is gone");
    assert_eq!(warned("{ copy: { storage_class: GLACIER_IR } }"), [""; 0], "in place it is written on top");
}

#[test]
fn moves_in_place_say_what_becomes_of_keys_with_older_versions() {
    let text = job("state: current, storage_class: STANDARD", "{ move: { storage_class: GLACIER_IR } }");
    let warned: Vec<String> = good(&text).warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warned,
        ["job.yaml:4:9: rule \"r\" moves in place: a key with older versions is left alone; \
          say allow_promotion: true: the copy lies above them before its source goes"]
    );
    assert_eq!(good(&(text.clone() + "allow_promotion: true\n")).warnings, []);
    assert_eq!(good(&text.replace("move", "copy")).warnings, []);
}

#[test]
fn a_copy_in_place_that_finds_what_it_made_is_warned_of() {
    let warned = |conditions: &str, action: &str| {
        let job = good(&(job(conditions, action) + "allow_promotion: true\n"));
        job.warnings.iter().map(ToString::to_string).collect::<Vec<String>>()
    };
    let cold = "{ copy: { history: current, storage_class: GLACIER_IR } }";
    assert_eq!(
        warned("state: current", cold),
        [
            "job.yaml:4:9: rule \"r\" copies in place, and matches what it made before: each run adds one more \
          version to each key; say in match which storage_class it takes, other than GLACIER_IR, or \
          older_than: an age"
        ]
    );
    for (conditions, action) in [
        ("state: current, storage_class: [STANDARD, GLACIER_IR]", cold),
        ("state: current, older_than: 0d", cold),
        ("state: current, newer_than: 9d", cold),
        ("prefix: a", "{ copy: { history: current, encryption: AES256 } }"),
        ("state: current, storage_class: STANDARD", "{ move: { tags: none } }"),
    ] {
        let told = warned(conditions, action);
        assert!(told.len() == 1 && told[0].contains("what it made before"), "{conditions} {action} {told:?}");
    }
    for (conditions, action) in [
        ("state: current, storage_class: STANDARD", cold),
        ("state: current, older_than: 30d", cold),
        ("state: current, created_before: 2024-05-01", "{ copy: { encryption: AES256 } }"),
        ("state: current", "{ copy: { bucket: elsewhere, if_exists: fail, storage_class: GLACIER_IR } }"),
    ] {
        assert_eq!(warned(conditions, action), [""; 0], "{conditions} {action}");
    }
}

#[test]
fn a_rule_above_can_leave_out_what_a_copy_in_place_made() {
    let below = |class: &str| {
        let above = format!("rules: [{{ name: made, match: {{ storage_class: {class} }}, action: keep }}, ");
        let text = job("state: current", "{ copy: { storage_class: GLACIER_IR } }");
        good(&text.replace("rules: [", &above)).warnings.len()
    };
    assert_eq!((below("GLACIER_IR"), below("GLACIER")), (0, 1));
}

#[test]
fn slips_in_storage_classes_are_warned_of_where_they_stand() {
    let warned = |text: &str| good(text).warnings.iter().map(ToString::to_string).collect::<Vec<_>>();
    let text =
        job("storage_class: [STANDRAD, GLACIER]", "{ move: { bucket: archive, storage_class: GLACIERIR } }");
    assert_eq!(
        warned(&text),
        [
            "job.yaml:4:45: rules[0].match.storage_class[0]: \"STANDRAD\" is no storage class of AWS; did you \
             mean \"STANDARD\"?",
            "job.yaml:4:117: rules[0].action.move.storage_class: \"GLACIERIR\" is no storage class of AWS; did \
             you mean \"GLACIER_IR\"?",
        ]
    );
    // Other servers have classes of their own, but a slip is a slip there too.
    let on_ceph = |class: &str| {
        let text = job(&format!("storage_class: {class}"), "delete");
        warned(&text.replace("name: my-bucket,", "name: my-bucket, endpoint: 'https://ceph.example',")).len()
    };
    assert_eq!((on_ceph("COLD"), on_ceph("STANDAR")), (0, 1));
    assert_eq!(warned(&job("storage_class: COLD", "delete")).len(), 1, "AWS has no such class");
    // What a copy is given is judged by where it goes.
    let away = "{ move: { endpoint: 'https://ceph.example', storage_class: COLD } }";
    assert_eq!(warned(&job("state: any", away)), [""; 0]);
}

#[test]
fn checksums_are_spelt_alike_everywhere() {
    let expected = "expected crc32, crc32c, crc64nvme, sha1 or sha256; did you mean \"sha256\"?";
    let in_bucket = job("state: any", "delete").replace("region: eu-1", "checksum: SHA256");
    for (text, path) in [(in_bucket, "bucket.checksum"), (copying("checksum: SHA256"), "copy.checksum")] {
        let told = problem(&text);
        assert!(told.contains(&format!("{path} cannot be \"SHA256\"; {expected}")), "{told}");
    }
    assert_eq!(
        good(&job("state: any", "delete").replace("region: eu-1", "checksum: sha256")).bucket.checksum,
        Some(crate::model::ChecksumKind::Sha256)
    );
}

#[test]
fn copies_within_a_bucket_are_out_of_reach_of_the_next_run() {
    let told = |conditions: &str, action: &str, prefixes: &str| {
        read(&(job(conditions, action) + &format!("scope: {{ prefixes: [{prefixes}] }}\n")))
            .err()
            .map(|problems| problems.to_string())
    };
    let old = "{ copy: { prefix: old/ } }";
    for (conditions, action, prefixes) in [
        ("state: any", old, "logs/"),
        ("state: any", old, "logs/, tmp/"),
        ("prefix: [a/, b/]", old, "a/, b/, o"),
        ("state: any", "{ copy: { key: 'new/{key_without_prefix}' } }", "logs/"),
        ("state: any", "{ copy: { bucket: other, key: '{key}.bak' } }", "logs/"),
        ("state: any", "{ copy: { endpoint: 'https://x.example', key: '{key}.bak' } }", "logs/"),
    ] {
        assert_eq!(told(conditions, action, prefixes), None, "{conditions} {action}");
    }
    for (conditions, action, prefixes) in [
        ("state: any", old, "old/"),
        ("state: any", old, "old/a/"),
        ("state: any", old, "logs/, o"),
        ("prefix: [a/, old/x]", old, "a/, o"),
        ("prefix: ol", old, "o"),
        ("state: any", "{ copy: { key: '{key}.bak' } }", "logs/"),
        ("prefix: logs/", "{ copy: { key: '{key_without_prefix}' } }", "logs/"),
    ] {
        let told = told(conditions, action, prefixes).unwrap();
        assert!(
            told.contains("copy: the next run would find the copies and copy them again; narrow"),
            "{told}"
        );
    }
    // The whole bucket is in scope where none is given.
    assert_eq!(
        problem(&job("state: any", old)),
        "job.yaml:4:69: rules[0].action.copy: the next run would find the copies and copy them again; narrow \
         scope.prefixes or the rule's prefix so that neither meets keys that begin with \"old/\""
    );
    good(&job("prefix: logs/", old));
}

#[test]
fn what_is_required_and_configured_to_be_lost_is_a_problem() {
    for (settings, part) in [
        ("require: acl", "copy.require: access control lists are not copied; say acl: copy"),
        ("require: [acl], acl: private", "access control lists are not copied"),
        ("require: [lock]", "retention and legal hold are not copied; say lock: copy"),
        ("require: [lock], lock: { legal_hold: true }", "retention and legal hold are not copied"),
        ("require: [tags], tags: none", "tags are not copied; say tags: copy"),
        ("require: [tags], tags: { a: b }", "tags are not copied"),
        ("require: [metadata], metadata: { }", "metadata is not copied; say metadata: copy"),
        (
            "require: [etag], encryption: { kms: { } }",
            "with keys of KMS or of a customer no ETag stays the same",
        ),
        ("require: [etag], encryption: { customer_key: { env: A } }", "with keys of KMS or of a customer"),
        ("require: [etag], source_customer_key: { env: A }", "under a customer's key does not stay the same"),
        ("require: [etag], part_size: 64MiB", "with parts of another size the ETag does not stay"),
    ] {
        let told = problem(&copying(settings));
        assert!(told.contains(part), "{settings}: {told}");
    }
    good(&copying("require: [tags, metadata, etag], multipart_above: 5MiB, encryption: AES256"));
    good(&copying("require: [acl, lock], acl: copy, lock: copy"));
}

#[test]
fn problems_of_one_rule_are_told_beside_those_of_others() {
    let text = job(
        "state: any",
        "{ copy: { bucket: archive, tags: none, require: [tags, acl], history: current } }",
    )
    .replace("rules: [", "rules: [{ name: q, match: { stat: x }, action: { copy: { key: x, acl: y } } }, ");
    let Problems(problems) = read(&text).unwrap_err();
    assert_eq!(problems.len(), 6, "{problems:?}");
    // Where the job's bucket cannot be read, only what hangs on it stays untold.
    let no_bucket = job("state: any", "{ copy: { storage_class: x } }").replace("name: my-bucket", "name: x");
    assert_eq!(read(&no_bucket).unwrap_err().0.len(), 2);
}

#[test]
fn rules_that_copy_hide_rules_below_them() {
    let text = job("state: noncurrent", "delete").replace(
        "rules: [",
        "rules: [{ name: upper, match: { state: any }, action: { copy: { bucket: archive, if_exists: fail } } }, ",
    );
    assert_eq!(good(&text).warnings[0].what, "rule \"r\" is hidden by rule \"upper\" above it");
    let never = job("noncurrent_for: 1d", "{ move: { bucket: archive, history: current } }");
    assert!(good(&never).warnings[0].what.starts_with("rule \"r\" can never match: "));
}

#[test]
fn two_rules_that_write_to_the_same_keys_in_two_ways_are_warned_of() {
    let warned = |upper: (&str, &str), lower: (&str, &str)| {
        let first = format!("rules: [{{ name: q, match: {{ {} }}, action: {} }}, ", upper.0, upper.1);
        let job = good(&job(lower.0, lower.1).replace("rules: [", &first));
        job.warnings.iter().any(|warning| warning.what.starts_with("rules \"q\" and \"r\" bring versions"))
    };
    let (plain, cold) = ("{ copy: { bucket: aaa } }", "{ move: { bucket: aaa, storage_class: GLACIER } }");
    assert!(warned(("state: noncurrent", cold), ("state: current", plain)));
    assert!(warned(("prefix: a, state: current", cold), ("prefix: [b, ab]", plain)));
    assert!(warned(("suffix: .gz", cold), ("key_glob: \"*.csv\"", plain)));
    assert!(!warned(("state: noncurrent", plain), ("state: current", plain)));
    assert!(!warned(("prefix: a", cold), ("prefix: b", plain)));
    assert!(!warned(("suffix: .gz", cold), ("suffix: .csv", plain)));
    assert!(!warned(("state: noncurrent", cold), ("state: current", "{ copy: { bucket: bbb } }")));
    assert!(!warned(
        ("state: noncurrent", cold),
        ("state: current", "{ copy: { bucket: aaa, prefix: x/ } }")
    ));
    assert!(!warned(("state: noncurrent", "delete"), ("state: current", plain)));
}

#[test]
fn the_fingerprint_of_a_job_without_copies_is_what_it_was() {
    let text = "version: 1\nname: n\nbucket: { name: my-bucket }\n\
                rules: [{ name: r, match: { state: any }, action: delete }]\n";
    let fingerprint = good(text).fingerprint;
    assert_eq!(
        fingerprint.semantic_json,
        r#"{"allow_promotion":false,"bucket":{"endpoint":"aws","expected_owner":null,"name":"my-bucket"},"meaning":1,"null_versions":"refuse","rules":[{"action":{"delete":{"bypass_governance_retention":false,"mfa_serial":null},"number":0},"match":{"state":["any"]},"name":"r"}],"sandbox":null,"scope":{"from_key":null,"limit":null,"prefixes":[""],"to_key":null}}"#
    );
    assert_eq!(fingerprint.digest, "e1e48b826efb0e56578a017cdc077ec2fa159f4d3655e8a873edfca004398d58");
}

#[test]
fn the_fingerprint_of_a_copy_holds_what_is_copied_where_and_how() {
    let base = good(&copying("tags: copy")).fingerprint;
    for same in [
        "route: stream",
        "verify: bytes",
        "multipart_above: 1GiB, part_size: 64MiB",
        "restore: { days: 3 }",
        "require: [tags]",
        "storage_class: same, acl: default, lock: default, encryption: default, history: selected",
        "key: \"{key}\", if_exists: fail, metadata: copy",
        "profile: other, region: us-1, request_payer: true",
    ] {
        assert_eq!(good(&copying(same)).fingerprint, base, "{same}");
    }
    let faster = copying("tags: copy") + "limits: { bytes_per_second: 1MiB, stream_memory: 1GiB }\n";
    assert_eq!(good(&faster).fingerprint, base);
    let mut seen = vec![base.digest.clone()];
    for other in [
        "prefix: a/",
        "history: all",
        "if_exists: append",
        "if_exists: skip_same",
        "storage_class: GLACIER",
        "metadata: { expires: x }",
        "metadata: {}",
        "tags: none",
        "tags: { a: b }",
        "acl: copy",
        "acl: private",
        "encryption: AES256",
        "encryption: { kms: {} }",
        "encryption: { kms: { key_id: k } }",
        "encryption: { customer_key: { env: A } }",
        "source_customer_key: { env: A }",
        "lock: copy",
        "lock: { mode: governance, for: 30d }",
        "checksum: sha1",
        "endpoint: \"https://x.example\"",
        "expected_owner: \"210987654321\"",
    ] {
        let fingerprint = good(&copying(other)).fingerprint;
        let found = differences(&base.semantic_json, &fingerprint.semantic_json);
        assert_eq!(found.len(), 1, "{other}: {found:?}");
        assert!(found[0].starts_with("rules[0].action.copy."), "{found:?}");
        assert!(!seen.contains(&fingerprint.digest), "{other}");
        seen.push(fingerprint.digest);
    }
    let moving = |settings: &str| good(&copying(settings).replace("copy: {", "move: {")).fingerprint.digest;
    assert_ne!(moving("tags: copy"), base.digest);
    assert_ne!(moving("bypass_governance_retention: true"), moving("tags: copy"));
    let token = |token: &str| moving(&format!("mfa: {{ serial: s, token: \"{token}\" }}"));
    assert_eq!(token("111111"), token("${env:TOKEN}"));
    let inherited =
        job("prefix: a/", "{ copy: { prefix: b/ } }").replace("name: my-bucket", "name: \"${env:OWN}\"");
    let json = good(&inherited).fingerprint.semantic_json;
    assert!(!json.contains("my-bucket"), "{json}");
}
