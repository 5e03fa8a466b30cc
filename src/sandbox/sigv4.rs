//! AWS Signature Version 4 in the Authorization header, verified as AWS does it: by computing the
//! signature of what arrived.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::clock;
use super::refusal::Refusal;
use super::request::Request;
use super::xml_out::signature_encode;
use crate::model::Timestamp;

/// A client's clock may differ by 15 minutes.
const SKEW_MAX_MILLIS: u64 = 15 * 60 * 1000;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The one pair of keys that the server knows, and where it says it is.
#[derive(Clone, Copy)]
pub(super) struct Identity<'a> {
    pub(super) access_key: &'a str,
    pub(super) secret_key: &'a str,
    pub(super) region: &'a str,
}

/// What the Authorization header says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Claim {
    pub(super) access_key: String,
    /// `date/region/s3/aws4_request`.
    pub(super) scope: String,
    pub(super) date: String,
    pub(super) region: String,
    service: String,
    signed_headers: Vec<String>,
    signature: String,
}

/// What a verified signature leaves for the chunks of a body, which are signed one after another.
#[derive(Clone)]
pub(super) struct Signed {
    key: [u8; 32],
    time: String,
    scope: String,
    /// The signature of the request, which the first chunk's builds on.
    pub(super) seed_signature: String,
}

impl Signed {
    /// The signature of a chunk behind another.
    pub(super) fn chunk_signature(&self, previous: &str, chunk: &[u8]) -> String {
        self.sign(&format!(
            "{ALGORITHM}-PAYLOAD\n{}\n{}\n{previous}\n{}\n{}",
            self.time,
            self.scope,
            sha256_hex(b""),
            sha256_hex(chunk)
        ))
    }

    /// The signature of the trailer behind the last chunk; `trailer` is `name:value\n`.
    pub(super) fn trailer_signature(&self, previous: &str, trailer: &str) -> String {
        self.sign(&format!(
            "{ALGORITHM}-TRAILER\n{}\n{}\n{previous}\n{}",
            self.time,
            self.scope,
            sha256_hex(trailer.as_bytes())
        ))
    }

    fn sign(&self, text: &str) -> String {
        hex::encode(hmac(&self.key, text.as_bytes()))
    }
}

/// Reads the Authorization header.
pub(super) fn read_claim(request: &Request) -> Result<Claim, Refusal> {
    let header = request.header("authorization").ok_or_else(|| Refusal::of("AccessDenied"))?;
    let Some(fields) = header.strip_prefix(ALGORITHM) else {
        return Err(Refusal::of("InvalidRequest").saying(
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ));
    };
    let field = |wanted: &str| {
        fields.split(',').filter_map(|field| field.trim().split_once('=')).find(|(name, _)| *name == wanted)
    };
    let missing = |what: &str| {
        Refusal::of("AuthorizationHeaderMalformed").saying(format!(
            "The authorization header is malformed; the authorization header requires three components: \
             Credential, SignedHeaders, and Signature. {what} is missing."
        ))
    };
    let (_, credential) = field("Credential").ok_or_else(|| missing("Credential"))?;
    let (_, signed_headers) = field("SignedHeaders").ok_or_else(|| missing("SignedHeaders"))?;
    let (_, signature) = field("Signature").ok_or_else(|| missing("Signature"))?;
    let malformed = || {
        Refusal::of("AuthorizationHeaderMalformed").saying(
            "The authorization header is malformed; the Credential is mal-formed; expecting \
             \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
        )
    };
    // An access key may hold slashes, the scope cannot.
    let mut parts = credential.rsplitn(5, '/');
    let mut part = || parts.next().map(str::to_owned).ok_or_else(malformed);
    let (end, service, region, date, access_key) = (part()?, part()?, part()?, part()?, part()?);
    if end != "aws4_request" {
        return Err(malformed());
    }
    Ok(Claim {
        scope: format!("{date}/{region}/{service}/{end}"),
        access_key,
        date,
        region,
        service,
        signed_headers: signed_headers.split(';').map(str::to_owned).collect(),
        signature: signature.to_owned(),
    })
}

