use std::time::{Duration, Instant};

use crate::model::{ActionId, ChecksumKind, DeleteOptions, Key, Mfa, SecretPlace};
use crate::rules::{NullVersions, State, Verdict};

use super::*;

const MINIMAL: &str = "version: 1\nname: n\nbucket: { name: my-bucket }\n\
                       rules: [{ name: r, match: { state: any }, action: delete }]\n";

fn env(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("918273".into()),
        "BUCKET" => Some("bucket-of-the-night".into()),
        "EMPTY" => Some(String::new()),
        "BAD" => Some("not a bucket: hunter2".into()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Job, Problems> {
    load(text, "job.yaml", &env)
}

fn good(text: &str) -> Job {
    read(text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

/// The minimal job with one line more.
fn with(line: &str) -> String {
    format!("{MINIMAL}{line}\n")
}

/// The minimal job with these conditions in a rule that deletes.
fn matching(conditions: &str) -> String {
    MINIMAL.replace("state: any", conditions)
}

#[test]
fn the_least_job_has_the_defaults() {
    let job = good(MINIMAL);
    assert_eq!(job.scope, Scope::default());
    assert_eq!(job.scope.prefixes, [Key::default()]);
    assert_eq!((job.scope.page_size, job.limits.concurrency, job.limits.list_concurrency), (1000, 32, 8));
    assert_eq!(job.retry.give_up_after, Duration::from_secs(6 * 3600));
    assert_eq!(job.bucket.endpoint, Endpoint::Aws);
    assert_eq!(job.report.audit, Audit::Full);
    assert_eq!((job.allow_promotion, job.confirm, job.null_versions), (false, true, NullVersions::Refuse));
    assert_eq!((job.sandbox, job.warnings), (None, Vec::new()));
}

#[test]
fn every_key_is_read() {
    let job = good(
        r#"
version: 1
name: full
bucket:
  name: my-logs
  region: eu-central-1
  endpoint: https://s3.example.com:9000/base/
  addressing: path
  profile: prod
  expected_owner: 012345678901
  request_payer: true
  ca_bundle: /etc/ca.pem
  checksum: crc64nvme
scope: { prefixes: [tmp/, logs/], from_key: a, to_key: z, page_size: 500, limit: 1000000 }
rules:
  - name: keep
    match: { prefix: [logs/legal/, x], suffix: .lock, storage_class: [STANDARD, GLACIER], etag: abc }
    action: keep
  - name: governed
    match: { state: [noncurrent, delete-marker], older_than: 2w, newer_than: 500d }
    action:
      delete: { bypass_governance_retention: true, mfa: { serial: arn:mfa, token: "${env:TOKEN}" } }
  - name: plain
    match: { key_glob: "**/*.gz", key_regex: ["^a", "b$"], noncurrent_for: 3d, lifecycle_days: true,
             beyond_newest: 2, min_size: 1KiB, max_size: 5MB,
             created_before: 2024-01-31, created_after: "2020-01-01T00:00:00Z" }
    action: { delete: {} }
limits: { versions_per_second: 3000, requests_per_second: 300, concurrency: 64, list_concurrency: 8, adaptive: false }
budget: { max_versions: 5000000, max_bytes: 50TiB, max_share: 60%, deadline: 4h,
          stop_on_failures: { after: 1000, share: 20% } }
retry: { give_up_after: 1h }
report: { audit: failures }
metrics: { listen: "127.0.0.1:9464", textfile: /var/lib/x.prom }
allow_promotion: true
null_versions: allow
confirm: false
"#,
    );
    assert_eq!(job.warnings, []);
    assert_eq!(job.bucket.endpoint, Endpoint::Url("https://s3.example.com:9000/base".into()));
    assert_eq!(job.bucket.expected_owner.as_deref(), Some("012345678901"));
    assert_eq!(job.bucket.addressing, Addressing::Path);
    assert_eq!(job.bucket.checksum, Some(ChecksumKind::Crc64Nvme));
    assert_eq!(job.scope.prefixes, [Key::from("logs/"), Key::from("tmp/")]);
    assert_eq!((job.scope.page_size, job.scope.limit), (500, Some(1_000_000)));
    let mfa = Mfa { serial: "arn:mfa".into(), token: "918273".into() };
    assert_eq!(
        job.actions,
        [
            Action::Delete(DeleteOptions { bypass_governance_retention: true, mfa: Some(mfa) }),
            Action::Delete(DeleteOptions::default())
        ]
    );
    let verdicts: Vec<Verdict> = job.rules.iter().map(|rule| rule.verdict).collect();
    assert_eq!(verdicts, [Verdict::Keep, Verdict::Act(ActionId(0)), Verdict::Act(ActionId(1))]);
    assert_eq!(job.rules[1].conditions.state, [State::Noncurrent, State::DeleteMarker]);
    let plain = &job.rules[2].conditions;
    assert_eq!(plain.noncurrent_for, Some(Duration::from_secs(3 * 86_400)));
    assert_eq!((plain.beyond_newest, plain.lifecycle_days), (Some(2), true));
    assert_eq!((plain.min_size_bytes, plain.max_size_bytes), (Some(1024), Some(5_000_000)));
    assert_eq!(plain.created_before.unwrap().to_string(), "2024-01-31T00:00:00.000Z");
    assert_eq!(job.budget.max_bytes, Some(50 << 40));
    assert_eq!(job.budget.stop_on_failures, Some(StopOnFailures { after: 1000, share: 0.2 }));
    assert_eq!(job.metrics.listen.unwrap().port(), 9464);
    assert_eq!((job.limits.adaptive, job.limits.share), (false, 1.0));
    assert_eq!((job.allow_promotion, job.confirm, job.null_versions), (true, false, NullVersions::Allow));
}

#[test]
fn every_problem_of_a_file_is_told_with_its_place() {
    let text = r#"version: 2
nane: x
bucket:
  name: s3://logs
  endpoint: http://s3.example.com
  expected_owner: 1234
  addresing: path
  request_payer: yes
scope:
  prefixes: []
  page_size: 1001
rules:
  - name: first
    match: { stat: any, older_than: 30, min_size: 5mb, prefix: "${env:BUCKET}/" }
    action: purge
  - name: first
    match: {}
    action: { move: { bucket: archive } }
  - name: second
    match: { key_regex: "a(", state: [noncurrent, orphan], beyond_newest: 0 }
    action: delete
limits: { concurrency: 5_000, adaptive: false, share: 50% }
budget: { max_share: 120%, stop_on_failures: { after: 10 } }
metrics: { listen: localhost, pushgateway: "ftp://x" }
"#;
    assert_eq!(
        problems(text),
        r#"job.yaml:1:1: name is missing; expected a name for the job
job.yaml:1:10: version cannot be "2"; expected a whole number, 1 to 1, without separators
job.yaml:2:1: unknown key "nane"; expected one of version, name, bucket, scope, rules, limits, budget, retry, report, metrics, lock, notify, sandbox, allow_promotion, null_versions, confirm; did you mean "name"?
job.yaml:4:9: bucket.name cannot be "s3://logs"; expected a bucket name of 3 to 63 characters, an access point ARN or an access point alias; leave s3:// out
job.yaml:5:13: bucket.endpoint is not encrypted: keys and signatures could be read and changed; use https://, or say bucket.allow_http: true
job.yaml:6:19: bucket.expected_owner cannot be "1234"; expected an account id of 12 digits
job.yaml:7:3: unknown key "addresing" in bucket; expected one of name, region, endpoint, addressing, profile, expected_owner, request_payer, allow_http, ca_bundle, checksum; did you mean "addressing"?
job.yaml:8:18: bucket.request_payer cannot be "yes"; expected true or false
job.yaml:10:13: scope.prefixes is an empty list; expected prefixes, or leave the key out for the whole bucket
job.yaml:11:14: scope.page_size cannot be "1001"; expected a whole number, 1 to 1000, without separators
job.yaml:14:14: unknown key "stat" in rules[0].match; expected one of prefix, suffix, key_glob, key_regex, state, older_than, newer_than, noncurrent_for, lifecycle_days, beyond_newest, min_size, max_size, storage_class, etag, created_before, created_after; did you mean "state"?
job.yaml:14:37: rules[0].match.older_than cannot be "30"; expected a duration such as 30d, 4h, 90m, 10s or 2w; it needs a unit: 30d is days, 30h hours
job.yaml:14:51: rules[0].match.min_size cannot be "5mb"; expected a size such as 512B, 128KiB, 5MB or 1.5GiB
job.yaml:14:64: rules[0].match.prefix depends on the environment; rules select the same everywhere: write the value out
job.yaml:15:13: rules[0].action cannot be "purge"; expected keep, delete, or a mapping with delete, copy or move
job.yaml:17:12: rules[1].match has no condition; `state: any` is every entry
job.yaml:20:25: rules[2].match.key_regex: unclosed group
job.yaml:20:51: rules[2].match.state[1] cannot be "orphan"; expected current, noncurrent, delete-marker, latest-marker, noncurrent-marker, orphan-marker or any; did you mean "orphan-marker"?
job.yaml:20:75: rules[2].match.beyond_newest cannot be "0"; expected a whole number, 1 or more, without separators
job.yaml:22:24: limits.concurrency cannot be "5_000"; expected a whole number, 1 to 1024, without separators
job.yaml:22:55: limits.share has no meaning with limits.adaptive: false; a share is taken of the limit that the adaptive pace finds: leave one of them out
job.yaml:23:22: budget.max_share cannot be "120%"; expected a percentage, more than 0% and at most 100%
job.yaml:23:46: budget.stop_on_failures.share is missing; expected a percentage of failures
job.yaml:24:20: metrics.listen cannot be "localhost"; expected an address and a port such as 127.0.0.1:9464
job.yaml:24:44: metrics.pushgateway cannot be "ftp://x"; expected a URL such as http://pushgateway:9091"#
    );
}

#[test]
fn the_shape_of_a_file_is_checked_too() {
    assert_eq!(problems(""), "job.yaml:1:1: the file is empty; expected a job");
    assert_eq!(problems("# only this\n"), "job.yaml:1:1: the file is empty; expected a job");
    assert_eq!(problems("- a\n"), "job.yaml:1:1: the file is no mapping; expected a job: version, name, ...");
    assert_eq!(problems(&with("rules: []")), "job.yaml:5:1: key \"rules\" was given before, in line 4");
    assert_eq!(
        problems(&MINIMAL.replace("bucket: { name: my-bucket }", "bucket: my-bucket")),
        "job.yaml:3:9: bucket cannot be \"my-bucket\"; expected a mapping with name, region, endpoint, \
         addressing, profile, expected_owner, request_payer, allow_http, ca_bundle or checksum"
    );
    assert_eq!(problems(&with("confirm:")), "job.yaml:5:8: confirm has no value; expected true or false");
    assert_eq!(
        problems("version: 1\nname: n\nbucket: { name: my-bucket }\nrules: []\n"),
        "job.yaml:4:8: rules is an empty list; expected a list of rules, each with name, match and action"
    );
}

#[test]
fn hostile_files_end_in_a_located_problem_at_once() {
    let mut too_large = with("report: { audit: full }");
    too_large.push_str(&format!("# {}\n", "x".repeat(300 << 10)));
    let bombs = [
        (format!("rules: {}", "[".repeat(100_000)), "job.yaml:1:"),
        (format!("{MINIMAL}x: &a [1,1]\ny: &b [*a,*a]\nz: [*b,*b]\n"), "job.yaml:5:"),
        (too_large, "job.yaml:1:1: the file has 3"),
        (format!("{MINIMAL}---\n{MINIMAL}"), "job.yaml:5:1: a second YAML document"),
        (MINIMAL.replace("version: 1", "version: 1\nversion: 1"), "job.yaml:2:1: key \"version\" was given"),
    ];
    for (text, beginning) in bombs {
        let start = Instant::now();
        let told = problems(&text);
        assert!(told.starts_with(beginning), "{told}");
        assert!(start.elapsed() < Duration::from_secs(2), "{beginning}: {:?}", start.elapsed());
    }
}

#[test]
fn a_file_cut_off_anywhere_is_read_or_refused_with_a_place_in_it() {
    let text = include_str!("../../jobs/protect-prefix.yaml");
    let lines = u32::try_from(text.lines().count()).unwrap();
    let (mut read_whole, mut refused) = (0, 0);
    for (end, _) in text.char_indices() {
        match read(&text[..end]) {
            Ok(job) => read_whole += job.rules.len().min(1),
            Err(Problems(problems)) => {
                refused += 1;
                assert!(!problems.is_empty());
                for problem in problems {
                    assert!((1..=lines + 1).contains(&problem.line) && problem.column > 0, "{problem}");
                }
            }
        }
    }
    assert!(read_whole > 0 && refused > 0);
}

#[test]
fn the_environment_is_asked_outside_rules_and_never_shown() {
    let from_env = |text: &str| MINIMAL.replace("name: my-bucket", &format!("name: \"{text}\""));
    let job = good(&from_env("${env:BUCKET}"));
    assert_eq!(job.bucket.name, "bucket-of-the-night");
    assert!(!job.fingerprint.semantic_json.contains("of-the-night"));
    assert_eq!(good(&from_env("x-${env:TOKEN}-y")).bucket.name, "x-918273-y");
    assert_eq!(
        problems(&from_env("${env:NOWHERE}")),
        "job.yaml:3:17: bucket.name: the environment has no variable NOWHERE; \
         set NOWHERE, or write the value out"
    );
    for text in ["${env:BAD}", "${env:EMPTY}", "${BUCKET}", "${env:", "${env:a b}", "${env:}"] {
        let told = problems(&from_env(text));
        assert!(
            told.starts_with(&format!("job.yaml:3:17: bucket.name cannot be {text:?}; expected ")),
            "{told}"
        );
        assert!(!told.contains("hunter2"));
    }
}

#[test]
fn credentials_are_refused_wherever_they_stand_and_not_repeated() {
    let text = MINIMAL
        .replace("name: my-bucket", "name: my-bucket, access_key: AKIAX, aws-secret-access-key: hunter2")
        + "metrics: { password: hunter2 }\n";
    let told = problems(&text);
    assert_eq!(told.lines().count(), 3, "{told}");
    assert!(told.lines().all(|line| line.contains("credentials do not belong in a job file")), "{told}");
    assert!(!told.contains("hunter2") && !told.contains("AKIAX"));
    let url =
        MINIMAL.replace("name: my-bucket", "name: my-bucket, endpoint: \"https://u:hunter2@x.example\"");
    assert!(
        problems(&url).contains("credentials do not belong in a URL") && !problems(&url).contains("hunter2")
    );
}

#[test]
fn a_textfile_that_nobody_reads_is_warned_of() {
    let warned = |path: &str| {
        let job = good(&format!("{MINIMAL}metrics: {{ textfile: {path} }}\n"));
        assert_eq!(job.metrics.textfile, Some(path.into()));
        job.warnings.iter().map(ToString::to_string).collect::<Vec<String>>()
    };
    assert_eq!(warned("/var/lib/node_exporter/n.prom"), [""; 0]);
    let [suffix] = &*warned("/var/lib/node_exporter/n.txt") else { panic!("one warning") };
    assert!(suffix.contains("metrics.textfile does not end in .prom: node_exporter"), "{suffix}");
    let [relative] = &*warned("n.prom") else { panic!("one warning") };
    assert!(relative.contains("metrics.textfile is relative"), "{relative}");
    assert_eq!(warned("prom").len(), 2);
}

#[test]
fn a_name_that_is_too_short_for_a_bucket_hears_how_long_one_is() {
    let told = problems(&MINIMAL.replace("name: my-bucket", "name: b2"));
    assert!(
        told.contains("bucket.name cannot be \"b2\"; expected a bucket name of 3 to 63 characters"),
        "{told}"
    );
}

#[test]
fn a_pushgateway_is_a_url_or_a_mapping_and_holds_no_secret() {
    let at = |gateway: &str| format!("{MINIMAL}metrics: {{ pushgateway: {gateway} }}\n");
    let short = good(&at("\"http://push:9091/\"")).metrics.pushgateway.unwrap();
    assert_eq!((short.url.as_str(), short.interval), ("http://push:9091", Duration::from_secs(15)));
    assert_eq!((short.username, short.password), (None, None));
    let full = "{ url: \"https://p.example/x/\", interval: 30s, username: me, password_env: PUSH_PASSWORD }";
    let full = good(&at(full)).metrics.pushgateway.unwrap();
    assert_eq!((full.url.as_str(), full.interval), ("https://p.example/x", Duration::from_secs(30)));
    assert_eq!(full.username.as_deref(), Some("me"));
    assert_eq!(full.password, Some(SecretPlace::Environment("PUSH_PASSWORD".into())));
    let file = at("{ url: \"http://10.0.0.1:9091\", username: u, password_file: /run/p }");
    assert!(good(&file).warnings[0].to_string().contains("sends its password unencrypted"));
    for (gateway, told) in [
        ("push:9091", "cannot be \"push:9091\""),
        ("\"http://u:hunter2@push:9091\"", "credentials do not belong in a URL; say username"),
        ("\"push://u:hunter2@push:9091\"", "metrics.pushgateway is no URL"),
        ("{ interval: 5s }", "metrics.pushgateway.url is missing"),
        ("{ url: \"http://p\", interval: 999ms }", "interval cannot be \"999ms\""),
        ("{ url: \"http://p\", interval: 0s }", "expected a duration of 1s or more"),
        ("{ url: \"http://p\", username: u }", "a user and a password belong together"),
        ("{ url: \"http://p\", username: u, password_env: \"hunter2 x\" }", "is no name of a variable"),
        (
            "{ url: \"http://p\", username: u, password_env: A, password_file: b }",
            "password_env is given too",
        ),
        ("{ url: \"http://p\", password: hunter2 }", "credentials do not belong in a job file"),
        ("{ url: \"http://p\", intervall: 5s }", "did you mean \"interval\"?"),
    ] {
        let problems = problems(&at(gateway));
        assert!(problems.contains(told), "{gateway}: {problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
        assert_eq!(problems.lines().count(), 1, "nothing that follows from another problem: {problems}");
    }
}

#[test]
fn plain_http_is_for_this_machine_or_for_who_says_so() {
    let at = |endpoint: &str| MINIMAL.replace("name: my-bucket", &format!("name: my-bucket, {endpoint}"));
    for fine in [
        "endpoint: \"http://127.0.0.1:9000\"",
        "endpoint: \"http://localhost\"",
        "endpoint: \"http://[::1]:80/x\"",
        "endpoint: \"http://10.0.0.1:9000\", allow_http: true",
        "endpoint: \"https://10.0.0.1\"",
    ] {
        good(&at(fine));
    }
    for bad in [
        "http://10.0.0.1",
        "ftp://x",
        "https://",
        "https://x:0",
        "https://x y",
        "https://x/?a",
        "aws",
        "x.example",
    ] {
        assert!(problems(&at(&format!("endpoint: \"{bad}\""))).starts_with("job.yaml:3:38: bucket.endpoint"));
    }
}

#[test]
fn mfa_needs_both_parts_and_they_stay_out_of_the_output() {
    let with_mfa =
        |mfa: &str| MINIMAL.replace("action: delete", &format!("action: {{ delete: {{ mfa: {mfa} }} }}"));
    assert_eq!(
        problems(&with_mfa("{ serial: a b }")),
        "job.yaml:4:68: rules[0].action.delete.mfa.token is missing; expected the token that the device \
         shows, best as ${env:NAME}\n\
         job.yaml:4:78: rules[0].action.delete.mfa.serial cannot be \"a b\"; expected the serial number or \
         ARN of the device, without spaces"
    );
    let one = good(&with_mfa("{ serial: s, token: \"${env:TOKEN}\" }"));
    let two = good(&with_mfa("{ serial: s, token: \"111111\" }"));
    assert!(!format!("{one:?}").contains("918273"));
    // Another minute, another token: the same job.
    assert_eq!(one.fingerprint, two.fingerprint);
}

#[test]
fn rules_with_equal_options_share_an_action() {
    let text = MINIMAL.replace(
        "rules: [",
        "rules: [{ name: a, match: { suffix: .a }, action: delete }, \
         { name: b, match: { suffix: .b }, action: { delete: { bypass_governance_retention: true } } }, \
         { name: c, match: { suffix: .c }, action: { delete: } }, ",
    );
    let job = good(&text);
    let ids: Vec<Verdict> = job.rules.iter().map(|rule| rule.verdict).collect();
    assert_eq!(ids, [0, 1, 0, 0].map(|id| Verdict::Act(ActionId(id))));
}

#[test]
fn impossible_values_are_problems() {
    for (conditions, part) in [
        ("lifecycle_days: true, state: any", "lifecycle_days rounds noncurrent_for, which is missing"),
        ("noncurrent_for: 36h, lifecycle_days: true", "whole days"),
        ("prefix: \"\"", "rules[0].match.prefix cannot be \"\""),
        ("prefix:", "rules[0].match.prefix has no value"),
        ("storage_class: []", "is an empty list"),
        ("created_before: 2024-02-30", "a day such as"),
        ("key_glob: \"[a\"", "key_glob: unclosed character class"),
        ("min_size: 1024", "it needs a unit: 1024B is bytes"),
        ("state: { a: b }", "rules[0].match.state cannot be a mapping"),
    ] {
        let told = problems(&matching(conditions));
        assert!(told.contains(part) && told.lines().count() == 1, "{told}");
    }
    assert!(problems(&with("scope: { from_key: b, to_key: a }")).contains("no key lies between"));
    assert!(problems(&with("sandbox: { keys: 5 }")).contains("the bucket is elsewhere"));
    assert!(problems(&with("retry: { give_up_after: 0s }")).contains("give_up_after cannot be \"0s\""));
    let sandbox = with("sandbox: { oldest: 1d, newest: 2d, keys: 90000000, versions_per_key: 2 }")
        .replace("name: my-bucket", "name: my-bucket, endpoint: sandbox");
    assert_eq!(problems(&sandbox).lines().count(), 2);
}

#[test]
fn nested_prefixes_are_listed_once() {
    let job = good(&with("scope: { prefixes: [logs/a/, tmp/, logs/, logs/a/b] }"));
    assert_eq!(job.scope.prefixes, [Key::from("logs/"), Key::from("tmp/")]);
    let warned: Vec<String> = job.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warned,
        [
            "job.yaml:5:21: scope.prefixes: \"logs/a/\" lies within \"logs/\" and adds nothing",
            "job.yaml:5:43: scope.prefixes: \"logs/a/b\" lies within \"logs/\" and adds nothing",
        ]
    );
    let outside = good(&with("scope: { prefixes: [a/, m/, z/], from_key: b, to_key: m/5 }"));
    let lines: Vec<u32> = outside.warnings.iter().map(|warning| warning.column).collect();
    assert_eq!(lines, [21, 29]);
}

#[test]
fn rules_that_never_match_are_warned_of() {
    for conditions in [
        "state: delete-marker, min_size: 1B",
        "state: [latest-marker, noncurrent-marker], storage_class: GLACIER",
        "state: current, beyond_newest: 1",
        "state: orphan-marker, noncurrent_for: 1d",
        "older_than: 30d, newer_than: 30d",
        "created_before: 2024-01-01, created_after: 2024-01-01",
        "min_size: 2B, max_size: 1B",
    ] {
        let job = good(&matching(conditions));
        assert_eq!(job.warnings.len(), 1, "{conditions}");
        assert!(job.warnings[0].what.starts_with("rule \"r\" can never match: "), "{}", job.warnings[0]);
    }
    for fine in [
        "state: [delete-marker, noncurrent], min_size: 1B",
        "state: delete-marker, noncurrent_for: 1d",
        "older_than: 29d, newer_than: 30d",
        "beyond_newest: 1",
    ] {
        assert_eq!(good(&matching(fine)).warnings, [], "{fine}");
    }
    let outside = good(&(matching("prefix: [b/, c/]") + "scope: { prefixes: [a/] }\n"));
    assert!(outside.warnings[0].what.contains("outside scope.prefixes"));
    assert_eq!(good(&(matching("prefix: [b/, a/x/]") + "scope: { prefixes: [a/] }\n")).warnings, []);
}

#[test]
fn rules_that_another_one_hides_are_warned_of() {
    let hides = |upper: &str, lower: &str| {
        let first = format!("rules: [{{ name: upper, match: {{ {upper} }}, action: keep }}, ");
        let job = good(&matching(lower).replace("rules: [", &first));
        assert!(
            job.warnings
                .iter()
                .all(|warning| { warning.what == "rule \"r\" is hidden by rule \"upper\" above it" })
        );
        !job.warnings.is_empty()
    };
    for (upper, lower) in [
        ("state: any", "prefix: a"),
        ("state: [current, noncurrent]", "min_size: 1B"),
        ("state: [noncurrent, noncurrent-marker]", "beyond_newest: 3"),
        ("state: latest-marker", "state: orphan-marker"),
        ("prefix: [a, b]", "prefix: [a/x, b], suffix: .gz"),
        ("suffix: gz", "suffix: .gz"),
        ("older_than: 30d", "older_than: 30d, state: current"),
        ("newer_than: 30d", "newer_than: 20d"),
        ("noncurrent_for: 30d", "noncurrent_for: 30d, lifecycle_days: true"),
        ("noncurrent_for: 30d, lifecycle_days: true", "noncurrent_for: 32d"),
        ("min_size: 1KB, max_size: 1MB", "min_size: 2KB, max_size: 1MB"),
        ("key_glob: [\"*.a\", \"*.b\"]", "key_glob: \"*.b\""),
        ("created_before: 2024-02-01", "created_before: 2024-01-01"),
        ("storage_class: [STANDARD, GLACIER]", "storage_class: GLACIER"),
    ] {
        assert!(hides(upper, lower), "{upper} / {lower}");
    }
    for (upper, lower) in [
        ("state: [current, noncurrent]", "prefix: a"),
        ("state: orphan-marker", "state: latest-marker"),
        ("prefix: a/x", "prefix: a"),
        ("prefix: a", "suffix: a"),
        ("older_than: 31d", "older_than: 30d"),
        ("noncurrent_for: 30d, lifecycle_days: true", "noncurrent_for: 31d"),
        ("beyond_newest: 4", "beyond_newest: 3"),
        ("key_glob: \"*.a\"", "key_glob: [\"*.a\", \"*.b\"]"),
        ("key_regex: a", "key_glob: a"),
        ("etag: x", "state: any"),
    ] {
        assert!(!hides(upper, lower), "{upper} / {lower}");
    }
}

#[test]
fn the_fingerprint_follows_the_meaning_and_nothing_else() {
    let base = good(MINIMAL).fingerprint;
    assert_eq!(base.digest.len(), 64);
    for same in [
        with("limits: { concurrency: 5, versions_per_second: 9 }"),
        with("report: { audit: full }"),
        with("budget: { deadline: 4h }\nretry: { give_up_after: 1h }\nconfirm: false"),
        with("scope: { page_size: 10, listing: auto }"),
        format!("# a comment\n{}", MINIMAL.replace("name: n\n", "name: \"other\"\n")),
        matching("state: [any]"),
        MINIMAL.replace("action: delete", "action: { delete: {} }"),
    ] {
        assert_eq!(good(&same).fingerprint, base, "{same}");
    }
    for (other, difference) in [
        (MINIMAL.replace("my-bucket", "other"), "bucket.name: \"my-bucket\" -> \"other\""),
        (
            MINIMAL.replace("name: my-bucket", "name: my-bucket, endpoint: \"https://x.example\""),
            "bucket.endpoint: \"aws\" -> \"https://x.example\"",
        ),
        (with("scope: { prefixes: [a] }"), "scope.prefixes[0]: \"\" -> \"a\""),
        (with("scope: { limit: 5 }"), "scope.limit: (not given) -> 5"),
        (with("scope: { listing: sequential }"), "scope.listing: (not given) -> \"sequential\""),
        (matching("state: current"), "rules[0].match.state[0]: \"any\" -> \"current\""),
        (MINIMAL.replace("action: delete", "action: keep"), "rules[0].action: "),
        (with("allow_promotion: true"), "allow_promotion: false -> true"),
        (with("null_versions: allow"), "null_versions: \"refuse\" -> \"allow\""),
    ] {
        let fingerprint = good(&other).fingerprint;
        assert_ne!(fingerprint.digest, base.digest);
        let found = differences(&base.semantic_json, &fingerprint.semantic_json);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(difference), "{found:?}");
    }
}

#[test]
fn the_pace_is_adaptive_unless_the_job_says_otherwise_and_takes_the_share_it_is_given() {
    let limits = good(&with("limits: { concurrency: 2 }")).limits;
    assert_eq!((limits.adaptive, limits.share), (true, 1.0));
    let limits = good(&with("limits: { share: 50% }")).limits;
    assert_eq!((limits.adaptive, limits.share), (true, 0.5));
    for (share, column) in [("0%", 18), ("101%", 18), ("0.5", 18)] {
        assert_eq!(
            problems(&with(&format!("limits: {{ share: {share} }}"))),
            format!(
                "job.yaml:5:{column}: limits.share cannot be \"{share}\"; expected a percentage, more than 0% and at most 100%"
            )
        );
    }
}
