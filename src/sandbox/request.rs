//! A request taken apart: where it is addressed to, and what it carries. Nothing is normalised: the
//! path is read from the bytes on the wire.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper::http::request::Parts;

use super::refusal::Refusal;
use crate::model::Key;

/// The longest key that S3 takes, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// A request whose body has arrived.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// As it stands in the request line, without the query.
    pub(super) raw_path: String,
    /// Names and values, decoded, in their order.
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    /// As it came, chunk framing included.
    pub(super) body: Bytes,
    /// From the host or from the first part of the path.
    pub(super) bucket: Option<String>,
    pub(super) key: Option<Key>,
}

impl Request {
    /// Takes the head of a request apart. `domain` is the name under which buckets are hosts.
    pub(super) fn of_head(parts: Parts, domain: &str) -> Result<Self, Refusal> {
        let raw_path = parts.uri.path().to_owned();
        let query = parse_query(parts.uri.query().unwrap_or(""))?;
        let host = parts
            .headers
            .get("host")
            .and_then(|host| host.to_str().ok())
            .or_else(|| parts.uri.authority().map(|authority| authority.as_str()))
            .unwrap_or("");
        let inside = raw_path.strip_prefix('/').ok_or_else(|| Refusal::of("InvalidURI"))?;
        let (bucket, raw_key) = match bucket_of_host(host, domain) {
            Some(bucket) => (bucket, inside),
            None => {
                let (bucket, key) = inside.split_once('/').unwrap_or((inside, ""));
                (decode_text(bucket, false)?, key)
            }
        };
        let key = decode_text(raw_key, false)?;
        if key.len() > KEY_BYTES_MAX {
            return Err(Refusal::of("KeyTooLongError")
                .with("Size", key.len().to_string())
                .with("MaxSizeAllowed", KEY_BYTES_MAX.to_string()));
        }
        Ok(Self {
            method: parts.method.as_str().to_owned(),
            raw_path,
            query,
            headers: parts.headers,
            body: Bytes::new(),
            bucket: (!bucket.is_empty()).then_some(bucket),
            key: (!key.is_empty()).then(|| Key::from(key)),
        })
    }

    /// The value of a header, where it is there and is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The value of a query parameter.
    pub(super) fn argument(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The bucket.
    pub(super) fn bucket(&self) -> Result<&str, Refusal> {
        self.bucket.as_deref().ok_or_else(|| Refusal::of("InvalidBucketName"))
    }

    /// The key.
    pub(super) fn key(&self) -> Result<&Key, Refusal> {
        self.key.as_ref().ok_or_else(|| Refusal::of("InvalidURI"))
    }
}

/// The bucket that a host names: `bucket.domain`, with or without a port and an `s3.` in front of
/// the domain. An address, or the domain itself, names none.
fn bucket_of_host(host: &str, domain: &str) -> Option<String> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    if name.parse::<IpAddr>().is_ok() {
        return None;
    }
    let bucket = name.strip_suffix(domain)?.strip_suffix('.')?;
    let bucket = bucket.strip_suffix(".s3").unwrap_or(bucket);
    (!bucket.is_empty() && bucket != "s3").then(|| bucket.to_owned())
}

/// The names and values of a query, decoded.
pub(super) fn parse_query(raw: &str) -> Result<Vec<(String, String)>, Refusal> {
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode_text(name, true)?, decode_text(value, true)?))
        })
        .collect()
}

/// Decodes percent escapes. Keys and parameters are UTF-8: what is not is InvalidURI, as on AWS.
pub(super) fn decode_text(raw: &str, plus_is_space: bool) -> Result<String, Refusal> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'%' => {
                let digits = rest.get(..2).ok_or_else(|| Refusal::of("InvalidURI"))?;
                let mut byte = [0];
                hex::decode_to_slice(digits, &mut byte).map_err(|_| Refusal::of("InvalidURI"))?;
                out.push(byte[0]);
                rest = &rest[2..];
            }
            b'+' if plus_is_space => out.push(b' '),
            _ => out.push(first),
        }
    }
    String::from_utf8(out).map_err(|_| Refusal::of("InvalidURI"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, host: &str) -> Result<Request, Refusal> {
        let (parts, ()) =
            hyper::Request::builder().uri(uri).header("host", host).body(()).unwrap().into_parts();
        Request::of_head(parts, "localhost")
    }

    #[test]
    fn a_bucket_is_in_the_path_or_in_the_host() {
        for (uri, host, bucket, key) in [
            ("/b/k", "127.0.0.1:9000", Some("b"), Some("k")),
            ("/b", "localhost:9000", Some("b"), None),
            ("/b/", "[::1]:9000", Some("b"), None),
            ("/k/l", "b.localhost:9000", Some("b"), Some("k/l")),
            ("/", "my.bucket.s3.localhost", Some("my.bucket"), None),
            ("/", "s3.localhost", None, None),
        ] {
            let request = request(uri, host).unwrap();
            assert_eq!(request.bucket.as_deref(), bucket, "{uri} {host}");
            assert_eq!(request.key, key.map(Key::from), "{uri} {host}");
        }
    }

    #[test]
    fn a_key_is_what_the_wire_says() {
        for (uri, key) in [
            ("/b//x", "/x"),
            ("/b/a/../c", "a/../c"),
            ("/b/%2E%2E/c", "../c"),
            ("/b/a+b%2Bc%20d", "a+b+c d"),
            ("/b/./%00", "./\0"),
            ("/b/a/", "a/"),
        ] {
            assert_eq!(request(uri, "127.0.0.1").unwrap().key, Some(Key::from(key)), "{uri}");
        }
    }

    #[test]
    fn a_plus_in_the_query_is_a_space() {
        let request = request("/b?prefix=a+b%2B&versions&key-marker=%C3%BC", "localhost").unwrap();
        assert_eq!(request.argument("prefix"), Some("a b+"));
        assert_eq!(request.argument("versions"), Some(""));
        assert_eq!(request.argument("key-marker"), Some("ü"));
    }

    #[test]
    fn what_cannot_be_a_key_is_refused() {
        for (uri, code) in [("/b/%ff", "InvalidURI"), ("/b/%2", "InvalidURI"), ("/b?x=%zz", "InvalidURI")] {
            assert_eq!(request(uri, "localhost").unwrap_err().code, code, "{uri}");
        }
        assert!(request(&format!("/b/{}", "k".repeat(1024)), "localhost").is_ok());
        let long = request(&format!("/b/{}", "k".repeat(1025)), "localhost").unwrap_err();
        assert_eq!(long.code, "KeyTooLongError");
    }
}
