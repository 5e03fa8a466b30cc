//! What each error code asks of the caller: one table for requests and for items of a batch.
//!
//! The codes are those of the S3 API reference's error list, the throttling codes of the AWS SDKs,
//! and the KMS codes that S3 passes on. Breakers ("so many refusals in a row") are the engine's.

use std::time::Duration;

use crate::model::Class;

/// Why nothing more can be achieved by a run as it is configured.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StopKind {
    /// The configuration cannot be used: bucket name, endpoint, certificate file.
    Config,
    /// Credentials are missing, refused, or lack a permission.
    Credentials,
    /// The bucket does not exist, lives elsewhere, or is in a state that allows no work.
    Target,
    /// The endpoint speaks no S3.
    NotS3,
    /// The server's certificate is not to be trusted.
    Certificate,
    /// The server refuses what this program sent as malformed: a bug of ours.
    Bug,
    /// An answer that none of our requests should draw.
    Unexpected,
    /// The server broke a promise that deletion relies on.
    Tripwire(Tripwire),
}

/// The promises of the protocol that a run cannot do without.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Tripwire {
    /// A delete marker appeared although a version id was sent, or the server acted on another version.
    VersionIdIgnored,
    /// An answer names a key or a version that was not asked for.
    ForeignKey,
    /// A listing shows a key that does not begin with the prefix.
    PrefixIgnored,
    /// A listing echoes another bucket, prefix or key marker than the one sent.
    EchoDiffers,
    /// The next marker does not lie behind the one sent.
    NoProgress,
    /// A listing goes on, but says not where.
    TruncatedWithoutMarker,
    /// A DELETE without a version id inserted no delete marker: the bucket keeps no versions, and data was
    /// deleted.
    NoMarkerMade,
}

impl Tripwire {
    /// The code under which it is reported.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VersionIdIgnored => "VersionIdIgnored",
            Self::ForeignKey => "ForeignKey",
            Self::PrefixIgnored => "PrefixIgnored",
            Self::EchoDiffers => "EchoDiffers",
            Self::NoProgress => "NoProgress",
            Self::TruncatedWithoutMarker => "TruncatedWithoutMarker",
            Self::NoMarkerMade => "NoMarkerMade",
        }
    }
}

/// What kind of request failed: the same code can mean different things.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// A question about the bucket.
    Bucket,
    /// A page of a listing.
    Listing,
    /// DeleteObjects.
    Batch,
    /// DeleteObject of one version.
    Single,
    /// A question about one version or one upload.
    Read,
    /// A request that writes, and is not to be repeated unseen: a copy, a put, a part, a delete marker.
    Write,
}

/// What to make of an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// What it asks of the caller.
    pub class: Class,
    /// Why, where the class is [`Class::Stop`].
    pub stop: Option<StopKind>,
    /// How often the same error is worth another try before it is final, the first time included:
    /// for a request it then means [`Class::Stop`], for an item [`Class::Permanent`].
    pub tries_max: Option<u32>,
    /// The shortest wait before another try.
    pub wait_min: Option<Duration>,
}

impl Verdict {
    pub(super) const fn of(class: Class) -> Self {
        Self { class, stop: None, tries_max: None, wait_min: None }
    }

    pub(super) const fn stop(kind: StopKind) -> Self {
        Self { class: Class::Stop, stop: Some(kind), tries_max: None, wait_min: None }
    }

    pub(super) const fn tripwire(wire: Tripwire) -> Self {
        Self::stop(StopKind::Tripwire(wire))
    }

    const fn at_most(self, tries: u32) -> Self {
        Self { tries_max: Some(tries), ..self }
    }

    const fn after(self, wait: Duration) -> Self {
        Self { wait_min: Some(wait), ..self }
    }
}

pub(super) const TRANSIENT: Verdict = Verdict::of(Class::Transient);
pub(super) const PERMANENT: Verdict = Verdict::of(Class::Permanent);
const DONE: Verdict = Verdict::of(Class::Done);
const THROTTLED: Verdict = Verdict::of(Class::Throttled);
const DIVIDE: Verdict = Verdict::of(Class::Divide);
const CREDENTIALS: Verdict = Verdict::of(Class::Credentials);
const CLOCK: Verdict = Verdict::of(Class::ClockSkew);
const UNSUPPORTED: Verdict = Verdict::of(Class::Unsupported);
const ELSEWHERE: Verdict = Verdict::of(Class::Elsewhere);
/// Conflicting operations on a key settle in about a second.
const CONFLICT: Verdict = TRANSIENT.after(Duration::from_secs(1));
/// Our arithmetic or a broken middlebox: a few tries tell them apart.
const BROKEN_BODY: Verdict = TRANSIENT.at_most(3);
const STOP_CREDENTIALS: Verdict = Verdict::stop(StopKind::Credentials);
const STOP_TARGET: Verdict = Verdict::stop(StopKind::Target);
const STOP_BUG: Verdict = Verdict::stop(StopKind::Bug);
const STOP_UNEXPECTED: Verdict = Verdict::stop(StopKind::Unexpected);

