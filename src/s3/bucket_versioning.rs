//! GetBucketVersioning.

use reqwest::Method;

use crate::model::VersioningStatus;

use super::client::Client;
use super::error::{Operation, S3Error};
use super::send::Call;
use super::xml::{BadXml, Document, Elements as _};

/// What GetBucketVersioning answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BucketVersioning {
    /// Whether versions are kept.
    pub status: VersioningStatus,
    /// Whether deleting a version needs a multi-factor token.
    pub mfa_delete: bool,
}

impl Client {
    /// Whether the bucket keeps versions. An endpoint that speaks no S3 is told apart here.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn bucket_versioning(&self) -> Result<BucketVersioning, S3Error> {
        let mut call = Call::ask(self.context(Operation::GetBucketVersioning), Method::GET, "versioning=");
        call.headers = self.common_headers();
        call.greeting = true;
        let answer = self.attempt(&call).await?;
        parse(&answer.body).map_err(|why| answer.malformed(&call, &why))
    }
}

/// A bucket that never had versioning has an empty VersioningConfiguration.
fn parse(body: &[u8]) -> Result<BucketVersioning, BadXml> {
    let mut document = Document::open(body)?;
    if document.root() != "VersioningConfiguration" {
        return Err("the root element is not VersioningConfiguration".into());
    }
    let mut versioning = BucketVersioning { status: VersioningStatus::Unversioned, mfa_delete: false };
    while let Some(start) = document.child()? {
        match start.as_ref() {
            "Status" => {
                versioning.status = match &*document.text()? {
                    "Enabled" => VersioningStatus::Enabled,
                    "Suspended" => VersioningStatus::Suspended,
                    // Some servers write this out.
                    "" | "Disabled" | "Off" => VersioningStatus::Unversioned,
                    _ => return Err("an unknown Status".into()),
                }
            }
            // The schema says MfaDelete; Ceph RGW writes MfaDelete, older servers MFADelete.
            "MfaDelete" | "MFADelete" => versioning.mfa_delete = document.text()? == "Enabled",
            _ => document.skip()?,
        }
    }
    document.end()?;
    Ok(versioning)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inner: &str) -> Result<BucketVersioning, BadXml> {
        parse(format!("<?xml version=\"1.0\"?><VersioningConfiguration xmlns=\"u\">{inner}</VersioningConfiguration>").as_bytes())
    }

    #[test]
    fn the_three_states() {
        let status = |inner| read(inner).map(|versioning| versioning.status);
        assert_eq!(status(""), Ok(VersioningStatus::Unversioned));
        assert_eq!(status("<Status>Enabled</Status>"), Ok(VersioningStatus::Enabled));
        assert_eq!(status("<Status>Suspended</Status>"), Ok(VersioningStatus::Suspended));
        assert!(status("<Status>Perhaps</Status>").is_err());
        let mfa = read("<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>");
        assert_eq!(mfa.map(|versioning| versioning.mfa_delete), Ok(true));
        let mfa = read("<MfaDelete>Disabled</MfaDelete><Other><x/></Other>");
        assert_eq!(mfa.map(|versioning| versioning.mfa_delete), Ok(false));
    }

    #[test]
    fn nothing_but_a_whole_configuration_counts() {
        assert!(parse(b"<VersioningConfiguration/>").is_ok());
        let whole = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_err(), "{cut}");
        }
        assert!(parse(b"<html><body>hello</body></html>").is_err());
    }
}
