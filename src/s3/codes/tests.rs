//! The table, line by line, written down a second time: code, request (batch), item.

use std::collections::BTreeSet;

use super::*;

/// D done, R retry, T throttled, P permanent, B divide, A credentials, S clock, U unsupported,
/// E elsewhere, J stop.
const fn letter(class: Class) -> char {
    match class {
        Class::Done => 'D',
        Class::Transient => 'R',
        Class::Throttled => 'T',
        Class::Permanent => 'P',
        Class::Divide => 'B',
        Class::Credentials => 'A',
        Class::ClockSkew => 'S',
        Class::Unsupported => 'U',
        Class::Elsewhere => 'E',
        Class::Stop => 'J',
    }
}

/// Code, HTTP status, letter for a single DELETE, for a batch, beside a key.
const EXPECTED: &str = "
InternalError 500 R R R
RequestTimeout 400 R R R
RequestTimeoutException 400 R R R
GlacierExpeditedRetrievalNotAvailable 503 R R R
ServiceUnavailable 503 T T T
SlowDown 503 T T T
OperationAborted 409 R R R
ConditionalRequestConflict 409 R R R
Throttling 400 T T T
ThrottlingException 400 T T T
ThrottledException 400 T T T
RequestThrottled 400 T T T
RequestThrottledException 400 T T T
TooManyRequests 429 T T T
TooManyRequestsException 429 T T T
RequestLimitExceeded 400 T T T
BandwidthLimitExceeded 400 T T T
LimitExceededException 400 T T T
PriorRequestNotComplete 400 T T T
ProvisionedThroughputExceededException 400 T T T
TransactionInProgressException 400 T T T
EC2ThrottledException 503 T T T
BadDigest 400 R R P
InvalidDigest 400 R R P
IncompleteBody 400 R R P
XAmzContentSHA256Mismatch 400 R R P
NoSuchVersion 404 D R D
NoSuchKey 404 D R D
NoSuchUpload 404 P P P
AccessDenied 403 P J P
MethodNotAllowed 405 J J P
InvalidObjectState 403 P P P
ObjectNotInActiveTierError 403 P P P
ObjectAlreadyInActiveTierError 403 P P P
RestoreAlreadyInProgress 409 P P P
PreconditionFailed 412 P P P
InvalidArgument 400 P B P
InvalidRequest 400 P B P
MalformedXML 400 P B P
MaxMessageLengthExceeded 400 P B P
InvalidRange 416 P B P
EntityTooLarge 400 P P P
EntityTooSmall 400 P P P
InvalidPart 400 P P P
InvalidPartOrder 400 P P P
TooManyParts 400 P P P
KeyTooLongError 400 P P P
InvalidURI 400 P P P
MetadataTooLarge 400 P P P
InvalidTag 400 P P P
InvalidStorageClass 400 P P P
InvalidEncryptionAlgorithmError 400 P P P
EncryptionTypeMismatch 400 P P P
AnnotationLimitExceeded 400 P P P
KMS.DisabledException 400 P P P
KMS.NotFoundException 400 P P P
KMS.InvalidStateException 400 P P P
KMS.Anything 400 P P P
NoSuchBucket 404 J J J
InvalidBucketName 400 J J J
InvalidBucketState 409 J J J
IllegalVersioningConfigurationException 400 J J J
ExpiredToken 400 A A A
TokenRefreshRequired 400 A A A
RequestExpired 400 A A A
InvalidToken 400 A A A
InvalidSecurity 403 A A A
InvalidAccessKeyId 403 A A A
SignatureDoesNotMatch 403 S S P
InvalidSignatureException 403 S S P
RequestTimeTooSkewed 403 S S P
RequestInTheFuture 403 S S P
AuthorizationHeaderMalformed 400 E E P
PermanentRedirect 301 E E P
Redirect 307 E E P
IllegalLocationConstraintException 400 E E P
EndpointNotFound 400 E E P
TemporaryRedirect 307 R R R
AccountProblem 403 J J J
AllAccessDisabled 403 J J J
NotSignedUp 403 J J J
InvalidPayer 403 J J J
CredentialsNotSupported 400 J J J
NotImplemented 501 U U P
MissingContentLength 411 J J P
MissingRequestBodyError 400 J J P
MissingSecurityHeader 400 J J P
MissingSecurityElement 400 J J P
InvalidAddressingHeader 400 J J P
UnexpectedContent 400 J J P
AuthorizationQueryParametersError 400 J J P
AmbiguousGrantByEmailAddress 400 P P P
BucketAlreadyExists 409 J J P
BucketAlreadyOwnedByYou 409 J J P
BucketNotEmpty 409 J J P
CrossLocationLoggingProhibited 403 J J P
IncorrectNumberOfFilesInPostRequest 400 J J P
InlineDataTooLarge 400 J J P
InvalidLocationConstraint 400 J J P
InvalidPolicyDocument 400 J J P
InvalidSOAPRequest 400 J J P
InvalidTargetBucketForLogging 400 J J P
MalformedACLError 400 P P P
MalformedPOSTRequest 400 J J P
MaxPostPreDataLengthExceededError 400 J J P
MissingAttachment 400 J J P
NoLoggingStatusForKey 400 J J P
NoSuchBucketPolicy 404 J J P
NoSuchLifecycleConfiguration 404 J J P
RequestIsNotMultiPartContent 400 J J P
RequestTorrentOfBucketError 400 J J P
TooManyBuckets 400 J J P
UnresolvableGrantByEmailAddress 400 P P P
UserKeyMustBeSpecified 400 J J P
AccessControlListNotSupported 400 P P P
NoSuchTagSet 404 P P P
NeverHeardOf 400 P P P
NeverHeardOf 403 P P P
NeverHeardOf 404 P P P
NeverHeardOf 408 R R P
NeverHeardOf 409 R R P
NeverHeardOf 429 T T P
NeverHeardOf 302 J J P
NeverHeardOf 500 R R P
NeverHeardOf 503 R R P
NeverHeardOf 200 R R P
- 301 E E R
- 307 R R R
- 302 J J R
- 400 P B R
- 401 P J R
- 403 P J R
- 404 P P R
- 412 P P R
- 413 P B R
- 500 R R R
- 502 R R R
- 503 T T R
";

