//! Tags, locks, access control lists and keys of versions over HTTP.

use super::*;

/// Sends a document with the digest that AWS wants for it.
async fn put_document(sandbox: &Sandbox, target: &str, body: &str, more: &[(&str, &str)]) -> Answer {
    let md5 = BASE64.encode(checksum::md5(body.as_bytes()));
    let mut headers = vec![("content-md5", md5.as_str())];
    headers.extend(more);
    send(sandbox, &format!("PUT {target}"), &headers, body).await.unwrap()
}

#[tokio::test]
async fn tags_belong_to_one_version() {
    let sandbox = sandbox(Config::default()).await;
    let (old, new) = (put(&sandbox, "k"), put(&sandbox, "k"));
    let body = "<Tagging><TagSet><Tag><Key>a</Key><Value>b&amp;c</Value></Tag></TagSet></Tagging>";
    let bare = send(&sandbox, "PUT /b/k?tagging", &[], body).await.unwrap();
    assert_eq!(bare.texts("Code"), ["InvalidRequest"], "without a digest");
    let target = format!("/b/k?tagging&versionId={old}");
    let answer = put_document(&sandbox, &target, body, &[]).await;
    assert_eq!((answer.status, answer.header("x-amz-version-id")), (200, Some(old.as_str())));
    let read = get(&sandbox, &target).await;
    assert_eq!((read.texts("Key"), read.texts("Value")), (vec!["a"], vec!["b&amp;c"]));
    let current = get(&sandbox, "/b/k?tagging").await;
    assert_eq!((current.header("x-amz-version-id"), current.texts("Tag").len()), (Some(new.as_str()), 0));
    assert_eq!(send(&sandbox, &format!("DELETE {target}"), &[], "").await.unwrap().status, 204);
    assert_eq!(get(&sandbox, &target).await.texts("Tag").len(), 0);
    let marker = sandbox.store().insert_marker("b", "k", Timestamp::default()).unwrap();
    assert_eq!(get(&sandbox, "/b/k?tagging").await.texts("Code"), ["NoSuchKey"]);
    let of_marker = get(&sandbox, &format!("/b/k?tagging&versionId={marker}")).await;
    assert_eq!((of_marker.status, of_marker.header("x-amz-delete-marker")), (405, Some("true")));
}

fn retention(mode: &str, until: &str) -> String {
    format!("<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>")
}

#[tokio::test]
async fn retention_grows_and_shrinks_as_its_mode_allows() {
    let sandbox = sandbox(Config::default()).await;
    put(&sandbox, "k");
    let (near, far) = ("2998-01-01T00:00:00Z", "2999-01-01T00:00:00Z");
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    let missing = put_document(&sandbox, "/b/k?retention", &retention("GOVERNANCE", far), &[]).await;
    assert_eq!(missing.texts("Code"), ["InvalidRequest"], "the bucket has no Object Lock");
    sandbox.store().set_guards("b", true, false).unwrap();
    for (body, more, code) in [
        (retention("GOVERNANCE", "2001-01-01T00:00:00Z"), &[][..], "InvalidArgument"),
        (retention("NONE", far), &[], "MalformedXML"),
        (retention("GOVERNANCE", far), &[], ""),
        (retention("GOVERNANCE", near), &[], "AccessDenied"),
        ("<Retention/>".to_owned(), &[], "AccessDenied"),
        (retention("GOVERNANCE", near), &bypass, ""),
        (retention("COMPLIANCE", near), &[], ""),
        (retention("GOVERNANCE", far), &bypass, "AccessDenied"),
        ("<Retention/>".to_owned(), &bypass, "AccessDenied"),
        (retention("COMPLIANCE", far), &[], ""),
    ] {
        let answer = put_document(&sandbox, "/b/k?retention", &body, more).await;
        assert_eq!(answer.texts("Code").first().copied().unwrap_or(""), code, "{body}");
    }
    let hold = put_document(&sandbox, "/b/k?legal-hold", "<LegalHold><Status>ON</Status></LegalHold>", &[]);
    assert_eq!(hold.await.status, 200);
    let head = send(&sandbox, "HEAD /b/k", &[], "").await.unwrap();
    assert_eq!(head.header("x-amz-object-lock-mode"), Some("COMPLIANCE"));
    assert_eq!(head.header("x-amz-object-lock-legal-hold"), Some("ON"));
}

#[tokio::test]
async fn an_upload_under_lock_needs_a_digest_and_a_future() {
    let sandbox = sandbox(Config::default()).await;
    sandbox.store().set_guards("b", true, false).unwrap();
    let lock =
        |until| [("x-amz-object-lock-mode", "COMPLIANCE"), ("x-amz-object-lock-retain-until-date", until)];
    let bare = send(&sandbox, "PUT /b/k", &lock("2999-01-01T00:00:00Z"), "x").await.unwrap();
    assert_eq!(bare.texts("Code"), ["InvalidRequest"]);
    let past = put_document(&sandbox, "/b/k", "x", &lock("2001-01-01T00:00:00Z")).await;
    assert_eq!(past.texts("Code"), ["InvalidArgument"]);
    assert_eq!(put_document(&sandbox, "/b/k", "x", &lock("2999-01-01T00:00:00Z")).await.status, 200);
}

