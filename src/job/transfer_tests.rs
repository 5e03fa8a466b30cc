use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{
    AclSource, ActionId, ChecksumKind, DeleteOptions, Encryption, History, IfExists, KeyPart, KeyTemplate,
    LockSource, MetadataSource, Mfa, Requirement, Restore, RestoreTier, RetentionMode, Route, SecretPlace,
    TagSource, TimePart, Verify,
};
use crate::rules::Verdict;

use super::*;

pub(super) fn read(text: &str) -> Result<Job, Problems> {
    load(text, "job.yaml", &|name| match name {
        "TOKEN" => Some("918273".into()),
        "OWN" => Some("my-bucket".into()),
        _ => None,
    })
}

pub(super) fn good(text: &str) -> Job {
    read(text).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

/// The one problem of a file.
pub(super) fn problem(text: &str) -> String {
    let told = read(text).map(|job| panic!("no problem: {text}\n{job:?}")).unwrap_err().to_string();
    assert_eq!(told.lines().count(), 1, "{text}\n{told}");
    told
}

/// A job with one rule; the action begins at line 4, column 54 + the length of the conditions.
pub(super) fn job(conditions: &str, action: &str) -> String {
    format!(
        "version: 1\nname: n\nbucket: {{ name: my-bucket, region: eu-1, expected_owner: \"123456789012\", \
         profile: prod }}\nrules: [{{ name: r, match: {{ {conditions} }}, action: {action} }}]\n"
    )
}

/// A job that copies every entry to another bucket.
pub(super) fn copying(settings: &str) -> String {
    job("state: any", &format!("{{ copy: {{ bucket: archive, {settings} }} }}"))
}

pub(super) fn first(text: &str) -> Transfer {
    good(text).actions[0].transfer().unwrap().clone()
}

#[test]
fn the_least_copy_has_the_defaults_and_the_jobs_own_way_to_speak() {
    let job = good(&job("state: any", "{ copy: { bucket: archive } }"));
    assert_eq!(job.rules[0].verdict, Verdict::Copy(ActionId(0)));
    assert_eq!(job.warnings.len(), 1, "of a second run: {:?}", job.warnings);
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
    assert_eq!(settings.source_key, Some(SecretPlace::Environment("OLD_KEY".into())));
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
         encryption: AES256, lock: copy, if_exists: append, require: [acl, lock, metadata, etag, redirect]",
    ))
    .settings;
    assert_eq!(settings.key, KeyTemplate(vec![KeyPart::Literal(b"old/".to_vec()), KeyPart::Key]));
    assert_eq!((settings.history, settings.if_exists), (History::All, IfExists::Append));
    assert_eq!(settings.storage_class, None);
    assert_eq!(settings.tags, TagSource::Replace(BTreeMap::new()));
    assert_eq!((settings.acl, settings.encryption), (AclSource::Copy, Encryption::S3));
    assert_eq!(settings.lock, LockSource::Copy);
    let required = [
        Requirement::Acl,
        Requirement::Lock,
        Requirement::Metadata,
        Requirement::Etag,
        Requirement::Redirect,
    ];
    assert_eq!(settings.require, required);
    for (given, meant) in [
        (
            "encryption: { customer_key: { file: /etc/key } }",
            Encryption::Customer(SecretPlace::File("/etc/key".into())),
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
fn unfit_places_and_texts_are_problems() {
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
    ] {
        let told = problem(&copying(settings));
        assert!(told.contains(part), "{settings}: {told}");
    }
}

#[test]
fn unfit_settings_are_problems() {
    for (settings, part) in [
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
        (
            "require: [acls]",
            "require[0] cannot be \"acls\"; expected acl, tags, lock, metadata, etag or redirect",
        ),
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
}

#[test]
fn unfit_limits_and_names_of_buckets_are_problems() {
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
