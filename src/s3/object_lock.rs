//! GetObjectLockConfiguration.

use reqwest::Method;

use crate::model::Class;

use super::client::Client;
use super::error::{Operation, S3Error};
use super::send::Call;
use super::xml::{BadXml, Document, Elements as _};

impl Client {
    /// Whether Object Lock is enabled. A server that knows no such thing, or answers that there is no
    /// configuration, says no.
    ///
    /// # Errors
    /// Those of the attempt, AccessDenied among them.
    pub async fn object_lock(&self) -> Result<bool, S3Error> {
        let operation = Operation::GetObjectLockConfiguration;
        let mut call = Call::ask(self.context(operation), Method::GET, "object-lock=");
        call.headers = self.common_headers();
        match self.attempt(&call).await {
            Ok(answer) => parse(&answer.body).map_err(|why| answer.malformed(&call, &why)),
            Err(error) if says_no(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn says_no(error: &S3Error) -> bool {
    let known = matches!(
        &*error.code,
        // AWS; older Ceph RGW; servers that route no `?object-lock`.
        "ObjectLockConfigurationNotFoundError"
            | "NoSuchObjectLockConfiguration"
            | "NotImplemented"
            | "MethodNotAllowed"
            | "InvalidRequest"
    );
    known
        || error.class == Class::Unsupported
        || (error.code.starts_with("NoSuch") && &*error.code != "NoSuchBucket")
}

fn parse(body: &[u8]) -> Result<bool, BadXml> {
    let mut document = Document::open(body)?;
    if document.root() != "ObjectLockConfiguration" {
        return Err("the root element is not ObjectLockConfiguration".into());
    }
    let mut enabled = false;
    while let Some(start) = document.child()? {
        if start.as_ref() == "ObjectLockEnabled" {
            enabled = document.text()? == "Enabled";
        } else {
            document.skip()?;
        }
    }
    document.end()?;
    Ok(enabled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enabled_is_enabled() {
        let whole = "<ObjectLockConfiguration xmlns=\"u\"><ObjectLockEnabled>Enabled</ObjectLockEnabled>\
            <Rule><DefaultRetention><Mode>GOVERNANCE</Mode></DefaultRetention></Rule></ObjectLockConfiguration>";
        assert_eq!(parse(whole.as_bytes()), Ok(true));
        assert_eq!(parse(b"<ObjectLockConfiguration/>"), Ok(false));
        for cut in 0..whole.len() {
            assert!(parse(&whole.as_bytes()[..cut]).is_err(), "{cut}");
        }
        assert!(parse(b"<Other/>").is_err());
    }
}