#[tokio::test]
async fn an_access_control_list_is_kept_as_it_was_given() {
    let sandbox = sandbox(Config::default()).await;
    put(&sandbox, "k");
    let private = get(&sandbox, "/b/k?acl").await;
    assert_eq!(private.texts("Permission"), ["FULL_CONTROL"]);
    let canned = send(&sandbox, "PUT /b/k?acl", &[("x-amz-acl", "public-read")], "").await.unwrap();
    assert_eq!(canned.status, 200);
    let public = get(&sandbox, "/b/k?acl").await;
    assert_eq!(public.texts("Permission"), ["FULL_CONTROL", "READ"]);
    assert_eq!(public.texts("URI"), ["http://acs.amazonaws.com/groups/global/AllUsers"]);
    // The answer of one version is the request for another.
    let id = put(&sandbox, "other");
    let document = public.body.split_once('\n').unwrap().1;
    assert_eq!(put_document(&sandbox, "/b/other?acl", document, &[]).await.status, 200);
    let grants = sandbox.store().details("b", "other", &id).unwrap().grants;
    assert_eq!(grants, ["FULL_CONTROL owner", "READ http://acs.amazonaws.com/groups/global/AllUsers"]);
    let unknown = send(&sandbox, "PUT /b/k?acl", &[("x-amz-acl", "nobody")], "").await.unwrap();
    assert_eq!(unknown.texts("Code"), ["InvalidArgument"]);
    assert_eq!(put_document(&sandbox, "/b/k?acl", "<x/>", &[]).await.texts("Code"), ["MalformedACLError"]);
}

#[tokio::test]
async fn a_customers_key_is_wanted_wherever_the_data_is_read() {
    let sandbox = sandbox(Config::default()).await;
    let keys: Vec<(String, String)> = [b'a', b'b']
        .map(|letter| [letter; 32])
        .map(|key| (BASE64.encode(key), BASE64.encode(checksum::md5(&key))))
        .into();
    let headers = |which: usize, begins: &str| {
        let (key, md5): &(String, String) = &keys[which];
        [("algorithm", "AES256"), ("key", key), ("key-md5", md5)]
            .map(|(end, value)| (format!("{begins}server-side-encryption-customer-{end}"), value.to_owned()))
    };
    let ask = async |line: &str, headers: Vec<(String, String)>, more: &[(&str, &str)]| {
        let mut all: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.extend(more);
        let answer = send(&sandbox, line, &all, if line == "PUT /b/k" { "data" } else { "" }).await.unwrap();
        (answer.status, answer.texts("Code").first().map(|code| (*code).to_owned()).unwrap_or_default())
    };
    let own = |which| headers(which, "x-amz-").to_vec();
    assert_eq!(ask("PUT /b/k", own(0), &[]).await.0, 200);
    assert_eq!(ask("GET /b/k", own(0), &[]).await.0, 200);
    assert_eq!(ask("GET /b/k", vec![], &[]).await, (400, "InvalidRequest".into()));
    assert_eq!(ask("GET /b/k", own(1), &[]).await, (403, "AccessDenied".into()));
    let mut mixed = own(0);
    mixed[2] = own(1)[2].clone();
    assert_eq!(ask("GET /b/k", mixed, &[]).await, (400, "InvalidArgument".into()));
    let source = [("x-amz-copy-source", "b/k")];
    let of_source = headers(0, "x-amz-copy-source-").to_vec();
    assert_eq!(ask("PUT /b/l", vec![], &source).await, (400, "InvalidRequest".into()));
    assert_eq!(ask("PUT /b/l", of_source.clone(), &source).await.0, 200);
    assert_eq!(ask("GET /b/l", vec![], &[]).await.0, 200, "the copy has no key");
    assert_eq!(ask("GET /b/l", own(0), &[]).await, (400, "InvalidRequest".into()));
    assert_eq!(ask("PUT /b/m", [of_source, own(1)].concat(), &source).await.0, 200);
    assert_eq!(ask("GET /b/m", own(1), &[]).await.0, 200);
}

#[tokio::test]
async fn reads_can_be_pinned_to_an_etag() {
    let sandbox = sandbox(Config::default()).await;
    put(&sandbox, "k");
    let etag = sandbox.store().versions("b").unwrap()[0].etag.clone().unwrap();
    let read = async |name, value| send(&sandbox, "GET /b/k", &[(name, value)], "").await.unwrap().status;
    assert_eq!(read("if-match", &etag).await, 200);
    assert_eq!(read("if-match", "\"x\"").await, 412);
    assert_eq!(read("if-none-match", &etag).await, 304);
    assert_eq!(read("if-none-match", "\"x\"").await, 200);
}