struct Row {
    codes: &'static [&'static str],
    /// Where the code refuses the request.
    request: Verdict,
    /// Where it stands beside a key in the answer to DeleteObjects.
    item: Verdict,
}

const fn row(codes: &'static [&'static str], request: Verdict, item: Verdict) -> Row {
    Row { codes, request, item }
}

/// One row for each group of codes that mean the same. A code that never stands beside a key is
/// permanent there.
const TABLE: &[Row] = &[
    row(
        &[
            "InternalError",
            "RequestTimeout",
            "RequestTimeoutException",
            "GlacierExpeditedRetrievalNotAvailable",
        ],
        TRANSIENT,
        TRANSIENT,
    ),
    row(&["ServiceUnavailable", "SlowDown"], THROTTLED, THROTTLED),
    row(&["OperationAborted"], CONFLICT, CONFLICT),
    row(&["ConditionalRequestConflict"], TRANSIENT, TRANSIENT),
    row(
        &[
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "TooManyRequests",
            "TooManyRequestsException",
            "RequestLimitExceeded",
            "BandwidthLimitExceeded",
            "LimitExceededException",
            "PriorRequestNotComplete",
            "ProvisionedThroughputExceededException",
            "TransactionInProgressException",
            "EC2ThrottledException",
        ],
        THROTTLED,
        THROTTLED,
    ),
    row(
        &["BadDigest", "InvalidDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"],
        BROKEN_BODY,
        PERMANENT,
    ),
    row(&["NoSuchVersion", "NoSuchKey"], DONE, DONE),
    row(&["NoSuchUpload"], PERMANENT, PERMANENT),
    // Beside a key: Object Lock, a legal hold or a deny policy; AWS and Ceph RGW tell none apart.
    row(&["AccessDenied"], STOP_CREDENTIALS, PERMANENT),
    row(&["MethodNotAllowed"], STOP_TARGET, PERMANENT),
    row(
        &[
            "InvalidObjectState",
            "ObjectNotInActiveTierError",
            "ObjectAlreadyInActiveTierError",
            "RestoreAlreadyInProgress",
            "PreconditionFailed",
        ],
        PERMANENT,
        PERMANENT,
    ),
    row(
        &["InvalidArgument", "InvalidRequest", "MalformedXML", "MaxMessageLengthExceeded"],
        DIVIDE,
        PERMANENT,
    ),
    // Ceph RGW answers InvalidRange where a body is above 1 MiB.
    row(&["InvalidRange"], DIVIDE, PERMANENT),
    row(
        &["EntityTooLarge", "EntityTooSmall", "InvalidPart", "InvalidPartOrder", "TooManyParts"],
        PERMANENT,
        PERMANENT,
    ),
    row(
        &[
            "KeyTooLongError",
            "InvalidURI",
            "MetadataTooLarge",
            "InvalidTag",
            "InvalidStorageClass",
            "InvalidEncryptionAlgorithmError",
            "EncryptionTypeMismatch",
            "AnnotationLimitExceeded",
        ],
        PERMANENT,
        PERMANENT,
    ),
    // Beside the attributes of a new object, and its access control list.
    row(
        &[
            "AccessControlListNotSupported",
            "AmbiguousGrantByEmailAddress",
            "MalformedACLError",
            "NoSuchTagSet",
            "UnresolvableGrantByEmailAddress",
        ],
        PERMANENT,
        PERMANENT,
    ),
    row(
        &[
            "NoSuchBucket",
            "InvalidBucketName",
            "InvalidBucketState",
            "IllegalVersioningConfigurationException",
        ],
        STOP_TARGET,
        STOP_TARGET,
    ),
    row(
        &[
            "ExpiredToken",
            "TokenRefreshRequired",
            "RequestExpired",
            "InvalidToken",
            "InvalidSecurity",
            "InvalidAccessKeyId",
        ],
        CREDENTIALS,
        CREDENTIALS,
    ),
    // Late in a run a bad signature is a clock, or a key that we encode wrongly.
    row(
        &["RequestTimeTooSkewed", "RequestInTheFuture", "SignatureDoesNotMatch", "InvalidSignatureException"],
        CLOCK,
        PERMANENT,
    ),
    row(
        &[
            "AuthorizationHeaderMalformed",
            "PermanentRedirect",
            "Redirect",
            "IllegalLocationConstraintException",
            "EndpointNotFound",
        ],
        ELSEWHERE,
        PERMANENT,
    ),
    row(&["TemporaryRedirect"], TRANSIENT, TRANSIENT),
    row(
        &["AccountProblem", "AllAccessDisabled", "NotSignedUp", "InvalidPayer", "CredentialsNotSupported"],
        STOP_CREDENTIALS,
        STOP_CREDENTIALS,
    ),
    row(&["NotImplemented"], UNSUPPORTED, PERMANENT),
    row(
        &[
            "MissingContentLength",
            "MissingRequestBodyError",
            "MissingSecurityHeader",
            "MissingSecurityElement",
            "InvalidAddressingHeader",
            "UnexpectedContent",
            "AuthorizationQueryParametersError",
        ],
        STOP_BUG,
        PERMANENT,
    ),
    row(
        &[
            "BucketAlreadyExists",
            "BucketAlreadyOwnedByYou",
            "BucketNotEmpty",
            "CrossLocationLoggingProhibited",
            "IncorrectNumberOfFilesInPostRequest",
            "InlineDataTooLarge",
            "InvalidLocationConstraint",
            "InvalidPolicyDocument",
            "InvalidSOAPRequest",
            "InvalidTargetBucketForLogging",
            "MalformedPOSTRequest",
            "MaxPostPreDataLengthExceededError",
            "MissingAttachment",
            "NoLoggingStatusForKey",
            "NoSuchBucketPolicy",
            "NoSuchLifecycleConfiguration",
            "RequestIsNotMultiPartContent",
            "RequestTorrentOfBucketError",
            "TooManyBuckets",
            "UserKeyMustBeSpecified",
        ],
        STOP_UNEXPECTED,
        PERMANENT,
    ),
];

