//! Canned pages, good and bad.

use proptest::prelude::*;

use super::*;

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <ListVersionsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";

/// What AWS answers: echoes and IsTruncated first, then entries, versions and markers mixed.
const AWS_PAGE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
<ListVersionsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>logs</Name>\
<Prefix>a</Prefix><KeyMarker></KeyMarker><VersionIdMarker></VersionIdMarker><NextKeyMarker>a+b%2B%C3%BC</NextKeyMarker>\
<NextVersionIdMarker>null</NextVersionIdMarker><MaxKeys>3</MaxKeys><EncodingType>url</EncodingType>\
<IsTruncated>true</IsTruncated>\
<DeleteMarker><Key>a%0D%01</Key><VersionId>m1</VersionId><IsLatest>true</IsLatest>\
<LastModified>2024-02-29T23:59:59.000Z</LastModified><Owner><ID>o</ID></Owner></DeleteMarker>\
<Version><Key>a%0D%01</Key><VersionId>v1</VersionId><IsLatest>false</IsLatest>\
<LastModified>2024-02-28T00:00:00.123Z</LastModified><ETag>&quot;9b2cf535f27731c974343645a3985328&quot;</ETag>\
<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><Size>12345678901</Size><Owner><ID>o</ID></Owner>\
<StorageClass>GLACIER_IR</StorageClass></Version>\
<Version><Key>a+b%2B%C3%BC</Key><VersionId>null</VersionId><IsLatest>true</IsLatest>\
<LastModified>2024-02-27T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>0</Size>\
<StorageClass>STANDARD</StorageClass></Version></ListVersionsResult>";

fn request<'a>(prefix: &'a [u8], from: Option<&'a Marker>) -> ListVersions<'a> {
    ListVersions { prefix, from, page_size: 1000, wants_data: true }
}

fn read_from(body: &str, prefix: &str, from: Option<&Marker>, plus: Option<Plus>) -> Result<Page, Fault> {
    let request = request(prefix.as_bytes(), from);
    parse(body.as_bytes(), &Asked { bucket: Some("logs"), request: &request }, plus)
}

fn read(body: &str) -> Result<Page, Fault> {
    read_from(body, "", None, None)
}

fn version(key: &str, id: &str) -> String {
    format!(
        "<Version><Key>{key}</Key><VersionId>{id}</VersionId><IsLatest>true</IsLatest>\
         <LastModified>2024-01-01T00:00:00Z</LastModified><Size>1</Size></Version>"
    )
}

fn page(inner: &str) -> String {
    format!("{HEAD}<Name>logs</Name>{inner}</ListVersionsResult>\n")
}

fn encoded(inner: &str) -> String {
    page(&format!("<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{inner}"))
}

fn truncated(inner: &str) -> String {
    page(&format!("<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>{inner}"))
}

fn marker(key: &str, id: Option<&str>) -> Marker {
    Marker { key: key.into(), version_id: id.and_then(VersionId::new) }
}

fn keys(page: &Page) -> Vec<&str> {
    page.versions.iter().map(|version| version.key.as_str().expect("UTF-8")).collect()
}

fn wire_of(result: Result<Page, Fault>) -> Option<Tripwire> {
    match result {
        Err(Fault::Tripwire(wire, _)) => Some(wire),
        _ => None,
    }
}

#[test]
fn a_page_of_aws_in_document_order() {
    let page = read_from(AWS_PAGE, "a", None, None).expect("a page");
    let [marker_entry, first, second] = page.versions.as_slice() else { panic!("{page:?}") };
    assert_eq!(marker_entry.kind, Kind::DeleteMarker);
    assert_eq!(marker_entry.key, Key::from("a\r\u{1}"));
    assert!(marker_entry.is_latest && marker_entry.size == 0 && marker_entry.etag.is_none());
    assert_eq!(first.id.as_str(), "v1");
    assert!(!first.is_latest);
    assert_eq!(first.size, 12_345_678_901);
    assert_eq!(first.etag.as_deref(), Some("\"9b2cf535f27731c974343645a3985328\""));
    assert_eq!(first.storage_class.as_deref(), Some("GLACIER_IR"));
    assert_eq!(first.last_modified.to_string(), "2024-02-28T00:00:00.123Z");
    assert_eq!(second.key, Key::from("a b+ü"));
    assert_eq!(page.next, Some(marker("a b+ü", Some("null"))));
}