#[test]
fn every_line_of_the_table() {
    let mut seen = BTreeSet::new();
    for line in EXPECTED.trim().lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let &[code, status, single, batch, item] = fields.as_slice() else { panic!("{line}") };
        let code = code.trim_start_matches('-');
        let status: u16 = status.parse().expect(line);
        let got: String =
            [of_request(code, status, Scope::Single), of_request(code, status, Scope::Batch), of_item(code)]
                .iter()
                .map(|verdict| letter(verdict.class))
                .collect();
        assert_eq!(got, [single, batch, item].concat(), "{line}");
        seen.insert(code);
    }
    let missing: Vec<_> =
        TABLE.iter().flat_map(|row| row.codes).filter(|code| !seen.contains(*code)).collect();
    assert!(missing.is_empty(), "codes without a line here: {missing:?}");
}

#[test]
fn no_code_has_two_rows() {
    let mut seen = BTreeSet::new();
    for code in TABLE.iter().flat_map(|row| row.codes) {
        assert!(seen.insert(code), "{code}");
    }
}

#[test]
fn a_listing_or_a_question_has_no_items_to_give_up() {
    for scope in [Scope::Listing, Scope::Bucket] {
        for code in TABLE.iter().flat_map(|row| row.codes).chain(&["", "NeverHeardOf", "KMS.X"]) {
            for status in [200, 301, 400, 403, 404, 405, 412, 500, 503] {
                let class = of_request(code, status, scope).class;
                assert!(
                    !matches!(class, Class::Done | Class::Divide | Class::Permanent),
                    "{scope:?} {code} {status}: {class:?}"
                );
            }
        }
    }
}

