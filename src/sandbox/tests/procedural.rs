//! A procedural bucket over HTTP.

use super::*;

fn made(keys: u64) -> Procedural {
    Procedural { bucket: "made".into(), keys, shape: OrderedShape::Flat, seed: 4, ..Procedural::default() }
}

async fn serving(spec: Procedural, faults: Faults) -> Sandbox {
    sandbox(Config { procedural: vec![spec], faults, ..Config::default() }).await
}

/// Sends a DeleteObjects for the bucket `made`.
async fn delete_made(sandbox: &Sandbox, body: &str) -> Answer {
    let md5 = BASE64.encode(checksum::md5(body.as_bytes()));
    send(sandbox, "POST /made?delete", &[("content-md5", &md5)], body).await.unwrap()
}

#[tokio::test]
async fn it_is_listed_read_deleted_from_and_never_written_to() {
    let spec = Procedural { marker_share: 0.3, versions_per_key: 3, ..made(40) };
    let sandbox = serving(spec, Faults::default()).await;
    let all = sandbox.store().versions("made").unwrap();
    let listing = get(&sandbox, "/made?versions").await;
    let ids: Vec<&str> = all.iter().map(|version| version.id.as_str()).collect();
    assert_eq!(listing.texts("VersionId"), ids);
    let head = |key: String, id: String| {
        let sandbox = &sandbox;
        async move { send(sandbox, &format!("HEAD /made/{key}?versionId={id}"), &[], "").await.unwrap() }
    };
    let version = all.iter().find(|version| version.kind == Kind::Version).unwrap();
    let (key, id) = (version.key.as_str().unwrap(), version.id.as_str());
    let found = head(key.to_owned(), id.to_owned()).await;
    assert_eq!((found.status, found.header("etag")), (200, version.etag.as_deref()));
    assert_eq!(found.header("content-length"), Some(&*version.size.to_string()));

    for line in ["PUT /made/new", &format!("DELETE /made/{key}")] {
        let refused = send(&sandbox, line, &[], "").await.unwrap();
        assert_eq!((refused.status, refused.texts("Code")), (501, vec!["NotImplemented"]), "{line}");
    }
    let nameless =
        delete_made(&sandbox, &format!("<Delete><Object><Key>{key}</Key></Object></Delete>")).await;
    assert_eq!((nameless.status, nameless.texts("Code")), (200, vec!["NotImplemented"]));
    assert_eq!(send(&sandbox, "DELETE /made", &[], "").await.unwrap().texts("Code"), ["BucketNotEmpty"]);
    assert_eq!(sandbox.store().count("made"), Ok(all.len()));
    assert!(sandbox.oplog().is_empty());

    let one = send(&sandbox, &format!("DELETE /made/{key}?versionId={id}"), &[], "").await.unwrap();
    assert_eq!((one.status, one.header("x-amz-version-id")), (204, Some(id)));
    assert_eq!(head(key.to_owned(), id.to_owned()).await.status, 404);
    let items: Vec<_> = all.iter().map(|v| (v.key.as_str().unwrap(), v.id.as_str())).collect();
    let many = delete_made(&sandbox, &delete_body(&items)).await;
    assert_eq!(many.texts("Key").len(), all.len());
    let markers = all.iter().filter(|version| version.kind == Kind::DeleteMarker).count();
    assert_eq!(many.texts("DeleteMarker").len(), markers);
    let absent = sandbox.oplog().iter().filter(|record| record.effect == Effect::Absent).count();
    assert_eq!(absent, 1, "what the first request deleted");
    assert!(get(&sandbox, "/made?versions").await.texts("Key").is_empty());
    assert_eq!(send(&sandbox, "DELETE /made", &[], "").await.unwrap().status, 204);
}

#[tokio::test]
async fn a_page_goes_on_after_its_marker_and_ends_where_the_bucket_ends() {
    let sandbox = serving(Procedural { versions_per_key: 2, ..made(1500) }, Faults::default()).await;
    let all = sandbox.store().versions("made").unwrap();
    let (mut target, mut listed) = ("/made?versions".to_owned(), Vec::new());
    loop {
        let page = get(&sandbox, &target).await;
        let ids = page.texts("VersionId").into_iter().map(str::to_owned);
        listed.extend(ids);
        let [key] = page.texts("NextKeyMarker")[..] else { break };
        let id = page.texts("NextVersionIdMarker")[0];
        assert_eq!(listed.len() % 1000, 0);
        target = format!("/made?versions&key-marker={key}&version-id-marker={id}");
    }
    assert!(listed.iter().eq(all.iter().map(|version| version.id.as_str())));
}

fn partitions(partitions: u16, burst_keys: f64, whole_request: bool) -> Faults {
    let limit = PartitionLimit {
        partitions: Some(partitions),
        keys_per_second: 0.001,
        burst_keys,
        whole_request,
        ..PartitionLimit::default()
    };
    Faults { partition_limit: Some(limit), ..Faults::default() }
}

#[tokio::test]
async fn partitions_divide_it_evenly_and_refuse_key_by_key() {
    let all = {
        let sandbox = serving(made(160), Faults::default()).await;
        sandbox.store().versions("made").unwrap()
    };
    let items: Vec<_> = all.iter().map(|v| (v.key.as_str().unwrap(), v.id.as_str())).collect();
    for (count, taken) in [(1, 7), (4, 28), (16, 112)] {
        let sandbox = serving(made(160), partitions(count, 7.0, false)).await;
        let answer = delete_made(&sandbox, &delete_body(&items)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.texts("Code"), vec!["SlowDown"; 160 - taken], "{count} partitions");
        assert_eq!(sandbox.store().count("made"), Ok(160 - taken));
        let stats = sandbox.stats();
        assert_eq!(stats["operations"]["DeleteObjects"]["keys_refused"], 160 - taken);
        assert_eq!(stats["versions_left"]["made"], 160 - taken);
    }
    let sandbox = serving(made(160), partitions(1, 7.0, true)).await;
    assert_eq!(delete_made(&sandbox, &delete_body(&items[..20])).await.status, 200);
    let refused = delete_made(&sandbox, &delete_body(&items[20..40])).await;
    assert_eq!((refused.status, refused.texts("Code")), (503, vec!["SlowDown"]));
    assert_eq!(sandbox.store().count("made"), Ok(153));
    sandbox.set_faults(partitions(4, 7.0, true));
    assert_eq!(delete_made(&sandbox, &delete_body(&items)).await.status, 200);
    assert_eq!(sandbox.store().count("made"), Ok(160 - 4 * 7), "settled anew, the first 7 were gone");
}

#[tokio::test]
async fn a_bucket_that_cannot_be_made_is_told() {
    let start = |procedural| Sandbox::start(Config { procedural, ..Config::default() });
    let twice = start(vec![made(1), made(2)]).await.unwrap_err();
    assert!(twice.to_string().contains("made"), "{twice}");
    let bad = start(vec![Procedural { marker_share: 2.0, ..made(0) }]).await.unwrap_err().to_string();
    assert!(bad.contains("marker_share: ") && bad.contains("keys: "), "{bad}");
}
