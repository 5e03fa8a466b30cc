//! Multipart uploads over HTTP.

use super::*;

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// A sandbox with one large version `b/k` that was uploaded in parts.
async fn large(size_bytes: u64, part_bytes: u64, faults: Faults) -> Sandbox {
    let item = SeedItem { key: "k".into(), size_bytes, part_bytes, ..SeedItem::default() };
    let seed = Seed { bucket: "b".into(), items: vec![item], ..Seed::default() };
    sandbox(Config { seeds: vec![seed], ..faulty(faults) }).await
}

async fn create(sandbox: &Sandbox, headers: &[(&str, &str)]) -> String {
    let answer = send(sandbox, "POST /b/new?uploads", headers, "").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.texts("UploadId")[0].to_owned()
}

async fn part(sandbox: &Sandbox, upload: &str, number: u16, body: &str) -> Answer {
    send(sandbox, &format!("PUT /b/new?partNumber={number}&uploadId={upload}"), &[], body).await.unwrap()
}

async fn part_copy(sandbox: &Sandbox, upload: &str, number: u16, range: &str) -> Answer {
    let headers = [("x-amz-copy-source", "b/k"), ("x-amz-copy-source-range", range)];
    let target = format!("PUT /b/new?uploadId={upload}&partNumber={number}");
    send(sandbox, &target, &headers, "").await.unwrap()
}

fn list(parts: &[(u16, &str)]) -> String {
    let parts: String = parts
        .iter()
        .map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"))
        .collect();
    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
}

async fn complete(sandbox: &Sandbox, upload: &str, parts: &[(u16, &str)], more: &[(&str, &str)]) -> Answer {
    send(sandbox, &format!("POST /b/new?uploadId={upload}"), more, &list(parts)).await.unwrap()
}

/// Copies all of `b/k` in parts of so many bytes.
async fn copy_in_parts(sandbox: &Sandbox, size: u64, part_bytes: u64) -> Answer {
    let upload = create(sandbox, &[]).await;
    let mut etags = Vec::new();
    for (place, from) in (0..size).step_by(part_bytes as usize).enumerate() {
        let range = format!("bytes={from}-{}", (from + part_bytes).min(size) - 1);
        let answer = part_copy(sandbox, &upload, place as u16 + 1, &range).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        etags.push((place as u16 + 1, answer.texts("ETag")[0].to_owned()));
    }
    let parts: Vec<_> = etags.iter().map(|(number, etag)| (*number, etag.as_str())).collect();
    complete(sandbox, &upload, &parts, &[]).await
}

#[tokio::test]
async fn the_same_layout_keeps_the_etag_and_the_data() {
    let size = 6 * GIB + 5;
    let sandbox = large(size, GIB, Faults::default()).await;
    let source = sandbox.store().versions("b").unwrap().remove(0);
    let answer = copy_in_parts(&sandbox, size, GIB).await;
    let made = sandbox.store().versions("b").unwrap().pop().unwrap();
    assert_eq!(answer.header("x-amz-version-id"), Some(made.id.as_str()));
    assert_eq!((&made.etag, made.size), (&source.etag, size));
    assert!(made.etag.as_ref().unwrap().ends_with("-7\""), "{made:?}");
    let details = |version: &crate::model::Version| {
        sandbox.store().details("b", version.key.clone(), &version.id).unwrap()
    };
    assert_eq!(details(&made), details(&source));
    copy_in_parts(&sandbox, size, 2 * GIB).await;
    let other = sandbox.store().versions("b").unwrap().remove(1);
    assert_ne!(other.etag, source.etag);
    assert_eq!(details(&other).data, details(&source).data);
    let record = sandbox.oplog().pop().unwrap();
    assert_eq!((record.operation, record.effect), (Operation::CompleteMultipartUpload, Effect::Created));
}

#[tokio::test]
async fn the_etag_of_sent_parts_is_the_md5_of_their_md5s() {
    let sandbox = sandbox(Config::default()).await;
    let tags = [("x-amz-tagging", "a=b"), ("x-amz-meta-m", "1"), ("x-amz-storage-class", "STANDARD_IA")];
    let upload = create(&sandbox, &tags).await;
    let (first, second) = ("x".repeat(5 * MIB as usize), "tail");
    let one = part(&sandbox, &upload, 1, &first).await.header("etag").unwrap().to_owned();
    let two = part(&sandbox, &upload, 7, second).await.header("etag").unwrap().to_owned();
    let answer = complete(&sandbox, &upload, &[(1, &one), (7, &two)], &[]).await;
    let md5s = [checksum::md5(first.as_bytes()), checksum::md5(second.as_bytes())].concat();
    let expected = format!("\"{}-2\"", hex::encode(checksum::md5(&md5s)));
    assert_eq!(answer.texts("ETag")[0].replace("&quot;", "\""), expected);
    let got = send(&sandbox, "GET /b/new?partNumber=2", &[], "").await.unwrap();
    assert_eq!((got.status, got.body.as_str()), (206, "tail"));
    assert_eq!(got.header("x-amz-tagging-count"), Some("1"));
    assert_eq!(got.header("x-amz-meta-m"), Some("1"));
    assert_eq!(got.header("x-amz-storage-class"), Some("STANDARD_IA"));
    let again = complete(&sandbox, &upload, &[(1, &one), (7, &two)], &[]).await;
    assert_eq!((again.status, again.texts("Code")), (404, vec!["NoSuchUpload"]));
}