/// Verifies a claim against what arrived.
pub(super) fn verify(
    request: &Request,
    claim: &Claim,
    identity: Identity<'_>,
    now: Timestamp,
) -> Result<Signed, Refusal> {
    if claim.access_key != identity.access_key {
        return Err(Refusal::of("InvalidAccessKeyId").with("AWSAccessKeyId", &*claim.access_key));
    }
    check_scope(claim, identity.region)?;
    let time = check_time(request, claim, now)?;
    check_signed_headers(request, claim)?;
    let payload = request.header("x-amz-content-sha256").ok_or_else(|| {
        Refusal::of("InvalidRequest").saying("Missing required header for this request: x-amz-content-sha256")
    })?;
    let canonical = canonical_request(request, claim, payload);
    let to_sign = format!("{ALGORITHM}\n{time}\n{}\n{}", claim.scope, sha256_hex(canonical.as_bytes()));
    let key = signing_key(identity.secret_key, claim);
    let signed = Signed { key, time, scope: claim.scope.clone(), seed_signature: claim.signature.clone() };
    if signed.sign(&to_sign) != claim.signature {
        return Err(Refusal::of("SignatureDoesNotMatch")
            .with("AWSAccessKeyId", &*claim.access_key)
            .with("StringToSign", to_sign)
            .with("SignatureProvided", &*claim.signature)
            .with("CanonicalRequest", canonical));
    }
    Ok(signed)
}

fn check_scope(claim: &Claim, region: &str) -> Result<(), Refusal> {
    if claim.region != region {
        return Err(Refusal::of("AuthorizationHeaderMalformed")
            .saying(format!(
                "The authorization header is malformed; the region '{}' is wrong; expecting '{region}'",
                claim.region
            ))
            .with("Region", region)
            .header("x-amz-bucket-region", region));
    }
    if claim.service != "s3" {
        return Err(Refusal::of("AuthorizationHeaderMalformed").saying(format!(
            "The authorization header is malformed; incorrect service \"{}\". This endpoint belongs to \"s3\".",
            claim.service
        )));
    }
    Ok(())
}

/// The time of the request in the form that was signed.
fn check_time(request: &Request, claim: &Claim, now: Timestamp) -> Result<String, Refusal> {
    let text = request.header("x-amz-date").or_else(|| request.header("date"));
    let Some((text, at)) = text.and_then(|text| Some((text, clock::parse_date(text)?))) else {
        return Err(Refusal::of("AccessDenied")
            .saying("AWS authentication requires a valid Date or x-amz-date header"));
    };
    if at.as_millis().abs_diff(now.as_millis()) > SKEW_MAX_MILLIS {
        return Err(Refusal::of("RequestTimeTooSkewed")
            .with("RequestTime", text)
            .with("ServerTime", now.floor_to_second().to_string())
            .with("MaxAllowedSkewMilliseconds", SKEW_MAX_MILLIS.to_string()));
    }
    let time = clock::amz_date(at);
    if !time.starts_with(&claim.date) {
        return Err(Refusal::of("AuthorizationHeaderMalformed").saying(format!(
            "The authorization header is malformed; Invalid credential date \"{}\". This date is not the same \
             as X-Amz-Date: \"{time}\".",
            claim.date
        )));
    }
    Ok(time)
}

/// `host` and every `x-amz-*` header have to be signed.
fn check_signed_headers(request: &Request, claim: &Claim) -> Result<(), Refusal> {
    let is_signed = |name: &str| claim.signed_headers.iter().any(|signed| signed == name);
    let unsigned: Vec<&str> = request
        .headers
        .keys()
        .map(|name| name.as_str())
        .filter(|name| (name.starts_with("x-amz-") || *name == "host") && !is_signed(name))
        .collect();
    if unsigned.is_empty() {
        return Ok(());
    }
    Err(Refusal::of("AccessDenied")
        .saying("There were headers present in the request which were not signed")
        .with("HeadersNotSigned", unsigned.join(", ")))
}

/// The request in the form that is signed. The path is what was sent, with its escapes in the form
/// that is prescribed: never shortened, since `..` and `//` are part of a key.
fn canonical_request(request: &Request, claim: &Claim, payload: &str) -> String {
    let path = signature_encode(&percent_decode(&request.raw_path), true);
    let mut query: Vec<String> = request
        .query
        .iter()
        .map(|(name, value)| {
            format!(
                "{}={}",
                signature_encode(name.as_bytes(), false),
                signature_encode(value.as_bytes(), false)
            )
        })
        .collect();
    query.sort();
    let mut text = format!("{}\n{path}\n{}\n", request.method, query.join("&"));
    for name in &claim.signed_headers {
        let values: Vec<String> =
            request.headers.get_all(name).iter().map(|value| single_spaced(value.as_bytes())).collect();
        text.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    text.push_str(&format!("\n{}\n{payload}", claim.signed_headers.join(";")));
    text
}

fn percent_decode(raw: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(raw).collect()
}

/// A header's value without white space around it and with single spaces in it.
fn single_spaced(value: &[u8]) -> String {
    String::from_utf8_lossy(value).split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn signing_key(secret_key: &str, claim: &Claim) -> [u8; 32] {
    let by_date = hmac(format!("AWS4{secret_key}").as_bytes(), claim.date.as_bytes());
    let by_region = hmac(&by_date, claim.region.as_bytes());
    let by_service = hmac(&by_region, claim.service.as_bytes());
    hmac(&by_service, b"aws4_request")
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests;
