//! Pages of parts and of uploads, one by one.

use super::*;

const PARTS: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListPartsResult xmlns=\"u\">\
    <Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId><Owner><ID>o</ID></Owner>\
    <StorageClass>STANDARD</StorageClass><PartNumberMarker>1</PartNumberMarker>\
    <NextPartNumberMarker>3</NextPartNumberMarker><MaxParts>2</MaxParts><IsTruncated>true</IsTruncated>\
    <ChecksumAlgorithm>SHA256</ChecksumAlgorithm><ChecksumType>COMPOSITE</ChecksumType>\
    <Part><PartNumber>2</PartNumber><LastModified>2010-11-10T20:48:34.000Z</LastModified>\
    <ETag>&quot;7778aef&quot;</ETag><Size>10485760</Size><ChecksumSHA256>x=</ChecksumSHA256></Part>\
    <Part><PartNumber>3</PartNumber><ETag>&quot;aaaa&quot;</ETag><Size>9</Size></Part></ListPartsResult>";

#[test]
fn a_page_of_parts_is_read_whole_or_not_at_all() {
    let page = parse_parts(PARTS.as_bytes(), 1).expect("a page");
    assert_eq!(page.next, Some(3));
    let read: Vec<(u32, &str, u64)> =
        page.parts.iter().map(|part| (part.number, &*part.etag, part.size)).collect();
    assert_eq!(read, [(2, "\"7778aef\"", 10_485_760), (3, "\"aaaa\"", 9)]);
    let checksum = page.parts[0].checksum.as_ref().expect("a checksum");
    assert_eq!((&*checksum.value, checksum.is_full_object), ("x=", true));
    for cut in 0..PARTS.len() {
        assert!(parse_parts(&PARTS.as_bytes()[..cut], 1).is_err(), "{cut}");
    }
}

#[test]
fn a_list_of_parts_that_does_not_add_up_is_no_answer() {
    let with = |from: &str, to: &str| PARTS.replace(from, to);
    for odd in [
        with("<NextPartNumberMarker>3</NextPartNumberMarker>", ""),
        with("<NextPartNumberMarker>3<", "<NextPartNumberMarker>2<"),
        with("<IsTruncated>true</IsTruncated>", ""),
        with("<PartNumber>3<", "<PartNumber>2<"),
        with("<PartNumber>2</PartNumber>", ""),
        with("<Size>9</Size>", ""),
        with("<Size>9</Size>", "<Size>-9</Size>"),
        with("&quot;aaaa&quot;", ""),
        with("ListPartsResult", "ListBucketResult"),
    ] {
        assert!(parse_parts(odd.as_bytes(), 1).is_err(), "{odd}");
    }
    // Parts that lie before the place to go on from.
    assert!(parse_parts(PARTS.as_bytes(), 2).is_err());
    let last = with("<IsTruncated>true<", "<IsTruncated>false<");
    assert_eq!(parse_parts(last.as_bytes(), 1).map(|page| page.next), Ok(None));
}

#[test]
fn a_page_of_uploads_is_read_as_it_says_it_is_encoded() {
    let page = |inside: &str| {
        format!(
            "<ListMultipartUploadsResult>{inside}<Upload><Key>a%2Bb+c</Key><UploadId>1</UploadId>\
                 <Initiator><ID>x</ID></Initiator></Upload></ListMultipartUploadsResult>"
        )
    };
    let read = |inside: &str, plus| parse_uploads(page(inside).as_bytes(), plus);
    let keys = |page: UploadsPage| page.uploads.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    let last = "<IsTruncated>false</IsTruncated>";
    let encoded = format!("<EncodingType>url</EncodingType>{last}");
    assert_eq!(read(last, Plus::Space).map(keys), Ok(vec![Key::from("a%2Bb+c")]));
    assert_eq!(read(&encoded, Plus::Space).map(keys), Ok(vec![Key::from("a+b c")]));
    assert_eq!(read(&encoded, Plus::Literal).map(keys), Ok(vec![Key::from("a+b+c")]));
    assert!(read("", Plus::Space).is_err());
    assert!(read("<IsTruncated>true</IsTruncated>", Plus::Space).is_err());
    let on = "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
        <NextKeyMarker>z%2F</NextKeyMarker><NextUploadIdMarker>9</NextUploadIdMarker>";
    assert_eq!(read(on, Plus::Space).map(|page| page.next), Ok(Some((Key::from("z/"), "9".into()))));
    let whole = page(&encoded);
    for cut in 0..whole.len() {
        assert!(parse_uploads(&whole.as_bytes()[..cut], Plus::Space).is_err(), "{cut}");
    }
}
