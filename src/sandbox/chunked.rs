//! Bodies that SDKs send in `aws-chunked` form: chunks with their length in front, with or without
//! a signature each, and a checksum behind the last.

use super::refusal::Refusal;
use super::request::Request;
use super::sigv4::{self, Signed};
use hyper::body::Bytes;

/// A body freed of its framing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Payload {
    pub(super) bytes: Bytes,
    /// Name and value of the checksum behind the last chunk.
    pub(super) trailer: Option<(String, String)>,
}

/// The body of a request as its `x-amz-content-sha256` describes it. `signed` is there where
/// signatures are verified.
pub(super) fn payload(request: &Request, signed: Option<&Signed>) -> Result<Payload, Refusal> {
    let body = &request.body;
    let whole = Payload { bytes: body.clone(), trailer: None };
    match request.header("x-amz-content-sha256").unwrap_or("UNSIGNED-PAYLOAD") {
        "UNSIGNED-PAYLOAD" => Ok(whole),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => unframe(request, None),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" | "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => {
            unframe(request, signed)
        }
        said if said.len() == 64 && said.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            let computed = sigv4::sha256_hex(body);
            if computed != said {
                return Err(Refusal::of("XAmzContentSHA256Mismatch")
                    .with("ClientComputedContentSHA256", said)
                    .with("S3ComputedContentSHA256", computed));
            }
            Ok(whole)
        }
        other => Err(Refusal::argument(
            "x-amz-content-sha256",
            other,
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
             STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, or a valid \
             sha256 value.",
        )),
    }
}

fn unframe(request: &Request, signed: Option<&Signed>) -> Result<Payload, Refusal> {
    let mut rest: &[u8] = &request.body;
    let mut bytes = Vec::with_capacity(rest.len());
    let mut previous = signed.map(|signed| signed.seed_signature.clone()).unwrap_or_default();
    loop {
        let line = take_line(&mut rest)?;
        let (length, extension) = line.split_once(';').unwrap_or((line, ""));
        let length = usize::from_str_radix(length.trim(), 16).map_err(|_| incomplete())?;
        let chunk = rest.get(..length).ok_or_else(incomplete)?;
        rest = &rest[length..];
        if let Some(signed) = signed {
            let said = extension.trim().strip_prefix("chunk-signature=").unwrap_or("");
            previous = signed.chunk_signature(&previous, chunk);
            if said != previous {
                return Err(Refusal::of("SignatureDoesNotMatch"));
            }
        }
        bytes.extend_from_slice(chunk);
        if length == 0 {
            break;
        }
        rest = rest.strip_prefix(b"\r\n").ok_or_else(incomplete)?;
    }
    let decoded = request.header("x-amz-decoded-content-length").and_then(|text| text.parse().ok());
    if decoded != Some(bytes.len()) {
        return Err(incomplete());
    }
    let trailer = take_trailer(request, rest, signed, &previous)?;
    Ok(Payload { bytes: bytes.into(), trailer })
}

/// The header behind the last chunk, where `x-amz-trailer` announces one.
fn take_trailer(
    request: &Request,
    mut rest: &[u8],
    signed: Option<&Signed>,
    previous: &str,
) -> Result<Option<(String, String)>, Refusal> {
    let Some(announced) = request.header("x-amz-trailer") else { return Ok(None) };
    let malformed = || Refusal::of("MalformedTrailerError");
    let line = take_line(&mut rest).map_err(|_| malformed())?;
    let (name, value) = line.split_once(':').ok_or_else(malformed)?;
    if name != announced {
        return Err(malformed());
    }
    if let Some(signed) = signed {
        let line = take_line(&mut rest).map_err(|_| malformed())?;
        let said = line.strip_prefix("x-amz-trailer-signature:").unwrap_or("");
        if said != signed.trailer_signature(previous, &format!("{name}:{}\n", value.trim())) {
            return Err(Refusal::of("SignatureDoesNotMatch"));
        }
    }
    Ok(Some((name.to_owned(), value.trim().to_owned())))
}

fn take_line<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Refusal> {
    let end = rest.windows(2).position(|pair| pair == b"\r\n").ok_or_else(incomplete)?;
    let line = std::str::from_utf8(&rest[..end]).map_err(|_| incomplete())?;
    *rest = &rest[end + 2..];
    Ok(line)
}

fn incomplete() -> Refusal {
    Refusal::of("IncompleteBody")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)], body: &[u8]) -> Request {
        let mut builder = hyper::Request::builder().method("PUT").uri("/b/k");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        let mut request = Request::of_head(parts, "localhost").unwrap();
        request.body = Bytes::copy_from_slice(body);
        request
    }

    const UNSIGNED: (&str, &str) = ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");

    #[test]
    fn chunks_and_trailer_are_taken_apart() {
        let body = b"3\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32:hYfYZQ==\r\n\r\n";
        let headers =
            [UNSIGNED, ("x-amz-decoded-content-length", "5"), ("x-amz-trailer", "x-amz-checksum-crc32")];
        let payload = payload(&request(&headers, body), None).unwrap();
        assert_eq!(payload.bytes, "abcde");
        assert_eq!(payload.trailer, Some(("x-amz-checksum-crc32".into(), "hYfYZQ==".into())));
    }

    #[test]
    fn a_body_that_ends_early_is_incomplete() {
        let whole = b"3\r\nabc\r\n0\r\n\r\n";
        let headers = [UNSIGNED, ("x-amz-decoded-content-length", "3")];
        assert_eq!(payload(&request(&headers, whole), None).unwrap().bytes, "abc");
        for length in 0..9 {
            let refusal = payload(&request(&headers, &whole[..length]), None).unwrap_err();
            assert_eq!(refusal.code, "IncompleteBody", "{length}");
        }
        let headers = [UNSIGNED, ("x-amz-decoded-content-length", "4")];
        assert_eq!(payload(&request(&headers, whole), None).unwrap_err().code, "IncompleteBody");
    }

    #[test]
    fn the_hash_of_a_plain_body_is_verified() {
        let good = sigv4::sha256_hex(b"abc");
        let headers = [("x-amz-content-sha256", good.as_str())];
        assert!(payload(&request(&headers, b"abc"), None).is_ok());
        let refusal = payload(&request(&headers, b"abd"), None).unwrap_err();
        assert_eq!(refusal.code, "XAmzContentSHA256Mismatch");
        let odd = payload(&request(&[("x-amz-content-sha256", "odd")], b""), None).unwrap_err();
        assert_eq!(odd.code, "InvalidArgument");
    }
}
