//! Answers that are errors: the code, its status and its message, as AWS words them.

use std::borrow::Cow;

use super::xml_out::Xml;

/// An error answer before it knows its request id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: Cow<'static, str>,
    pub(super) message: Cow<'static, str>,
    /// Elements of this code, between Message and RequestId.
    pub(super) details: Vec<(&'static str, String)>,
    /// Headers of this code.
    pub(super) headers: Vec<(&'static str, String)>,
}

/// Codes with the status and the message that AWS gives them.
const KNOWN: &[(&str, u16, &str)] = &[
    ("AccessDenied", 403, "Access Denied"),
    ("AuthorizationHeaderMalformed", 400, "The authorization header is malformed"),
    ("BadRequest", 400, "Bad Request"),
    ("BadDigest", 400, "The Content-MD5 you specified did not match what we received."),
    (
        "BucketAlreadyOwnedByYou",
        409,
        "Your previous request to create the named bucket succeeded and you already own it.",
    ),
    (
        "BucketNotEmpty",
        409,
        "The bucket you tried to delete is not empty. You must delete all versions in the bucket.",
    ),
    (
        "ConditionalRequestConflict",
        409,
        "The conditional request cannot succeed due to a conflicting operation against this resource.",
    ),
    ("EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size"),
    ("EntityTooSmall", 400, "Your proposed upload is smaller than the minimum allowed size"),
    ("ExpiredToken", 400, "The provided token has expired."),
    ("IllegalLocationConstraintException", 400, "The specified location-constraint is not valid"),
    ("IllegalVersioningConfigurationException", 400, "The Versioning element must be specified"),
    ("IncompleteBody", 400, "The request body terminated unexpectedly"),
    ("InternalError", 500, "We encountered an internal error. Please try again."),
    ("InvalidAccessKeyId", 403, "The AWS Access Key Id you provided does not exist in our records."),
    ("InvalidArgument", 400, "Invalid Argument"),
    ("InvalidBucketName", 400, "The specified bucket is not valid."),
    (
        "InvalidBucketState",
        409,
        "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.",
    ),
    ("InvalidDigest", 400, "The Content-MD5 you specified was invalid."),
    ("InvalidObjectState", 403, "The operation is not valid for the object's storage class"),
    (
        "InvalidPart",
        400,
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or \
         the specified entity tag may not match the part's entity tag.",
    ),
    ("InvalidPartNumber", 416, "The requested partnumber is not satisfiable"),
    (
        "InvalidPartOrder",
        400,
        "The list of parts was not in ascending order. Parts must be ordered by part number.",
    ),
    ("InvalidRange", 416, "The requested range is not satisfiable"),
    (
        "InvalidRedirectLocation",
        400,
        "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
    ),
    ("InvalidRequest", 400, "Invalid Request"),
    ("InvalidStorageClass", 400, "The storage class you specified is not valid"),
    ("InvalidTag", 400, "The tag provided was not a valid tag."),
    ("InvalidURI", 400, "Couldn't parse the specified URI."),
    ("KeyTooLongError", 400, "Your key is too long"),
    (
        "MalformedACLError",
        400,
        "The XML you provided was not well-formed or did not validate against our published schema",
    ),
    (
        "MalformedXML",
        400,
        "The XML you provided was not well-formed or did not validate against our published schema",
    ),
    (
        "MalformedTrailerError",
        400,
        "The request contained trailing data that was not well-formed or did not conform to our \
         published schema.",
    ),
    ("MaxMessageLengthExceeded", 400, "Your request was too big."),
    ("MethodNotAllowed", 405, "The specified method is not allowed against this resource."),
    ("MissingContentLength", 411, "You must provide the Content-Length HTTP header."),
    ("MissingSecurityHeader", 400, "Your request was missing a required header"),
    ("NoSuchBucket", 404, "The specified bucket does not exist"),
    ("NoSuchKey", 404, "The specified key does not exist."),
    ("NoSuchObjectLockConfiguration", 404, "The specified object does not have a ObjectLock configuration"),
    (
        "NoSuchUpload",
        404,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been \
         aborted or completed.",
    ),
    ("NoSuchVersion", 404, "The specified version does not exist."),
    ("NotModified", 304, "Not Modified"),
    ("NotImplemented", 501, "A header you provided implies functionality that is not implemented"),
    ("ObjectLockConfigurationNotFoundError", 404, "Object Lock configuration does not exist for this bucket"),
    (
        "OperationAborted",
        409,
        "A conflicting conditional operation is currently in progress against this resource. Please try \
         again.",
    ),
    (
        "PermanentRedirect",
        301,
        "The bucket you are attempting to access must be addressed using the specified endpoint. Please \
         send all future requests to this endpoint.",
    ),
    ("PreconditionFailed", 412, "At least one of the pre-conditions you specified did not hold"),
    ("RestoreAlreadyInProgress", 409, "Object restore is already in progress"),
    (
        "RequestTimeTooSkewed",
        403,
        "The difference between the request time and the current time is too large.",
    ),
    (
        "RequestTimeout",
        400,
        "Your socket connection to the server was not read from or written to within the timeout \
         period. Idle connections will be closed.",
    ),
    ("ServiceUnavailable", 503, "Service is unable to handle request."),
    (
        "SignatureDoesNotMatch",
        403,
        "The request signature we calculated does not match the signature you provided. Check your key \
         and signing method.",
    ),
    ("SlowDown", 503, "Please reduce your request rate."),
    ("TooManyRequests", 429, "Please reduce your request rate."),
    ("UnexpectedContent", 400, "This request does not support content"),
    (
        "XAmzContentSHA256Mismatch",
        400,
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    ),
];

/// The message that belongs to a code; one made from the code where AWS has none.
pub(super) fn message_of(code: &str) -> Cow<'static, str> {
    match KNOWN.iter().find(|(known, ..)| *known == code) {
        Some((_, _, message)) => Cow::Borrowed(*message),
        None => Cow::Owned(format!("The sandbox was told to answer {code}.")),
    }
}

