//! With the examples of AWS's documentation "Signature Calculations for the Authorization Header"
//! (single chunk and multiple chunks).

use hyper::body::Bytes;

use super::*;
use crate::sandbox::chunked;

const IDENTITY: Identity<'static> = Identity {
    access_key: "AKIAIOSFODNN7EXAMPLE",
    secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    region: "us-east-1",
};
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const CREDENTIAL: &str = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";

fn now() -> Timestamp {
    clock::parse_date("20130524T000000Z").unwrap()
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request {
    let mut builder = hyper::Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let (parts, ()) = builder.body(()).unwrap().into_parts();
    Request::of_head(parts, "s3.amazonaws.com").unwrap()
}

fn authorization(credential: &str, signed: &str, signature: &str) -> String {
    format!("AWS4-HMAC-SHA256 Credential={credential},SignedHeaders={signed},Signature={signature}")
}

fn check(request: &Request, now: Timestamp) -> Result<Signed, Refusal> {
    verify(request, &read_claim(request)?, IDENTITY, now)
}

/// GET Object: `GET /test.txt` with a Range.
fn get_object(signature: &str) -> Request {
    let authorization = authorization(CREDENTIAL, "host;range;x-amz-content-sha256;x-amz-date", signature);
    request(
        "GET",
        "/test.txt",
        &[
            ("host", "examplebucket.s3.amazonaws.com"),
            ("authorization", &authorization),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY),
            ("x-amz-date", "20130524T000000Z"),
        ],
    )
}

const GET_SIGNATURE: &str = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";

#[test]
fn the_documented_get_object_is_accepted() {
    assert!(check(&get_object(GET_SIGNATURE), now()).is_ok());
}

#[test]
fn the_documented_put_object_is_accepted() {
    let authorization = authorization(
        CREDENTIAL,
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
    let request = request(
        "PUT",
        "/test%24file.text",
        &[
            ("host", "examplebucket.s3.amazonaws.com"),
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("authorization", &authorization),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
        ],
    );
    assert!(check(&request, now()).is_ok());
}

#[test]
fn the_documented_bucket_requests_are_accepted() {
    for (uri, signature) in [
        ("/?lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("/?max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ] {
        let authorization = authorization(CREDENTIAL, "host;x-amz-content-sha256;x-amz-date", signature);
        let request = request(
            "GET",
            uri,
            &[
                ("host", "examplebucket.s3.amazonaws.com"),
                ("authorization", &authorization),
                ("x-amz-content-sha256", EMPTY),
                ("x-amz-date", "20130524T000000Z"),
            ],
        );
        assert!(check(&request, now()).is_ok(), "{uri}");
    }
}

#[test]
fn the_documented_chunked_upload_is_accepted() {
    let authorization = authorization(
        CREDENTIAL,
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
         x-amz-storage-class",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    );
    let mut request = request(
        "PUT",
        "/examplebucket/chunkObject.txt",
        &[
            ("host", "s3.amazonaws.com"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("authorization", &authorization),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("content-length", "66824"),
        ],
    );
    let signed = check(&request, now()).unwrap();
    let mut body = Vec::new();
    for (length, signature) in [
        (65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    ] {
        body.extend(format!("{length:x};chunk-signature={signature}\r\n").bytes());
        body.extend(std::iter::repeat_n(b'a', length));
        body.extend(b"\r\n");
    }
    request.body = Bytes::from(body.clone());
    assert_eq!(chunked::payload(&request, Some(&signed)).unwrap().bytes.len(), 66560);
    body[100] = b'b';
    request.body = Bytes::from(body);
    let refusal = chunked::payload(&request, Some(&signed)).unwrap_err();
    assert_eq!(refusal.code, "SignatureDoesNotMatch");
}

#[test]
fn another_signature_does_not_match_and_says_what_was_signed() {
    let refusal = check(&get_object(&GET_SIGNATURE.replace('f', "e")), now()).err().unwrap();
    assert_eq!((refusal.status, &*refusal.code), (403, "SignatureDoesNotMatch"));
    let canonical = refusal.details.iter().find(|(name, _)| *name == "CanonicalRequest").unwrap();
    assert!(canonical.1.starts_with("GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\n"));
    assert!(!format!("{refusal:?}").contains(IDENTITY.secret_key));
}

#[test]
fn a_clock_may_be_a_quarter_of_an_hour_off() {
    let request = get_object(GET_SIGNATURE);
    for (minutes, code) in [(-16, "RequestTimeTooSkewed"), (16, "RequestTimeTooSkewed"), (14, ""), (-14, "")]
    {
        let now = Timestamp::from_millis(now().as_millis() + minutes * 60_000);
        let got = check(&request, now).err().map_or_else(String::new, |refusal| refusal.code.into_owned());
        assert_eq!(got, code, "{minutes}");
    }
}

#[test]
fn each_wrong_claim_has_its_code() {
    let code = |credential: &str, signed: &str| {
        let authorization = authorization(credential, signed, "00");
        let request = request(
            "GET",
            "/b",
            &[
                ("host", "s3.amazonaws.com"),
                ("authorization", &authorization),
                ("x-amz-content-sha256", EMPTY),
                ("x-amz-date", "20130524T000000Z"),
            ],
        );
        let refusal = check(&request, now()).err().unwrap();
        (refusal.code.into_owned(), refusal.details)
    };
    let all = "host;x-amz-content-sha256;x-amz-date";
    assert_eq!(code("NOBODY/20130524/us-east-1/s3/aws4_request", all).0, "InvalidAccessKeyId");
    let (wrong_region, details) = code("AKIAIOSFODNN7EXAMPLE/20130524/eu-west-1/s3/aws4_request", all);
    assert_eq!(wrong_region, "AuthorizationHeaderMalformed");
    assert_eq!(details, [("Region", "us-east-1".to_owned())]);
    let malformed = "AuthorizationHeaderMalformed";
    assert_eq!(code("AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/ec2/aws4_request", all).0, malformed);
    assert_eq!(code("AKIAIOSFODNN7EXAMPLE/20130523/us-east-1/s3/aws4_request", all).0, malformed);
    assert_eq!(code("AKIAIOSFODNN7EXAMPLE", all).0, malformed);
    let (unsigned, details) = code(CREDENTIAL, "host;x-amz-date");
    assert_eq!(unsigned, "AccessDenied");
    assert_eq!(details, [("HeadersNotSigned", "x-amz-content-sha256".to_owned())]);
}

#[test]
fn without_a_signature_access_is_denied() {
    assert_eq!(read_claim(&request("GET", "/b", &[])).unwrap_err().code, "AccessDenied");
    let old = request("GET", "/b", &[("authorization", "AWS AKIAIOSFODNN7EXAMPLE:abc")]);
    assert_eq!(read_claim(&old).unwrap_err().code, "InvalidRequest");
}

#[test]
fn dots_and_slashes_in_a_path_are_part_of_the_key() {
    let request = request(
        "GET",
        "/b/a/../c//d%2e",
        &[("host", "h"), ("authorization", &authorization(CREDENTIAL, "host", "0"))],
    );
    let claim = read_claim(&request).unwrap();
    assert!(canonical_request(&request, &claim, EMPTY).starts_with("GET\n/b/a/../c//d.\n"));
}
