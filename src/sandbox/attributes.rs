//! What a request that makes a version says about it besides the data.

use super::acl;
use super::checksum;
use super::clock;
use super::encryption::Encryption;
use super::entry::{Extra, Lock, RetentionMode, storage_class_index};
use super::ops::Context;
use super::refusal::Refusal;
use super::request::Request;
use super::store::Bucket;
use super::tags;
use crate::model::Timestamp;

/// The storage class in the header; STANDARD where there is none.
pub(super) fn storage_class(request: &Request) -> Result<u8, Refusal> {
    let class = request.header("x-amz-storage-class").unwrap_or("STANDARD");
    storage_class_index(class)
        .ok_or_else(|| Refusal::of("InvalidStorageClass").with("StorageClassRequested", class))
}

/// All that the headers say, with no data yet.
pub(super) fn asked(context: &Context<'_>, request: &Request, bucket: &Bucket) -> Result<Extra, Refusal> {
    let redirect = request.header("x-amz-website-redirect-location").map(str::to_owned);
    if redirect.as_deref().is_some_and(|to| !["/", "http://", "https://"].iter().any(|s| to.starts_with(s))) {
        return Err(Refusal::of("InvalidRedirectLocation"));
    }
    Ok(Extra {
        headers: kept_headers(request),
        lock: lock(request, bucket, context.now)?,
        tags: request.header("x-amz-tagging").map_or(Ok(Vec::new()), tags::of_header)?,
        encryption: Encryption::asked(request)?,
        redirect,
        grants: acl::asked(request, &context.canonical_owner())?,
        ..Extra::default()
    })
}

/// The header of the checksum that a request wants to be computed.
pub(super) fn checksum_header(request: &Request) -> Result<Option<&'static str>, Refusal> {
    let asked =
        request.header("x-amz-checksum-algorithm").or_else(|| request.header("x-amz-sdk-checksum-algorithm"));
    let Some(name) = asked else { return Ok(None) };
    checksum::header_of(name).map(Some).ok_or_else(|| {
        Refusal::of("InvalidRequest").saying(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: \
             [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        )
    })
}

/// The headers that come back with the data.
pub(super) fn kept_headers(request: &Request) -> Vec<(String, String)> {
    let is_kept = |name: &str| {
        name.starts_with("x-amz-meta-")
            || matches!(name, "content-type" | "cache-control" | "content-disposition" | "content-language")
            || matches!(name, "content-encoding" | "expires")
    };
    request
        .headers
        .iter()
        .filter(|(name, _)| is_kept(name.as_str()))
        .filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), std::str::from_utf8(value.as_bytes()).ok()?))
        })
        .filter_map(|(name, value)| {
            // `aws-chunked` describes the way, not the data.
            let value = if name == "content-encoding" {
                value
                    .split(',')
                    .map(str::trim)
                    .filter(|part| *part != "aws-chunked")
                    .collect::<Vec<_>>()
                    .join(",")
            } else {
                value.to_owned()
            };
            (!value.is_empty()).then_some((name, value))
        })
        .collect()
}

/// The lock that the headers ask for.
fn lock(request: &Request, bucket: &Bucket, now: Timestamp) -> Result<Lock, Refusal> {
    let refuse = |message: &'static str| Refusal::of("InvalidArgument").saying(message);
    let mode = match request.header("x-amz-object-lock-mode") {
        None => None,
        Some("GOVERNANCE") => Some(RetentionMode::Governance),
        Some("COMPLIANCE") => Some(RetentionMode::Compliance),
        Some(_) => return Err(refuse("Unknown wormMode directive.")),
    };
    let until = request.header("x-amz-object-lock-retain-until-date").map(|text| {
        clock::parse_rfc_3339(text)
            .ok_or_else(|| refuse("The retain until date must be provided in ISO 8601 format"))
    });
    let retention = match (mode, until.transpose()?) {
        (Some(_), Some(until)) if until <= now => {
            return Err(refuse("The retain until date must be in the future!"));
        }
        (Some(mode), Some(until)) => Some((mode, until)),
        (None, None) => None,
        _ => {
            return Err(refuse(
                "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
            ));
        }
    };
    let hold = request.header("x-amz-object-lock-legal-hold");
    if !matches!(hold, None | Some("ON" | "OFF")) {
        return Err(refuse("Legal Hold must be either of 'ON' or 'OFF'"));
    }
    if (hold.is_some() || retention.is_some()) && !bucket.object_lock {
        return Err(Refusal::of("InvalidRequest").saying("Bucket is missing Object Lock Configuration"));
    }
    Ok(Lock { legal_hold: hold == Some("ON"), retention })
}
