//! What a client is made of.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::checksum::ChecksumAlgorithm;

/// Where the bucket's name goes in a URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Addressing {
    /// In the host name on AWS where a certificate can cover it (no dots, no capitals), in the path
    /// everywhere else.
    #[default]
    Auto,
    /// `https://endpoint/bucket`.
    Path,
    /// `https://bucket.endpoint`.
    Virtual,
}

/// Credentials that need no provider: those of the embedded sandbox.
#[derive(Clone, PartialEq, Eq)]
pub struct StaticCredentials {
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: String,
    /// Session token of temporary credentials.
    pub session_token: Option<String>,
}

/// None of it reaches an output.
impl fmt::Debug for StaticCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticCredentials(***)")
    }
}

/// The bucket, the way to it, and what every request to it carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientConfig {
    /// Bucket name, access point ARN or access point alias.
    pub bucket: String,
    /// Signing region; found out where absent: environment, profile, then the bucket itself.
    pub region: Option<String>,
    /// Base URL of an S3-compatible service, a path kept; AWS where absent.
    pub endpoint: Option<String>,
    /// Where the bucket's name goes in a URL.
    pub addressing: Addressing,
    /// Allows `http://` to hosts other than loopback.
    pub allow_http: bool,
    /// Profile of the AWS configuration files. Where it is named, nothing else is asked for
    /// credentials; otherwise the standard AWS chain is.
    pub profile: Option<String>,
    /// Used instead of any provider.
    pub static_credentials: Option<StaticCredentials>,
    /// Account id, sent as `x-amz-expected-bucket-owner`: AWS refuses the request with AccessDenied
    /// where the bucket belongs to somebody else. Ceph RGW ignores it.
    pub expected_owner: Option<String>,
    /// Sends `x-amz-request-payer: requester`.
    pub request_payer: bool,
    /// A checksum that goes out beside Content-MD5.
    pub checksum: Option<ChecksumAlgorithm>,
    /// PEM file with the certificates to trust instead of the platform's; `AWS_CA_BUNDLE` where
    /// absent.
    pub ca_bundle: Option<PathBuf>,
    /// Time for DNS, TCP and TLS.
    pub connect_timeout: Duration,
    /// Time for a whole attempt up to the last byte of the answer. Generous: a page of a bucket with
    /// many delete markers takes AWS many seconds.
    pub attempt_timeout: Duration,
}

impl ClientConfig {
    /// AWS, its standard credential chain, and time-outs of 10 s and 120 s.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            region: None,
            endpoint: None,
            addressing: Addressing::Auto,
            allow_http: false,
            profile: None,
            static_credentials: None,
            expected_owner: None,
            request_payer: false,
            checksum: None,
            ca_bundle: None,
            connect_timeout: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(120),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_credentials_do_not_show_in_debug() {
        let mut config = ClientConfig::new("b");
        config.static_credentials = Some(StaticCredentials {
            access_key_id: "AKIACANARY".into(),
            secret_access_key: "secretcanary".into(),
            session_token: Some("tokencanary".into()),
        });
        let shown = format!("{config:?}").to_lowercase();
        assert!(!shown.contains("canary"), "{shown}");
    }
}
