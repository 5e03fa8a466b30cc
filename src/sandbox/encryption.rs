//! Server-side encryption: nothing is encrypted, but what was asked for is remembered, shown, and a
//! customer's key is wanted again wherever the data is read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest, Md5};

use super::refusal::Refusal;
use super::reply::Reply;
use super::request::Request;

/// How a version is encrypted.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Encryption {
    /// SSE-S3.
    Managed,
    /// SSE-KMS.
    Kms {
        /// `aws:kms` or `aws:kms:dsse`.
        algorithm: String,
        /// As it was given; an id of the sandbox's where none was.
        key_id: String,
        /// As it was given.
        context: Option<String>,
        /// Whether a bucket key was asked for.
        bucket_key: bool,
    },
    /// SSE-C.
    Customer {
        /// MD5 of the key in base64; the key itself is not kept.
        key_md5: String,
    },
}

/// The digest of a customer's key and the context stay out of every output.
impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}

const KMS_DEFAULT_KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000";

const WRONG_PARAMETERS: &str = "The encryption parameters are not applicable to this object.";
const MISSING_PARAMETERS: &str = "The object was stored using a form of Server Side Encryption. The correct \
                                  parameters must be provided to retrieve the object.";

impl Encryption {
    /// A word for what it is, with the KMS key.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Managed => "AES256".to_owned(),
            Self::Kms { algorithm, key_id, bucket_key, .. } => {
                let bucket_key = if *bucket_key { " with a bucket key" } else { "" };
                format!("{algorithm} {key_id}{bucket_key}")
            }
            Self::Customer { .. } => "customer".to_owned(),
        }
    }

    /// Whether ETags are the MD5 of the data.
    pub(super) fn shows_md5(&self) -> bool {
        matches!(self, Self::Managed)
    }

    /// What a request asks for that makes a version.
    pub(super) fn asked(request: &Request) -> Result<Option<Self>, Refusal> {
        let customer = customer_key(request, "x-amz-server-side-encryption-customer")?;
        let key_id = request.header("x-amz-server-side-encryption-aws-kms-key-id");
        match (request.header("x-amz-server-side-encryption"), customer) {
            (None, None) if key_id.is_some() => Err(Refusal::of("InvalidArgument").saying(
                "Server Side Encryption with AWS KMS managed key requires HTTP header \
                 x-amz-server-side-encryption : aws:kms",
            )),
            (None, None) => Ok(None),
            (None, Some(key_md5)) => Ok(Some(Self::Customer { key_md5 })),
            (Some(_), Some(_)) => Err(Refusal::of("InvalidArgument").saying(
                "Server Side Encryption with Customer provided key is incompatible with the encryption \
                 method specified",
            )),
            (Some("AES256"), None) if key_id.is_none() => Ok(Some(Self::Managed)),
            (Some(algorithm @ ("aws:kms" | "aws:kms:dsse")), None) => Ok(Some(Self::Kms {
                algorithm: algorithm.to_owned(),
                key_id: key_id.unwrap_or(KMS_DEFAULT_KEY).to_owned(),
                context: request.header("x-amz-server-side-encryption-context").map(str::to_owned),
                bucket_key: request
                    .header("x-amz-server-side-encryption-bucket-key-enabled")
                    .is_some_and(|on| on.eq_ignore_ascii_case("true")),
            })),
            (Some(other), None) => Err(Refusal::argument(
                "x-amz-server-side-encryption",
                other,
                "The encryption method specified is not supported",
            )),
        }
    }

    /// Adds the headers by which answers show it.
    pub(super) fn show(&self, reply: Reply) -> Reply {
        match self {
            Self::Managed => reply.header("x-amz-server-side-encryption", "AES256"),
            Self::Kms { algorithm, key_id, bucket_key, .. } => {
                let reply = reply
                    .header("x-amz-server-side-encryption", algorithm)
                    .header("x-amz-server-side-encryption-aws-kms-key-id", key_id);
                if *bucket_key {
                    reply.header("x-amz-server-side-encryption-bucket-key-enabled", "true")
                } else {
                    reply
                }
            }
            Self::Customer { key_md5 } => reply
                .header("x-amz-server-side-encryption-customer-algorithm", "AES256")
                .header("x-amz-server-side-encryption-customer-key-MD5", key_md5),
        }
    }
}

/// Adds the headers of an encryption that may be none.
pub(super) fn show(encryption: Option<&Encryption>, reply: Reply) -> Reply {
    match encryption {
        Some(encryption) => encryption.show(reply),
        None => reply,
    }
}

/// Checks that a request brings the key that data was written with, and none where there is none.
/// `headers` is the beginning of the headers' names.
pub(super) fn check_key(
    encryption: Option<&Encryption>,
    request: &Request,
    headers: &str,
) -> Result<(), Refusal> {
    let given = customer_key(request, headers)?;
    match (encryption, given) {
        (Some(Encryption::Customer { key_md5 }), Some(given)) if *key_md5 == given => Ok(()),
        (Some(Encryption::Customer { .. }), Some(_)) => Err(Refusal::of("AccessDenied")),
        (Some(Encryption::Customer { .. }), None) => {
            Err(Refusal::of("InvalidRequest").saying(MISSING_PARAMETERS))
        }
        (_, Some(_)) => Err(Refusal::of("InvalidRequest").saying(WRONG_PARAMETERS)),
        (_, None) => Ok(()),
    }
}

/// The MD5 of the customer's key in the headers that begin so, in base64.
fn customer_key(request: &Request, headers: &str) -> Result<Option<String>, Refusal> {
    let header = |end: &str| request.header(&format!("{headers}-{end}"));
    let refuse = |message: &'static str| Err(Refusal::of("InvalidArgument").saying(message));
    match (header("algorithm"), header("key"), header("key-md5")) {
        (None, None, None) => Ok(None),
        (None, ..) => refuse(
            "Requests specifying Server Side Encryption with Customer provided keys must provide a valid \
             encryption algorithm.",
        ),
        (_, None, _) => refuse(
            "Requests specifying Server Side Encryption with Customer provided keys must provide an \
             appropriate secret key.",
        ),
        (_, _, None) => refuse(
            "Requests specifying Server Side Encryption with Customer provided keys must provide the client \
             calculated MD5 of the secret key.",
        ),
        (Some("AES256"), Some(key), Some(said)) => {
            let Some(key) = BASE64.decode(key).ok().filter(|key| key.len() == 32) else {
                return refuse("The secret key was invalid for the specified algorithm.");
            };
            let computed = BASE64.encode(Md5::digest(key));
            if said != computed {
                return refuse(
                    "The calculated MD5 hash of the key did not match the hash that was provided.",
                );
            }
            Ok(Some(computed))
        }
        _ => refuse("The encryption algorithm specified is not supported"),
    }
}
