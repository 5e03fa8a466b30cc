use super::*;

pub(super) fn notice() -> Notice {
    Notice {
        event: Event::Failure,
        job: "nightly".into(),
        command: "run",
        bucket: "logs".into(),
        endpoint: "aws".into(),
        run: Some("20260101T030000-00ff".into()),
        ending: "done-with-failures",
        exit_code: 1,
        sentence: "2 versions failed or were skipped: \"odd\"".into(),
        began: Some("2026-01-01T03:00:00.000Z".into()),
        ended: "2026-01-01T03:10:00.500Z".into(),
        seconds: Some(600.5),
        versions: Some(Versions {
            listed: 20,
            kept: 8,
            planned: 12,
            done: 9,
            gone: 1,
            failed: 1,
            skipped: 1,
            pending: 0,
        }),
        bytes: Some(Bytes { planned: 4096, done: 3072, freed: 2048 }),
        rules: vec![RuleFigures {
            name: "old".into(),
            action: "delete".into(),
            planned: 12,
            done: 9,
            gone: 1,
            failed: 1,
            skipped: 1,
            bytes_planned: 4096,
            bytes_done: 3072,
        }],
        failures: vec![FailureCode { outcome: "failed".into(), code: "AccessDenied".into(), versions: 1 }],
        host: "night-1".into(),
    }
}

/// The example of docs/notifications.md: receivers are written after it.
#[test]
fn the_body_is_the_one_that_is_documented() {
    let docs = include_str!("../../docs/notifications.md");
    let example = docs.split("```json\n").nth(1).and_then(|rest| rest.split("\n```").next()).unwrap();
    let documented: serde_json::Value = serde_json::from_str(example).unwrap();
    let body = notice().json("5f0c2a9be0d14c7e8a3b6d9f01e2c3a4");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&body).unwrap(), documented);
    let begin =
        r#"{"version":1,"delivery":"5f0c2a9be0d14c7e8a3b6d9f01e2c3a4","event":"failure","job":"nightly","#;
    assert!(body.starts_with(begin), "{body}");
}

#[test]
fn every_placeholder_is_documented() {
    let docs = include_str!("../../docs/notifications.md");
    for name in placeholder_names() {
        assert!(docs.contains(&format!("`{{{name}}}`")), "{name}");
    }
}

#[test]
fn values_are_escaped_where_the_template_is_json() {
    let text =
        r#"{"text": "{job}: {sentence}, {done} of {planned}, {freed}", "n": {failed}, "in": {"x": {}}}"#;
    let filled = Template::json(text).unwrap().fill(&notice(), "d");
    let json: serde_json::Value = serde_json::from_str(&filled).unwrap();
    assert_eq!(json["text"], "nightly: 2 versions failed or were skipped: \"odd\", 9 of 12, 2.00 KiB");
    assert_eq!((json["n"].as_u64(), json["in"]["x"].is_object()), (Some(1), true));
    let plain = Template::plain("{job} \"{sentence}\" {failures} {duration} {run} {x1} {Job}").unwrap();
    assert_eq!(
        plain.fill(&notice(), "d"),
        "nightly \"2 versions failed or were skipped: \"odd\"\" AccessDenied 1 10 minutes 20260101T030000-00ff {x1} {Job}"
    );
}

#[test]
fn what_a_template_does_wrong_is_said() {
    let unknown = Template::plain("{jbo} {done} {fred}").unwrap_err();
    assert_eq!(
        unknown,
        [TemplateFault::Unknown("jbo".into()), TemplateFault::Unknown("fred".into())],
        "all of them at once"
    );
    for text in [r#"{"text": {job}}"#, r#"{"text": "{job}}"#, "{job}", r#"{"text": "a" "b"}"#] {
        assert!(matches!(&*Template::json(text).unwrap_err(), [TemplateFault::NotJson(_)]), "{text}");
    }
}

#[test]
fn who_hears_of_an_end_hears_of_all_and_who_hears_of_tripwires_of_nothing_else() {
    let hears = |from: Event| {
        let hook = Hook {
            id: "h".into(),
            url: Source::Given("https://h.example/secret".into()),
            from,
            secret: None,
            allow_http: false,
            payload: Payload::Standard,
        };
        [Event::End, Event::Failure, Event::Tripwire].map(|event| hook.hears(event))
    };
    assert_eq!(hears(Event::End), [true, true, true]);
    assert_eq!(hears(Event::Failure), [false, true, true]);
    assert_eq!(hears(Event::Tripwire), [false, false, true]);
}

#[test]
fn an_address_shows_its_host_and_nothing_behind_it() {
    let address =
        Address::parse("https://hooks.example.com:8443/services/canary?token=canary", false).unwrap();
    assert_eq!(format!("{address:?}"), "Address(https://hooks.example.com:8443)");
    assert!(!format!("{:?}", Source::Given("https://x.example/canary".into())).contains("canary"));
    for (url, fault) in [
        ("hooks.example.com/canary", AddressFault::NoUrl),
        ("ftp://hooks.example.com/canary", AddressFault::NoUrl),
        ("https://canary:canary@hooks.example.com/", AddressFault::HasUser),
        ("http://hooks.example.com/canary", AddressFault::Unencrypted),
    ] {
        let found = Address::parse(url, false).unwrap_err();
        assert_eq!(found, fault, "{url}");
        assert!(!found.to_string().contains("canary"));
    }
    assert!(
        Address::parse("http://127.0.0.1:1/x", false).is_ok()
            && Address::parse("http://[::1]/", false).is_ok()
    );
    assert!(Address::parse("http://hooks.example.com/x", true).is_ok());
}