#[test]
fn a_page_cut_at_any_byte_is_no_page() {
    for cut in 0..AWS_PAGE.len() {
        if let Ok(text) = std::str::from_utf8(&AWS_PAGE.as_bytes()[..cut]) {
            assert!(matches!(read_from(text, "a", None, None), Err(Fault::Malformed(_))), "{cut}");
        }
    }
}

#[test]
fn nothing_may_stand_behind_or_beside_the_root() {
    for behind in ["x", "<a/>", "<ListVersionsResult/>", "<!-- c -->", "&amp;", "\u{0}"] {
        assert!(matches!(read(&(encoded("") + behind)), Err(Fault::Malformed(_))), "{behind}");
    }
    assert!(read(&(encoded("") + " \r\n\t")).is_ok());
    assert!(read(&format!("  \n{}", encoded(""))).is_ok());
    for body in ["", "<html></html>", "<Error><Code>x</Code></Error>", "<ListBucketResult/>", "{}"] {
        assert!(matches!(read(body), Err(Fault::Malformed(_))), "{body}");
    }
}

#[test]
fn an_entry_lacking_what_is_needed_voids_the_page() {
    let good = version("k", "v");
    assert!(read(&encoded(&good)).is_ok());
    for (part, instead) in [
        ("<Key>k</Key>", ""),
        ("<Key>k</Key>", "<Key/>"),
        ("<Key>k</Key>", "<Key>k</Key><Key>l</Key>"),
        ("<VersionId>v</VersionId>", ""),
        ("<VersionId>v</VersionId>", "<VersionId></VersionId>"),
        ("<IsLatest>true</IsLatest>", ""),
        ("<IsLatest>true</IsLatest>", "<IsLatest>maybe</IsLatest>"),
        ("<Size>1</Size>", ""),
        ("<Size>1</Size>", "<Size>-1</Size>"),
        ("2024-01-01T00:00:00Z", "yesterday"),
        ("<Size>1</Size>", "stray<Size>1</Size>"),
    ] {
        let bad = encoded(&good.replace(part, instead));
        assert!(matches!(read(&bad), Err(Fault::Malformed(_))), "{part} -> {instead}");
    }
    let prefixed = encoded("<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>");
    assert!(matches!(read(&prefixed), Err(Fault::Malformed(_))));
    assert!(matches!(read(&page("<EncodingType>url</EncodingType>")), Err(Fault::Malformed(_))));
    let many = encoded(&good.repeat(1001));
    assert!(matches!(read(&many), Err(Fault::Malformed(_))));
}

#[test]
fn keys_are_decoded_only_where_the_answer_says_so() {
    let plain = page(&format!("<IsTruncated>false</IsTruncated>{}", version("a%20+b &amp;", "v")));
    assert_eq!(keys(&read(&plain).expect("a page")), ["a%20+b &"]);
    let url = encoded(&version("a%20%26", "v"));
    assert_eq!(keys(&read(&url).expect("a page")), ["a &"]);
}

#[test]
fn encoding_type_may_come_behind_the_keys() {
    let inner =
        format!("{}<IsTruncated>false</IsTruncated><EncodingType>url</EncodingType>", version("%41", "v"));
    assert_eq!(keys(&read(&page(&inner)).expect("a page")), ["A"]);
}