#[test]
fn a_stop_says_why_and_nothing_else_does() {
    for code in TABLE.iter().flat_map(|row| row.codes) {
        for verdict in [of_request(code, 400, Scope::Batch), of_item(code)] {
            assert_eq!(verdict.class == Class::Stop, verdict.stop.is_some(), "{code}");
        }
    }
    assert_eq!(of_request("AccessDenied", 403, Scope::Batch).stop, Some(StopKind::Credentials));
    assert_eq!(of_request("NoSuchBucket", 404, Scope::Listing).stop, Some(StopKind::Target));
    assert_eq!(of_request("", 404, Scope::Bucket).stop, Some(StopKind::Target));
    assert_eq!(of_request("MissingContentLength", 411, Scope::Batch).stop, Some(StopKind::Bug));
}

#[test]
fn some_retries_are_counted_and_some_wait() {
    assert_eq!(of_request("BadDigest", 400, Scope::Batch).tries_max, Some(3));
    assert_eq!(of_request("", 404, Scope::Listing).tries_max, Some(3));
    assert_eq!(of_request("Strange", 409, Scope::Batch).tries_max, Some(5));
    assert_eq!(of_item("").tries_max, Some(5));
    assert_eq!(of_request("SlowDown", 503, Scope::Batch).tries_max, None);
    assert_eq!(of_item("OperationAborted").wait_min, Some(Duration::from_secs(1)));
}

/// Code, status, letters for a question about one version and for a request that writes.
const OF_OBJECTS: &str = "
InternalError 500 R R
SlowDown 503 T T
RequestTimeout 400 R R
OperationAborted 409 R R
ConditionalRequestConflict 409 R R
BadDigest 400 R R
NoSuchKey 404 P P
NoSuchVersion 404 P P
NoSuchUpload 404 P P
AccessDenied 403 P P
MethodNotAllowed 405 P P
InvalidObjectState 403 P P
ObjectNotInActiveTierError 403 P P
ObjectAlreadyInActiveTierError 403 P P
RestoreAlreadyInProgress 409 P P
PreconditionFailed 412 P P
InvalidArgument 400 P P
InvalidRequest 400 P P
MalformedXML 400 P P
InvalidRange 416 P P
EntityTooLarge 400 P P
EntityTooSmall 400 P P
InvalidPart 400 P P
InvalidPartOrder 400 P P
TooManyParts 400 P P
MetadataTooLarge 400 P P
InvalidTag 400 P P
InvalidStorageClass 400 P P
MalformedACLError 400 P P
KMS.DisabledException 400 P P
ExpiredToken 400 A A
RequestTimeTooSkewed 403 S S
PermanentRedirect 301 E E
NotImplemented 501 U U
NoSuchBucket 404 J J
InvalidPayer 403 J J
MissingContentLength 411 J J
NeverHeardOf 200 R R
NeverHeardOf 400 P P
NeverHeardOf 500 R R
- 301 E E
- 400 P P
- 403 P P
- 404 P P
- 405 P P
- 408 R R
- 412 P P
- 416 P P
- 500 R R
- 503 T T
";

#[test]
fn what_codes_mean_for_one_version() {
    for line in OF_OBJECTS.trim().lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let &[code, status, read, write] = fields.as_slice() else { panic!("{line}") };
        let (code, status) = (code.trim_start_matches('-'), status.parse().expect(line));
        let got = [Scope::Read, Scope::Write].map(|scope| letter(of_request(code, status, scope).class));
        assert_eq!(got.map(String::from), [read, write], "{line}");
    }
}

#[test]
fn a_request_about_one_version_never_finds_its_wish_fulfilled_and_is_never_divided() {
    for code in TABLE.iter().flat_map(|row| row.codes) {
        for scope in [Scope::Read, Scope::Write] {
            let class = of_request(code, 400, scope).class;
            assert!(!matches!(class, Class::Done | Class::Divide), "{scope:?} {code}: {class:?}");
        }
    }
}