fn find(code: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.codes.contains(&code))
}

/// What an error asks that refuses a whole request. `code` is empty where the server gave none.
pub fn of_request(code: &str, status: u16, scope: Scope) -> Verdict {
    let verdict = match find(code) {
        Some(row) => row.request,
        None if code.starts_with("KMS.") => PERMANENT,
        None => of_unknown(code, status, scope),
    };
    match (scope, verdict.class) {
        // Only a request that names one version can find its wish fulfilled.
        (Scope::Bucket | Scope::Listing | Scope::Batch, Class::Done) => BROKEN_BODY,
        (Scope::Bucket | Scope::Listing, Class::Divide | Class::Permanent) => STOP_UNEXPECTED,
        // The version is not there to be copied or looked at.
        (Scope::Read | Scope::Write, Class::Done) => PERMANENT,
        (Scope::Single | Scope::Read | Scope::Write, Class::Divide) => PERMANENT,
        (Scope::Single | Scope::Read | Scope::Write, Class::Stop) if code == "AccessDenied" => PERMANENT,
        // The key's current entry, or the one that was named, is a delete marker.
        (Scope::Read | Scope::Write, Class::Stop) if code == "MethodNotAllowed" => PERMANENT,
        _ => verdict,
    }
}

fn of_unknown(code: &str, status: u16, scope: Scope) -> Verdict {
    let unnamed = code.is_empty();
    match (status, scope) {
        (408, _) => TRANSIENT,
        (409, _) => TRANSIENT.at_most(5),
        (429, _) => THROTTLED,
        (503, _) if unnamed => THROTTLED,
        (500.., _) => TRANSIENT,
        // An error in the body of a success: S3 had to commit to a status before it knew.
        (..300, _) => TRANSIENT.at_most(5),
        (301 | 308, _) if unnamed => ELSEWHERE,
        (307, _) if unnamed => TRANSIENT,
        (300..400, _) => STOP_TARGET,
        (404, Scope::Listing) if unnamed => TRANSIENT.at_most(3),
        (404, Scope::Listing | Scope::Bucket) => STOP_TARGET,
        (401 | 403, Scope::Single | Scope::Read | Scope::Write) => PERMANENT,
        (401 | 403, _) if unnamed => STOP_CREDENTIALS,
        // Ceph RGW answers 400 or 413 without a body where it cannot read the batch.
        (400 | 413, Scope::Batch) if unnamed => DIVIDE,
        (_, Scope::Batch | Scope::Single | Scope::Read | Scope::Write) => PERMANENT,
        (_, Scope::Bucket | Scope::Listing) => STOP_UNEXPECTED,
    }
}

/// What an error asks that stands beside a key in the answer to DeleteObjects.
pub fn of_item(code: &str) -> Verdict {
    match find(code) {
        Some(row) => row.item,
        None if code.is_empty() => TRANSIENT.at_most(5),
        None => PERMANENT,
    }
}

#[cfg(test)]
mod tests;
