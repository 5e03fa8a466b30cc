//! Signature Version 4 for the service `s3`.
//!
//! Signed is what is sent: the path is neither normalised nor encoded a second time, and the body's
//! SHA-256 goes out as `x-amz-content-sha256`.

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningParams, SigningSettings,
    UriPathNormalizationMode, sign as sign_v4,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::model::Timestamp;

use super::clock::system_time;

/// A request as it is signed.
pub(super) struct Unsigned<'a> {
    pub(super) method: &'a str,
    /// The whole URL, as it will be on the wire.
    pub(super) url: &'a str,
    /// Every header that is signed, besides `host` and those that signing adds.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
    /// The body's SHA-256 in hexadecimal, where it is known already.
    pub(super) body_sha256: Option<&'a str>,
}

/// All headers of a request but `host`: those given, and those of the signature.
pub(super) fn sign(
    request: &Unsigned<'_>,
    identity: &Identity,
    region: &str,
    time: Timestamp,
) -> Result<HeaderMap, String> {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let params: SigningParams<'_> = v4::SigningParams::builder()
        .identity(identity)
        .region(region)
        .name("s3")
        .time(system_time(time))
        .settings(settings)
        .build()
        .map_err(|why| why.to_string())?
        .into();
    let body = match request.body_sha256 {
        Some(digest) => SignableBody::Precomputed(digest.to_owned()),
        None => SignableBody::Bytes(request.body),
    };
    let signable = SignableRequest::new(request.method, request.url, request.headers.iter().copied(), body)
        .map_err(|why| why.to_string())?;
    let (instructions, _) = sign_v4(signable, &params).map_err(|why| why.to_string())?.into_parts();
    let (added, _) = instructions.into_parts();
    let mut all = HeaderMap::with_capacity(request.headers.len() + added.len());
    for (name, value) in
        request.headers.iter().copied().chain(added.iter().map(|header| (header.name(), header.value())))
    {
        let mut header = HeaderValue::from_str(value)
            .map_err(|_| format!("the header {name} holds a character that HTTP cannot carry"))?;
        header.set_sensitive(is_secret(name));
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("`{}` is no name of a header", name.escape_debug()))?;
        all.insert(name, header);
    }
    Ok(all)
}

/// Whether the value of a header must not be shown.
pub(super) fn is_secret(name: &str) -> bool {
    matches!(name, "authorization" | "x-amz-security-token" | "x-amz-mfa") || name.contains("customer-key")
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;

    use super::*;

    #[test]
    fn the_signature_equals_the_published_example() {
        // "GET Bucket (List Objects)" of the S3 API reference, Authenticating Requests.
        let identity: Identity = Credentials::new(
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            None,
            None,
            "test",
        )
        .into();
        let request = Unsigned {
            method: "GET",
            url: "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J",
            headers: &[],
            body: b"",
            body_sha256: None,
        };
        let time = Timestamp::from_millis(1_369_353_600_000);
        let headers = sign(&request, &identity, "us-east-1", time).expect("signs");
        assert_eq!(headers["x-amz-date"], "20130524T000000Z");
        let authorization = headers["authorization"].to_str().expect("text");
        assert!(
            authorization
                .ends_with("Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
            "{authorization}"
        );
        assert!(headers["authorization"].is_sensitive());
        assert!(!format!("{headers:?}").contains("34b48302"));
    }

    #[test]
    fn a_header_that_http_cannot_carry_is_an_error() {
        let identity: Identity = Credentials::new("a", "b", None, None, "test").into();
        let headers = [("x-amz-mfa", "serial 12\n34")];
        let request = Unsigned {
            method: "GET",
            url: "https://b.example.com/",
            headers: &headers,
            body: b"",
            body_sha256: None,
        };
        let why = sign(&request, &identity, "r", Timestamp::from_millis(0)).expect_err("refused");
        assert!(!why.contains("34"), "{why}");
    }
}