#[test]
fn a_plus_means_what_the_rest_of_the_page_shows() {
    let aws = encoded(&(version("a+b", "1") + &version("c%2Bd", "2")));
    assert_eq!(keys(&read(&aws).expect("a page")), ["a b", "c+d"]);
    let as_path = encoded(&(version("a+b", "1") + &version("c%20d", "2")));
    assert_eq!(keys(&read(&as_path).expect("a page")), ["a+b", "c d"]);
    let unclear = encoded(&version("a+b", "1"));
    for entity in ["+", "&#43;", "&#x2B;"] {
        assert_eq!(read(&encoded(&version(&format!("a{entity}b"), "1"))), Err(Fault::UnclearPlus));
    }
    for (plus, key) in [(Plus::Space, "a b"), (Plus::Literal, "a+b")] {
        assert_eq!(keys(&read_from(&unclear, "", None, Some(plus)).expect("a page")), [key]);
    }
    // The echo of the prefix decides as well.
    let echoed = encoded(&format!("<Prefix>a+</Prefix>{}", version("a+b", "1")));
    assert_eq!(keys(&read_from(&echoed, "a ", None, None).expect("a page")), ["a b"]);
    let echoed = encoded(&format!("<Prefix>%61+</Prefix>{}", version("a+b", "1")));
    assert_eq!(keys(&read_from(&echoed, "a+", None, None).expect("a page")), ["a+b"]);
}

#[test]
fn the_next_marker_is_the_entry_that_the_version_id_names() {
    // Ceph RGW: keys encoded, markers not.
    let rgw = truncated(&format!(
        "{}{}<NextKeyMarker>b%c d</NextKeyMarker><NextVersionIdMarker>v2</NextVersionIdMarker>",
        version("a", "v1"),
        version("b%25c%20d", "v2")
    ));
    assert_eq!(read(&rgw).expect("a page").next, Some(marker("b%c d", Some("v2"))));
    // `null` is everybody's id: the entry that NextKeyMarker names, or the last in order.
    let nulls = |next: &str| {
        truncated(&format!(
            "{}{}{}{next}<NextVersionIdMarker>null</NextVersionIdMarker>",
            version("a", "null"),
            version("c", "null"),
            version("b", "null")
        ))
    };
    let next = |next: &str| read(&nulls(next)).expect("a page").next;
    assert_eq!(next("<NextKeyMarker>b</NextKeyMarker>"), Some(marker("b", Some("null"))));
    assert_eq!(next(""), Some(marker("c", Some("null"))));
    // An empty page that goes on.
    let empty = truncated("<NextKeyMarker>x%20y</NextKeyMarker>");
    assert_eq!(read(&empty).expect("a page").next, Some(marker("x y", None)));
    // No entry of that id on the page.
    let other = truncated(&format!(
        "{}<NextKeyMarker>z%7E</NextKeyMarker><NextVersionIdMarker>v9</NextVersionIdMarker>",
        version("a", "v1")
    ));
    assert_eq!(read(&other).expect("a page").next, Some(marker("z~", Some("v9"))));
}

#[test]
fn a_listing_ends_only_where_the_server_says_so() {
    let last = encoded(&format!("{}<NextKeyMarker>a</NextKeyMarker>", version("a", "v")));
    assert_eq!(read(&last).expect("a page").next, None);
    let nowhere = truncated(&version("a", "v"));
    assert_eq!(wire_of(read(&nowhere)), Some(Tripwire::TruncatedWithoutMarker));
}

#[test]
fn the_marker_must_move() {
    let body = truncated(&format!(
        "{}<NextKeyMarker>b</NextKeyMarker><NextVersionIdMarker>v2</NextVersionIdMarker>",
        version("b", "v2")
    ));
    let from = |from: &Marker| wire_of(read_from(&body, "", Some(from), None));
    assert_eq!(from(&marker("b", Some("v2"))), Some(Tripwire::NoProgress));
    assert_eq!(from(&marker("c", None)), Some(Tripwire::NoProgress));
    assert_eq!(from(&marker("b", Some("v1"))), None);
    assert_eq!(from(&marker("b", None)), None);
    assert_eq!(from(&marker("a", Some("v2"))), None);
}

