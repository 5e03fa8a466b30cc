//! The pure parts of an attempt; `s3::tests` has the rest, over a socket.

use reqwest::header::HeaderValue;

use super::*;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (reqwest::header::HeaderName::from_static(name), HeaderValue::from_static(value))
        })
        .collect()
}

#[test]
fn a_url_that_would_name_another_key_is_refused() {
    for odd in ["a/../b", "a/./b", "../b", ".", "..", "a/%2E%2E/b", "a/%2e/b", "a/.%2e/b"] {
        assert!(faithful_url(&format!("http://h/bucket/{odd}?versionId=1")).is_err(), "{odd}");
    }
    for good in ["a//b", "/a", "a/...", "a%2F..%2Fb", "a/b.", "%00%0D", "~-_.a", "%FF", "a/..b"] {
        let wire = format!("http://h:1/bucket/{good}?versionId=1");
        assert_eq!(faithful_url(&wire).map(|url| url.as_str().to_owned()), Ok(wire));
    }
    assert!(faithful_url("http://h/b?prefix=%FF").is_err());
}

#[test]
fn what_speaks_s3_and_what_does_not() {
    let html = headers(&[("content-type", "text/html; charset=utf-8")]);
    let xml = headers(&[("content-type", "application/xml")]);
    let with_id = headers(&[("content-type", "text/html"), ("x-amz-request-id", "1")]);
    let none = HeaderMap::new();
    assert!(speaks_s3(&with_id, b"<html>"));
    assert!(speaks_s3(&xml, b""));
    assert!(speaks_s3(&none, b"\n<VersioningConfiguration/>"));
    assert!(!speaks_s3(&html, b""));
    assert!(!speaks_s3(&html, b"<?xml version=\"1.0\"?><html/>"));
    assert!(!speaks_s3(&xml, b"<!DocType html><html>"));
    assert!(!speaks_s3(&none, b""));
    assert!(!speaks_s3(&none, b"hello"));
    assert!(!speaks_s3(&headers(&[("content-type", "application/json")]), b"{}"));
}

#[test]
fn the_servers_wish_is_read_in_all_its_forms() {
    assert_eq!(wish(&headers(&[("retry-after", "7")])), Some(Duration::from_secs(7)));
    assert_eq!(
        wish(&headers(&[("x-amz-retry-after", "1500"), ("retry-after", "7")])),
        Some(Duration::from_millis(1500))
    );
    let dated = headers(&[
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"),
    ]);
    assert_eq!(wish(&dated), Some(Duration::from_secs(30)));
    assert_eq!(wish(&headers(&[("retry-after", "soon")])), None);
    assert_eq!(wish(&headers(&[])), None);
}

#[test]
fn a_tls_error_is_found_however_often_it_is_wrapped() {
    let bad = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
    let wrapped = std::io::Error::other(std::io::Error::other(bad.clone()));
    assert_eq!(tls_error(&wrapped), Some(&bad));
    assert_eq!(tls_error(&bad), Some(&bad));
    assert_eq!(tls_error(&std::io::Error::other("plain")), None);
    assert_eq!(tls_error(&std::io::Error::from(std::io::ErrorKind::NotFound)), None);
}

#[test]
fn a_token_that_a_server_repeats_is_taken_out() {
    let operation = crate::s3::Operation::DeleteObjects;
    let context = Context { operation, bucket: "b", key: None, version_id: None };
    let mut call = Call::ask(context, Method::POST, "delete=");
    call.headers.push(("x-amz-mfa", "arn:device 918273".into()));
    assert_eq!(call.redact("bad token 918273 of arn:device".into()), "bad token *** of arn:device");
}