impl Refusal {
    /// The refusal that a code stands for; 500 where the code is none that AWS gives to whole
    /// requests.
    pub(super) fn of(code: impl Into<Cow<'static, str>>) -> Self {
        let code = code.into();
        let status = KNOWN.iter().find(|(known, ..)| *known == code).map_or(500, |(_, status, _)| *status);
        let message = message_of(&code);
        Self { status, code, message, details: Vec::new(), headers: Vec::new() }
    }

    /// The same with another message.
    pub(super) fn saying(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = message.into();
        self
    }

    /// The same with one more element.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// The same with one more header.
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// InvalidArgument with the argument named.
    pub(super) fn argument(name: &str, value: &str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::of("InvalidArgument").saying(message).with("ArgumentName", name).with("ArgumentValue", value)
    }

    /// The body of the answer.
    pub(super) fn to_xml(&self, resource: &str, request_id: &str, host_id: &str) -> Vec<u8> {
        let mut xml = Xml::bare_root("Error");
        xml.leaf("Code", &*self.code);
        xml.leaf("Message", &*self.message);
        for (name, value) in &self.details {
            xml.leaf(name, value);
        }
        xml.leaf("Resource", resource);
        xml.leaf("RequestId", request_id);
        xml.leaf("HostId", host_id);
        xml.finish()
    }
}

impl From<super::store::TakesNoWrites> for Refusal {
    fn from(_: super::store::TakesNoWrites) -> Self {
        Self::of("NotImplemented")
    }
}

impl From<super::store::NoSuchBucket> for Refusal {
    fn from(_: super::store::NoSuchBucket) -> Self {
        Self::of("NoSuchBucket")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_code_message_resource_and_both_ids() {
        let refusal = Refusal::of("NoSuchKey").with("Key", "a&b");
        assert_eq!(refusal.status, 404);
        assert_eq!(
            String::from_utf8(refusal.to_xml("/b/a&b", "R1", "H1")).unwrap(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code>\
             <Message>The specified key does not exist.</Message><Key>a&amp;b</Key>\
             <Resource>/b/a&amp;b</Resource><RequestId>R1</RequestId><HostId>H1</HostId></Error>"
        );
    }

    #[test]
    fn a_code_that_is_not_known_is_still_an_answer() {
        assert_eq!(Refusal::of("NeverHeardOf").status, 500);
        assert_eq!(Refusal::of("SlowDown").status, 503);
    }
}