#[tokio::test]
async fn a_completion_is_refused_as_aws_refuses_it_and_the_upload_stays() {
    let sandbox = sandbox(Config::default()).await;
    let upload = create(&sandbox, &[]).await;
    let small = part(&sandbox, &upload, 1, "small").await.header("etag").unwrap().to_owned();
    let next = part(&sandbox, &upload, 2, "next").await.header("etag").unwrap().to_owned();
    for (parts, code) in [
        (vec![], "MalformedXML"),
        (vec![(2, &*next), (1, &*small)], "InvalidPartOrder"),
        (vec![(1, &*small), (1, &*small)], "InvalidPartOrder"),
        (vec![(1, &*next)], "InvalidPart"),
        (vec![(3, &*next)], "InvalidPart"),
        (vec![(1, &*small), (2, &*next)], "EntityTooSmall"),
    ] {
        let answer = complete(&sandbox, &upload, &parts, &[]).await;
        assert_eq!((answer.status, answer.texts("Code")), (400, vec![code]), "{parts:?}");
    }
    put(&sandbox, "new");
    let guarded = complete(&sandbox, &upload, &[(1, &small)], &[("if-none-match", "*")]).await;
    assert_eq!((guarded.status, guarded.texts("Condition")), (412, vec!["If-None-Match"]));
    assert_eq!((sandbox.store().count("b"), sandbox.store().uploads_under_way("b")), (Ok(1), 1));
    assert_eq!(complete(&sandbox, &upload, &[(1, &small)], &[]).await.status, 200);
    assert_eq!((sandbox.store().count("b"), sandbox.store().uploads_under_way("b")), (Ok(2), 0));
}

#[tokio::test]
async fn parts_and_uploads_are_listed_in_pages_until_they_are_aborted() {
    let sandbox = sandbox(Config::default()).await;
    let upload = create(&sandbox, &[]).await;
    for number in [9, 3, 5] {
        part(&sandbox, &upload, number, "part").await;
    }
    let page = get(&sandbox, &format!("/b/new?uploadId={upload}&max-parts=2")).await;
    assert_eq!(page.texts("PartNumber"), ["3", "5"]);
    assert_eq!((page.texts("IsTruncated"), page.texts("NextPartNumberMarker")), (vec!["true"], vec!["5"]));
    let rest = get(&sandbox, &format!("/b/new?uploadId={upload}&part-number-marker=5")).await;
    assert_eq!((rest.texts("PartNumber"), rest.texts("IsTruncated")), (vec!["9"], vec!["false"]));
    let second = create(&sandbox, &[]).await;
    let page = get(&sandbox, "/b?uploads&max-uploads=1&prefix=ne").await;
    let marker = page.texts("NextUploadIdMarker")[0];
    let rest = get(&sandbox, &format!("/b?uploads&key-marker=new&upload-id-marker={marker}")).await;
    let mut seen = [page.texts("UploadId"), rest.texts("UploadId")].concat();
    seen.sort_unstable();
    let mut made = vec![upload.as_str(), second.as_str()];
    made.sort_unstable();
    assert_eq!(seen, made);
    assert_eq!(get(&sandbox, "/b?uploads&key-marker=new").await.texts("UploadId").len(), 0);
    let aborted = send(&sandbox, &format!("DELETE /b/new?uploadId={upload}"), &[], "").await.unwrap();
    assert_eq!(aborted.status, 204);
    for target in [format!("/b/new?uploadId={upload}"), format!("/b/other?uploadId={second}")] {
        assert_eq!(get(&sandbox, &target).await.texts("Code"), ["NoSuchUpload"]);
    }
    assert_eq!(part(&sandbox, &upload, 1, "late").await.texts("Code"), ["NoSuchUpload"]);
    assert_eq!((sandbox.store().count("b"), sandbox.store().uploads_under_way("b")), (Ok(0), 1));
}

