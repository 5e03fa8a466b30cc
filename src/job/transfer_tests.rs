use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::model::{
    AclSource, ActionId, ChecksumKind, CustomerKey, DeleteOptions, Encryption, History, IfExists, Key,
    KeyPart, KeyTemplate, LockSource, MetadataSource, Mfa, Requirement, Restore, RestoreTier, RetentionMode,
    Route, TagSource, TimePart, Timestamp, Verify, VersionId,
};
use crate::rules::{State, Verdict};

use super::*;

fn read(text: &str) -> Result<Job, Problems> {
    load(text, "job.yaml", &|name| match name {
        "TOKEN" => Some("918273".into()),
        "OWN" => Some("my-bucket".into()),
        _ => None,
    })
}

fn good(text: &str) -> Job {
    read(text).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

/// The one problem of a file.
fn problem(text: &str) -> String {
    let told = read(text).map(|job| panic!("no problem: {text}\n{job:?}")).unwrap_err().to_string();
    assert_eq!(told.lines().count(), 1, "{text}\n{told}");
    told
}

/// A job with one rule; the action begins at line 4, column 54 + the length of the conditions.
fn job(conditions: &str, action: &str) -> String {
    format!(
        "version: 1\nname: n\nbucket: {{ name: my-bucket, region: eu-1, expected_owner: \"123456789012\", \
         profile: prod }}\nrules: [{{ name: r, match: {{ {conditions} }}, action: {action} }}]\n"
    )
}

/// A job that copies every entry to another bucket.
fn copying(settings: &str) -> String {
    job("state: any", &format!("{{ copy: {{ bucket: archive, {settings} }} }}"))
}

fn first(text: &str) -> Transfer {
    good(text).actions[0].transfer().unwrap().clone()
}

#[test]
fn the_least_copy_has_the_defaults_and_the_jobs_own_way_to_speak() {
    let job = good(&job("state: any", "{ copy: { bucket: archive } }"));
    assert_eq!(job.rules[0].verdict, Verdict::Copy(ActionId(0)));
    assert_eq!(job.warnings, []);
    let transfer = job.actions[0].transfer().unwrap();
    assert_eq!(transfer.removes_source, None);
    // A region and an owner are those of one bucket.
    assert_eq!(
        transfer.to,
        BucketSpec { name: "archive".into(), region: None, expected_owner: None, ..job.bucket.clone() }
    );
    assert_eq!(transfer.to.profile.as_deref(), Some("prod"));
    let settings = &transfer.settings;
    assert!(settings.key.is_identity());
    assert_eq!((settings.history, settings.if_exists), (History::Selected, IfExists::Fail));
    assert_eq!((&settings.metadata, &settings.tags), (&MetadataSource::Copy, &TagSource::Copy));
    assert_eq!((&settings.acl, &settings.lock), (&AclSource::Default, &LockSource::Default));
    assert_eq!((&settings.encryption, &settings.source_key), (&Encryption::Default, &None));
    assert_eq!((&settings.storage_class, settings.checksum), (&None, None));
    assert_eq!((settings.verify, settings.route), (Verify::Fingerprint, Route::Auto));
    assert_eq!((settings.multipart_above_bytes, settings.part_bytes), (5 << 30, None));
    assert_eq!((&settings.restore, &settings.require), (&None, &Vec::new()));
}

#[test]
fn every_setting_of_a_move_is_read() {
    let text = r#"
version: 1
name: n
bucket: { name: my-bucket, region: eu-1 }
scope: { prefixes: [logs/] }
rules:
  - name: r
    match: { state: [current, noncurrent] }
    action:
      move:
        bucket: archive
        region: us-west-2
        endpoint: https://s3.example.com/
        addressing: path
        profile: other
        expected_owner: "210987654321"
        request_payer: true
        ca_bundle: /etc/ca.pem
        key: "old/{last_modified:%Y-%m}/{key_without_prefix}@{version_id}"
        if_exists: skip_same
        storage_class: GLACIER_IR
        metadata: { Content-Type: text/plain, x-amz-meta-Team: blue, cache-control: "" }
        tags: { kept: "yes", empty: "" }
        acl: bucket-owner-full-control
        encryption: { kms: { key_id: alias/x, context: { a: b }, bucket_key: true } }
        source_customer_key: { env: OLD_KEY }
        lock: { mode: compliance, for: 30d, legal_hold: true }
        checksum: crc64nvme
        verify: bytes
        route: stream
        multipart_above: 5MiB
        part_size: 5GiB
        restore: { days: 7, tier: bulk }
        bypass_governance_retention: true
        mfa: { serial: s, token: "${env:TOKEN}" }
limits: { bytes_per_second: 100MiB, stream_memory: 64MiB }
"#;
    let job = good(text);
    assert_eq!(job.rules[0].verdict, Verdict::Act(ActionId(0)));
    assert_eq!((job.limits.bytes_per_second, job.limits.stream_memory_bytes), (Some(100 << 20), 64 << 20));
    let Transfer { removes_source, to, settings } = job.actions[0].transfer().unwrap().clone();
    let mfa = Mfa { serial: "s".into(), token: "918273".into() };
    assert_eq!(removes_source, Some(DeleteOptions { bypass_governance_retention: true, mfa: Some(mfa) }));
    assert_eq!((&*to.name, to.region.as_deref()), ("archive", Some("us-west-2")));
    assert_eq!(to.endpoint, Endpoint::Url("https://s3.example.com".into()));
    assert_eq!((to.addressing, to.request_payer), (Addressing::Path, true));
    assert_eq!((to.profile.as_deref(), to.expected_owner.as_deref()), (Some("other"), Some("210987654321")));
    assert_eq!(to.ca_bundle, Some(PathBuf::from("/etc/ca.pem")));
    let literal = |text: &str| KeyPart::Literal(text.as_bytes().to_vec());
    let month =
        KeyPart::LastModified(vec![TimePart::Year, TimePart::Literal(b"-".to_vec()), TimePart::Month]);
    let parts = vec![
        literal("old/"),
        month,
        literal("/"),
        KeyPart::KeyWithoutPrefix,
        literal("@"),
        KeyPart::VersionId,
    ];
    assert_eq!(settings.key, KeyTemplate(parts));
    assert_eq!(settings.if_exists, IfExists::SkipSame);
    assert_eq!(settings.storage_class.as_deref(), Some("GLACIER_IR"));
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let headers = [("cache-control", ""), ("content-type", "text/plain"), ("x-amz-meta-team", "blue")];
    assert_eq!(settings.metadata, MetadataSource::Replace(map(&headers)));
    assert_eq!(settings.tags, TagSource::Replace(map(&[("empty", ""), ("kept", "yes")])));
    assert_eq!(settings.acl, AclSource::Canned("bucket-owner-full-control".into()));
    let (key_id, context) = (Some("alias/x".into()), map(&[("a", "b")]));
    assert_eq!(
        settings.encryption,
        Encryption::Kms { two_layers: false, key_id, context, bucket_key: Some(true) }
    );
    assert_eq!(settings.source_key, Some(CustomerKey::Environment("OLD_KEY".into())));
    let retention = Some((RetentionMode::Compliance, Duration::from_secs(30 * 86_400)));
    assert_eq!(settings.lock, LockSource::Set { retention, legal_hold: true });
    assert_eq!(settings.checksum, Some(ChecksumKind::Crc64Nvme));
    assert_eq!((settings.verify, settings.route), (Verify::Bytes, Route::Stream));
    assert_eq!((settings.multipart_above_bytes, settings.part_bytes), (5 << 20, Some(5 << 30)));
    assert_eq!(settings.restore, Some(Restore { days: 7, tier: RestoreTier::Bulk }));
}

#[test]
fn words_for_what_is_left_alone_are_read_too() {
    let settings = first(&copying(
        "prefix: old/, history: all, storage_class: same, metadata: copy, tags: none, acl: copy, \
         encryption: AES256, lock: copy, if_exists: append, require: [acl, lock, metadata, etag]",
    ))
    .settings;
    assert_eq!(settings.key, KeyTemplate(vec![KeyPart::Literal(b"old/".to_vec()), KeyPart::Key]));
    assert_eq!((settings.history, settings.if_exists), (History::All, IfExists::Append));
    assert_eq!(settings.storage_class, None);
    assert_eq!(settings.tags, TagSource::Replace(BTreeMap::new()));
    assert_eq!((settings.acl, settings.encryption), (AclSource::Copy, Encryption::S3));
    assert_eq!(settings.lock, LockSource::Copy);
    let required = [Requirement::Acl, Requirement::Lock, Requirement::Metadata, Requirement::Etag];
    assert_eq!(settings.require, required);
    for (given, meant) in [
        (
            "encryption: { customer_key: { file: /etc/key } }",
            Encryption::Customer(CustomerKey::File("/etc/key".into())),
        ),
        ("encryption: default", Encryption::Default),
        (
            "encryption: { kms: { two_layers: true } }",
            Encryption::Kms { two_layers: true, key_id: None, context: BTreeMap::new(), bucket_key: None },
        ),
    ] {
        assert_eq!(first(&copying(given)).settings.encryption, meant);
    }
    let hold = LockSource::Set { retention: None, legal_hold: true };
    assert_eq!(first(&copying("lock: { legal_hold: true }")).settings.lock, hold);
    assert_eq!(first(&copying("restore: { days: 1 }")).settings.restore.unwrap().tier, RestoreTier::Standard);
}

#[test]
fn what_belongs_to_a_bucket_is_taken_over_by_the_same_bucket_only() {
    let same = first(&job("prefix: a/", "{ copy: { prefix: b/ } }")).to;
    assert_eq!(
        (same.region.as_deref(), same.expected_owner.as_deref()),
        (Some("eu-1"), Some("123456789012"))
    );
    let elsewhere = first(&job("prefix: a/", "{ copy: { endpoint: \"https://x.example\" } }")).to;
    assert_eq!((&*elsewhere.name, elsewhere.region, elsewhere.expected_owner), ("my-bucket", None, None));
    let at = "bucket: { name: my-bucket, endpoint: \"https://x.example\"";
    let to_aws = job("prefix: a/", "{ copy: { endpoint: aws } }").replace("bucket: { name: my-bucket", at);
    assert_eq!(first(&to_aws).to.endpoint, Endpoint::Aws);
    let inherited = job("prefix: a/", "{ copy: { bucket: other } }").replace("bucket: { name: my-bucket", at);
    assert_eq!(first(&inherited).to.endpoint, Endpoint::Url("https://x.example".into()));
}

#[test]
fn one_server_under_two_spellings_is_one_server() {
    let url = |text: &str| Endpoint::Url(text.into());
    for (a, b, same) in [
        (Endpoint::Aws, Endpoint::Aws, true),
        (Endpoint::Aws, url("https://s3.eu-central-1.amazonaws.com"), true),
        (url("https://X.example"), url("https://x.example:443"), true),
        (url("http://x.example:80/p"), url("http://x.example/p"), true),
        (url("https://x.example"), url("https://x.example:9000"), false),
        (url("https://x.example/a"), url("https://x.example/b"), false),
        (Endpoint::Aws, url("https://amazonaws.com.example"), false),
        (Endpoint::Aws, Endpoint::Sandbox, false),
    ] {
        assert_eq!(a.is_same_server(&b), same, "{a} {b}");
    }
}

#[test]
fn equal_actions_share_a_number_and_others_do_not() {
    let text = job("suffix: a", "{ copy: { bucket: archive } }").replace(
        "rules: [",
        "rules: [{ name: b, match: { suffix: b }, action: { copy: { bucket: archive, prefix: x/ } } }, \
         { name: c, match: { suffix: c }, action: { move: { bucket: archive } } }, \
         { name: d, match: { suffix: d }, action: { copy: { bucket: archive, key: \"{key}\" } } }, \
         { name: e, match: { suffix: e }, action: delete }, ",
    );
    let verdicts: Vec<Verdict> = good(&text).rules.iter().map(|rule| rule.verdict).collect();
    let id = ActionId;
    assert_eq!(
        verdicts,
        [
            Verdict::Copy(id(0)),
            Verdict::Act(id(1)),
            Verdict::Copy(id(2)),
            Verdict::Act(id(3)),
            Verdict::Copy(id(2))
        ]
    );
}

#[test]
fn a_copy_without_a_destination_is_a_problem_with_its_place() {
    for (action, name) in [("copy", "rules[0].action: copy"), ("move", "rules[0].action: move")] {
        assert_eq!(
            problem(&job("state: any", action)),
            format!(
                "job.yaml:4:51: {name} needs a destination; expected a mapping with bucket, prefix, key or \
                 whatever else the copies change"
            )
        );
    }
    assert!(
        problem(&job("state: any", "{ copy: {} }")).contains(":59: rules[0].action.copy needs a destination")
    );
    assert!(problem(&job("state: any", "{ move: }")).contains("rules[0].action.move needs a destination"));
    assert!(
        problem(&job("state: any", "{}"))
            .contains("rules[0].action names no action; expected delete, copy or move")
    );
    assert!(
        problem(&job("state: any", "{ copy: { bucket: archive }, delete: {} }"))
            .contains("has two actions: a rule has one, and copy is too many; the first rule")
    );
}

#[test]
fn unfit_settings_are_problems() {
    for (settings, part) in [
        ("buckte: x", "unknown key \"buckte\" in rules[0].action.copy; expected one of bucket, "),
        ("profile: \"${env:OWN}\"", "copy.profile depends on the environment; rules select the same"),
        ("region: \"${env:OWN}\"", "copy.region depends on the environment"),
        ("endpoint: sandbox", "copy.endpoint is sandbox, but the job's bucket is elsewhere; the embedded"),
        ("endpoint: \"http://x.example\"", "or say rules[0].action.copy.allow_http: true"),
        ("endpoint: \"https://u:p@x.example\"", "credentials do not belong in a URL"),
        ("prefix: a/, key: \"b/{key}\"", "copy.key and prefix are both given; prefix: p is short for"),
        (
            "prefix: \"{version_id}/\"",
            "copy.prefix stands for itself: braces mean nothing in it; placeholders",
        ),
        ("history: everything", "copy.history cannot be \"everything\"; expected selected, all or current"),
        (
            "if_exists: skip",
            "if_exists cannot be \"skip\"; expected fail, skip_same or append; did you mean \"skip_same\"?",
        ),
        (
            "storage_class: glacier-ir",
            "expected same, or a storage class such as GLACIER_IR; did you mean \"GLACIER_IR\"?",
        ),
        (
            "metadata: { owner: x }",
            "copy.metadata.owner is no header that a version keeps; expected one of cache-control, ",
        ),
        ("metadata: { content_type: x }", "did you mean \"content-type\"?"),
        ("metadata: { x-amz-meta-: x }", "is no header that a version keeps"),
        ("metadata: { \"x-amz-meta-a b\": x }", "is no header that a version keeps"),
        ("metadata: { expires: ü }", "copy.metadata.expires cannot be \"ü\"; expected printable ASCII"),
        ("metadata: { Expires: a, expires: b }", "copy.metadata.expires is given twice; names of headers"),
        ("metadata: none", "copy.metadata cannot be \"none\"; expected copy, or a mapping of header names"),
        ("metadata: { expires: \"${env:OWN}\" }", "metadata.expires depends on the environment"),
        (
            "tags: { \"aws:x\": y }",
            "is no name for a tag; expected 1 to 128 characters, not beginning with aws:",
        ),
        ("tags: { a: [b] }", "copy.tags.a cannot be a list"),
        ("acl: public", "acl cannot be \"public\"; expected default, copy, private, public-read, "),
        ("encryption: AES", "encryption cannot be \"AES\"; expected default, AES256, or a mapping with kms"),
        ("encryption: {}", "copy.encryption cannot be a mapping; expected default, AES256, "),
        ("encryption: { kms: {}, customer_key: { env: A } }", "customer_key and kms are both given"),
        (
            "encryption: { kms: { two_layers: true, bucket_key: true } }",
            "in two layers knows no bucket keys; leave",
        ),
        (
            "encryption: { customer_key: { env: A, file: /b } }",
            "customer_key has both env and file; expected { env: NAME }",
        ),
        ("source_customer_key: { }", "source_customer_key names no key"),
        ("lock: { mode: governance }", "lock.for is missing; expected how long the copies are locked"),
        ("lock: { for: 30d }", "lock.mode is missing; expected governance or compliance"),
        ("lock: { mode: governance, for: 12h }", "lock.for cannot be \"12h\""),
        (
            "lock: { legal_hold: false }",
            "lock locks nothing; expected mode and for, legal_hold: true, or both",
        ),
        ("lock: none", "lock cannot be \"none\"; expected default, copy, or a mapping"),
        ("checksum: md5", "checksum cannot be \"md5\"; expected crc32, crc32c, crc64nvme, sha1 or sha256"),
        ("verify: size", "verify cannot be \"size\"; expected fingerprint or bytes"),
        ("route: direct", "route cannot be \"direct\"; expected auto, server or stream"),
        ("multipart_above: 4MiB", "multipart_above cannot be \"4MiB\"; expected a size of 5MiB to 5GiB"),
        ("part_size: 6GiB", "part_size cannot be \"6GiB\"; expected a size of 5MiB to 5GiB"),
        ("restore: { tier: bulk }", "restore.days is missing; expected how many days"),
        ("restore: { days: 0 }", "restore.days cannot be \"0\""),
        ("require: [acls]", "require[0] cannot be \"acls\"; expected acl, tags, lock, metadata or etag"),
        (
            "bypass_governance_retention: true",
            "bypass_governance_retention is for move: a copy deletes nothing",
        ),
        ("mfa: { serial: a, token: b }", "copy.mfa is for move: a copy deletes nothing"),
        (
            "route: server, endpoint: \"https://x.example\"",
            "route: no server copies to another endpoint; expected auto or stream",
        ),
    ] {
        let told = problem(&copying(settings));
        assert!(told.contains(part), "{settings}: {told}");
    }
    assert!(
        problem(&copying("bucket: x").replace("archive, bucket: x", "s3://x")).contains("leave s3:// out")
    );
    for (limits, part) in [
        ("bytes_per_second: 0B", "limits.bytes_per_second cannot be \"0B\"; expected a size of 1B or more"),
        ("bytes_per_second: 100", "it needs a unit: 100B is bytes"),
        (
            "stream_memory: 15MiB",
            "limits.stream_memory cannot be \"15MiB\"; expected a size of 16MiB or more",
        ),
    ] {
        let told = problem(&format!("{}limits: {{ {limits} }}\n", copying("tags: copy")));
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn what_aws_takes_no_more_of_is_bounded() {
    let tags = |count: usize| {
        let all: Vec<String> = (0..count).map(|at| format!("t{at}: x")).collect();
        copying(&format!("tags: {{ {} }}", all.join(", ")))
    };
    good(&tags(10));
    assert!(problem(&tags(11)).contains("copy.tags has 11 tags; expected at most 10"));
    for (name, value, fits) in [(128, 256, true), (129, 1, false), (1, 257, false)] {
        // Two bytes each: characters count.
        let text = copying(&format!("tags: {{ {}: {} }}", "ü".repeat(name), "ü".repeat(value)));
        assert_eq!(read(&text).is_ok(), fits, "{name} {value}");
    }
    let metadata = |value: usize| copying(&format!("metadata: {{ x-amz-meta-a: {} }}", "x".repeat(value)));
    good(&metadata(2047));
    assert!(
        problem(&metadata(2048)).contains("metadata has 2049 bytes of user metadata; expected at most 2048")
    );
}

#[test]
fn a_customers_key_is_not_repeated_where_its_name_belongs() {
    let key = "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmh1bnQ=";
    let told = problem(&copying(&format!("source_customer_key: {{ env: \"{key}\" }}")));
    assert!(told.contains("env is no name of a variable") && !told.contains("aHVud"), "{told}");
}

#[test]
fn templates_that_bring_keys_together_or_mean_nothing_are_problems() {
    let with = |key: &str| {
        job("state: [current, noncurrent]", &format!("{{ copy: {{ bucket: archive, key: '{key}' }} }}"))
    };
    for (key, part) in [
        (
            "x",
            "copy.key names no key: the copies of all keys would come to one; expected a template with {key} or",
        ),
        ("{version_id}", "names no key"),
        (
            "{keys}",
            "has the unknown placeholder \"keys\"; expected {key}, {key_without_prefix}, {version_id} or {last_modified:%Y/%m/%d}; did you mean \"key\"?",
        ),
        ("{key:x}", "has {key:...}, which takes no format"),
        (
            "{key}/{last_modified}",
            "has {last_modified} without a format; expected {last_modified:%Y/%m/%d}, of",
        ),
        ("{key}/{last_modified:}", "has an empty time format"),
        ("{key}/{last_modified:%y}", "has \"%y\" in its time format; expected"),
        ("{key}/{last_modified:%Y%}", "has \"%\" in its time format"),
        ("{key}/{last_modified:{%Y}", "has a brace in the time format"),
        ("{key", "has a { that nothing closes; write {{ and }} for braces"),
        ("key}", "has a } that closes nothing"),
        (
            "{key}{version_id}",
            "has {version_id} next to the key: two keys could come to one; put a character between",
        ),
        ("{version_id}.{key}", "has {version_id} next to the key"),
        ("{key}/{version_id}/{key}", "has {version_id} beside more than one key or version id"),
        ("{key}/${env:OWN}", "copy.key depends on the environment"),
    ] {
        let told = problem(&with(key));
        assert!(told.contains(part), "{key}: {told}");
    }
    for fine in [
        "{key}{key}",
        "{last_modified:%Y/}{key}",
        "{key}@{version_id}",
        "{version_id}/{key}",
        "{{{key}}}",
        "{key}{last_modified:/}{version_id}",
        "{key}\u{1}",
    ] {
        if fine.contains('\u{1}') {
            let text = with(fine).replace('\'', "\"").replace('\u{1}', "\\x01");
            assert_eq!(first(&text).settings.key.0[1], KeyPart::Literal(vec![1]));
        } else {
            good(&with(fine));
        }
    }
    let several = with("{key_without_prefix}") + "scope: { prefixes: [a/, b/] }\n";
    assert!(problem(&several).contains(
        "has {key_without_prefix}, but scope.prefixes has several: two keys could come to one; use {key}, or a job"
    ));
    good(&(with("{key}") + "scope: { prefixes: [a/, b/] }\n"));
    good(&(with("{key_without_prefix}") + "scope: { prefixes: [a/] }\n"));
}

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
    let action = "{ copy: { bucket: archive, history: current } }";
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
fn moves_in_place_say_what_becomes_of_keys_with_older_versions() {
    let text = job("state: current", "{ move: { storage_class: X } }");
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
        "rules: [{ name: upper, match: { state: any }, action: { copy: { bucket: archive } } }, ",
    );
    assert_eq!(good(&text).warnings[0].what, "rule \"r\" is hidden by rule \"upper\" above it");
    let never = job("noncurrent_for: 1d", "{ copy: { bucket: archive, history: current } }");
    assert!(good(&never).warnings[0].what.starts_with("rule \"r\" can never match: "));
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

/// Literals without an empty one and without two in a row, as a parser makes them.
fn templates() -> impl Strategy<Value = KeyTemplate> {
    let literal = || "[a{}%/@._é\n-]{1,4}".prop_map(String::into_bytes);
    let time = select(vec![
        TimePart::Year,
        TimePart::Month,
        TimePart::Day,
        TimePart::Hour,
        TimePart::Minute,
        TimePart::Second,
    ]);
    let time_literal = "[a%/@.]{1,2}".prop_map(|text| TimePart::Literal(text.into_bytes()));
    let times = vec(prop_oneof![3 => time, 1 => time_literal], 1..4).prop_map(|mut parts| {
        parts.dedup_by(|a, b| matches!((a, b), (TimePart::Literal(_), TimePart::Literal(_))));
        KeyPart::LastModified(parts)
    });
    let part = prop_oneof![
        3 => literal().prop_map(KeyPart::Literal),
        2 => Just(KeyPart::Key),
        1 => Just(KeyPart::KeyWithoutPrefix),
        2 => Just(KeyPart::VersionId),
        1 => times,
    ];
    vec(part, 1..6).prop_map(|mut parts| {
        parts.dedup_by(|a, b| matches!((a, b), (KeyPart::Literal(_), KeyPart::Literal(_))));
        KeyTemplate(parts)
    })
}

/// A key, a version id and a time, of few letters so that texts meet.
fn sources() -> impl Strategy<Value = (String, VersionId, Timestamp)> {
    let id = "[a._-]{1,4}".prop_map(|id| VersionId::new(id).unwrap());
    let at = (0..3_i64).prop_map(|year| Timestamp::from_millis(1_700_000_000_000 + year * 31_600_000_000));
    ("[a/@._-]{0,6}", id, at)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_template_is_what_its_text_says(template in templates()) {
        prop_assert_eq!(template::parse(&template.to_string()), Ok(template));
    }

    #[test]
    fn any_text_is_a_template_or_a_fault(text in "[{}a%:Y/]{0,12}|\\PC{0,8}") {
        if let Ok(template) = template::parse(&text) {
            prop_assert_eq!(template::parse(&template.to_string()), Ok(template));
        }
    }

    #[test]
    fn different_keys_never_come_to_one(
        template in templates(),
        all in vec(sources(), 2..40),
        prefixes in select(vec![vec![""], vec!["a/"], vec!["a", "b"]]),
    ) {
        let prefixes: Vec<Key> = prefixes.into_iter().map(Key::from).collect();
        if template::collision(&template, &prefixes).is_none() {
            let mut seen: BTreeMap<Key, Key> = BTreeMap::new();
            for (key, id, at) in all {
                // Listed keys begin with a prefix of the scope.
                let key = Key::new([prefixes[0].as_bytes(), key.as_bytes()].concat());
                let copy = template.render(&key, &id, at, &prefixes);
                let plainest = template::plainest(template.clone(), &prefixes);
                prop_assert_eq!(&plainest.render(&key, &id, at, &prefixes), &copy);
                let former = seen.insert(copy.clone(), key.clone());
                prop_assert!(former.as_ref().is_none_or(|former| *former == key), "{former:?} {key:?} {copy:?}");
            }
        }
    }
}