#[test]
fn an_answer_to_another_question_is_a_tripwire() {
    let wire = |inner: &str, prefix: &str, from: Option<&Marker>| {
        let body = format!(
            "{HEAD}<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{inner}</ListVersionsResult>"
        );
        wire_of(read_from(&body, prefix, from, None))
    };
    assert_eq!(wire("<Name>other</Name>", "", None), Some(Tripwire::EchoDiffers));
    assert_eq!(wire("<Prefix>b</Prefix>", "a", None), Some(Tripwire::EchoDiffers));
    assert_eq!(wire("<KeyMarker>b</KeyMarker>", "", None), Some(Tripwire::EchoDiffers));
    let from = marker("a%b c", None);
    assert_eq!(wire("<KeyMarker>a%b c</KeyMarker>", "", Some(&from)), None);
    assert_eq!(wire("<KeyMarker>a%25b+c</KeyMarker>", "", Some(&from)), None);
    assert_eq!(wire("<KeyMarker>a%25b%20c</KeyMarker>", "", Some(&from)), None);
    assert_eq!(wire("<Prefix/><KeyMarker/>", "a", Some(&from)), None);
    assert_eq!(wire(&version("b", "v"), "a", None), Some(Tripwire::PrefixIgnored));
}

#[test]
fn an_access_point_may_echo_what_it_likes() {
    let request = request(b"", None);
    let body = encoded("");
    assert!(parse(body.as_bytes(), &Asked { bucket: None, request: &request }, None).is_ok());
}

#[test]
fn a_body_from_elsewhere_is_read_as_strictly_as_an_answer() {
    let from_elsewhere = request(b"a", None);
    let page = from_elsewhere.read_answer(AWS_PAGE.as_bytes()).expect("a page");
    assert_eq!(page, read_from(AWS_PAGE, "a", None, None).expect("a page"));
    let cut = &AWS_PAGE.as_bytes()[..AWS_PAGE.len() - 1];
    assert!(from_elsewhere.read_answer(cut).is_err());
    let stray = request(b"b", None).read_answer(AWS_PAGE.as_bytes()).expect_err("another prefix");
    assert!(!stray.is_empty());
}

#[test]
fn the_query_is_encoded_strictly_and_never_sends_a_version_id_alone() {
    let from = marker("k+1/ü", Some("null"));
    let request = ListVersions { prefix: b"k 1", from: Some(&from), page_size: 0, wants_data: true };
    assert_eq!(
        request.query(),
        "encoding-type=url&key-marker=k%2B1%2F%C3%BC&max-keys=1&prefix=k%201&version-id-marker=null&versions="
    );
    let from = marker("", Some("v"));
    let request = ListVersions { prefix: b"", from: Some(&from), page_size: 5000, wants_data: true };
    assert_eq!(request.query(), "encoding-type=url&max-keys=1000&versions=");
}

proptest! {
    #[test]
    fn any_key_comes_through_a_page(key in proptest::collection::vec(any::<u8>(), 1..64), as_aws in any::<bool>()) {
        let mut text = query_value(&key);
        if as_aws {
            text = text.replace("%20", "+");
        }
        let page = read_from(&encoded(&version(&text, "v")), "", None, Some(Plus::Space)).expect("a page");
        prop_assert_eq!(page.versions[0].key.as_bytes(), key.as_slice());
    }

    #[test]
    fn a_changed_byte_never_panics(at in 0..AWS_PAGE.len(), byte in any::<u8>()) {
        let mut body = AWS_PAGE.as_bytes().to_vec();
        body[at] = byte;
        let request = request(b"a", None);
        let _ = parse(&body, &Asked { bucket: Some("logs"), request: &request }, None);
    }
}

#[test]
fn etag_and_storage_class_are_told_where_they_are_wanted() {
    for wants_data in [true, false] {
        let request = ListVersions { wants_data, ..request(b"a", None) };
        let asked = Asked { bucket: Some("logs"), request: &request };
        let page = parse(AWS_PAGE.as_bytes(), &asked, None).unwrap();
        let told: Vec<_> = page.versions.iter().map(|entry| (&entry.etag, &entry.storage_class)).collect();
        assert_eq!(told.iter().any(|(etag, _)| etag.is_some()), wants_data, "{told:?}");
        assert_eq!(told.iter().any(|(_, class)| class.is_some()), wants_data, "{told:?}");
    }
}