#[tokio::test]
async fn a_range_of_a_source_has_to_be_one() {
    let sandbox = large(20 * MIB, 0, Faults::default()).await;
    let upload = create(&sandbox, &[]).await;
    for range in ["bytes=0-20971520", "bytes=5-4", "bytes=0-", "bytes=-5", "0-5", "bytes=+0-5"] {
        let answer = part_copy(&sandbox, &upload, 1, range).await;
        assert_eq!((answer.status, answer.texts("Code")), (400, vec!["InvalidArgument"]), "{range}");
    }
    for number in ["0", "10001", "x"] {
        let target = format!("PUT /b/new?partNumber={number}&uploadId={upload}");
        assert_eq!(send(&sandbox, &target, &[], "x").await.unwrap().texts("Code"), ["InvalidArgument"]);
    }
    let whole = [("x-amz-copy-source", "b/k")];
    let target = format!("PUT /b/new?partNumber=1&uploadId={upload}");
    let answer = send(&sandbox, &target, &whole, "").await.unwrap();
    let source = sandbox.store().versions("b").unwrap().remove(0);
    assert_eq!(answer.texts("ETag")[0].replace("&quot;", "\""), *source.etag.unwrap());
    assert_eq!(answer.header("x-amz-copy-source-version-id"), Some(source.id.as_str()));
}

#[tokio::test]
async fn a_lost_part_is_missed_at_the_end_only() {
    let script = ScriptedRequest { operation: Operation::UploadPart, nth: 1, kind: FaultKind::LosePart };
    let sandbox = sandbox(faulty(Faults { scripted_requests: vec![script], ..Faults::default() })).await;
    let upload = create(&sandbox, &[]).await;
    let lost = part(&sandbox, &upload, 1, "part").await;
    let etag = lost.header("etag").unwrap().to_owned();
    assert_eq!(lost.status, 200);
    assert_eq!(get(&sandbox, &format!("/b/new?uploadId={upload}")).await.texts("PartNumber"), [""; 0]);
    assert_eq!(complete(&sandbox, &upload, &[(1, &etag)], &[]).await.texts("Code"), ["InvalidPart"]);
    part(&sandbox, &upload, 1, "part").await;
    assert_eq!(complete(&sandbox, &upload, &[(1, &etag)], &[]).await.status, 200);
}

#[tokio::test]
async fn a_lost_answer_to_a_completion_leaves_a_version_and_no_upload() {
    let script = ScriptedRequest {
        operation: Operation::CompleteMultipartUpload,
        nth: 1,
        kind: FaultKind::Reset(When::AfterApplying),
    };
    let sandbox = sandbox(faulty(Faults { scripted_requests: vec![script], ..Faults::default() })).await;
    let upload = create(&sandbox, &[]).await;
    let etag = part(&sandbox, &upload, 1, "part").await.header("etag").unwrap().to_owned();
    let target = format!("POST /b/new?uploadId={upload}");
    assert!(send(&sandbox, &target, &[], &list(&[(1, &etag)])).await.is_err());
    assert_eq!(sandbox.store().count("b"), Ok(1));
    assert_eq!(complete(&sandbox, &upload, &[(1, &etag)], &[]).await.texts("Code"), ["NoSuchUpload"]);
}

#[tokio::test]
async fn checksums_of_parts_make_that_of_the_version() {
    let sandbox = sandbox(Config::default()).await;
    let header = "x-amz-checksum-sha256";
    let upload = create(&sandbox, &[("x-amz-checksum-algorithm", "SHA256")]).await;
    assert_eq!(part(&sandbox, &upload, 1, "part").await.texts("Code"), ["InvalidRequest"]);
    let sum = checksum::compute(header, b"part").unwrap();
    let target = format!("PUT /b/new?partNumber=1&uploadId={upload}");
    let sent = send(&sandbox, &target, &[(header, &sum)], "part").await.unwrap();
    let etag = sent.header("etag").unwrap();
    assert_eq!(sent.header(header), Some(&*sum));
    assert_eq!(complete(&sandbox, &upload, &[(1, etag)], &[]).await.texts("Code"), ["InvalidRequest"]);
    let named = |sum: &str| {
        list(&[(1, etag)]).replace("</Part>", &format!("<ChecksumSHA256>{sum}</ChecksumSHA256></Part>"))
    };
    let target = format!("POST /b/new?uploadId={upload}");
    let wrong = checksum::compute(header, b"other").unwrap();
    assert_eq!(send(&sandbox, &target, &[], &named(&wrong)).await.unwrap().texts("Code"), ["InvalidPart"]);
    let done = send(&sandbox, &target, &[], &named(&sum)).await.unwrap();
    let of_sums = checksum::compute(header, &BASE64.decode(&sum).unwrap()).unwrap();
    assert_eq!(done.texts("ChecksumSHA256"), [format!("{of_sums}-1")]);
    let head = send(&sandbox, "HEAD /b/new", &[("x-amz-checksum-mode", "ENABLED")], "").await.unwrap();
    assert_eq!(head.header("x-amz-checksum-type"), Some("COMPOSITE"));
}
