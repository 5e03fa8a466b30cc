//! GetObjectAcl and PutObjectAcl.

use bytes::Bytes;
use reqwest::Method;

use crate::model::{Key, VersionId};
use crate::s3::client::Client;
use crate::s3::codes::Scope;
use crate::s3::error::{Operation, S3Error};
use crate::s3::xml::{BadXml, Document, Elements as _, once, read_document};

/// An access control list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AclText {
    /// The AccessControlPolicy document as the server sent it.
    pub text: Box<str>,
    /// The canonical user id of the object's owner.
    pub owner_id: Box<str>,
    /// Who may do what, in the order of the document.
    pub grants: Vec<Grant>,
}

/// One line of an access control list.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Grant {
    /// To whom.
    pub grantee: Grantee,
    /// `FULL_CONTROL`, `READ`, `WRITE`, `READ_ACP`, `WRITE_ACP`.
    pub permission: Box<str>,
}

/// Somebody to whom a permission is granted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Grantee {
    /// An account, by its canonical user id.
    User(Box<str>),
    /// A group, by its URI.
    Group(Box<str>),
    /// An account, by its e-mail address.
    Email(Box<str>),
}

impl Client {
    /// The access control list of a version.
    ///
    /// # Errors
    /// Those of the attempt; [`S3Error::is_absent`] where the version is not there.
    pub async fn acl(&self, key: &Key, version_id: &VersionId) -> Result<AclText, S3Error> {
        let operation = Operation::GetObjectAcl;
        let call = self.version_call(operation, Scope::Read, Method::GET, (key, version_id), "acl=&");
        let answer = self.attempt(&call).await?;
        answer.check_version(&call)?;
        parse(&answer.body).map_err(|why| answer.malformed(&call, &why))
    }

    /// Replaces the access control list of a version. The owner that it names must be the object's.
    ///
    /// # Errors
    /// Those of the attempt; `AccessControlListNotSupported` where the bucket's owner owns every object.
    pub async fn put_acl(&self, key: &Key, version_id: &VersionId, acl: &AclText) -> Result<(), S3Error> {
        let operation = Operation::PutObjectAcl;
        let mut call = self.version_call(operation, Scope::Write, Method::PUT, (key, version_id), "acl=&");
        call.headers.push(("content-type", "application/xml".to_owned()));
        call.carry(Bytes::copy_from_slice(acl.text.as_bytes()), None).await;
        let answer = self.attempt(&call).await?;
        answer.check_version(&call)
    }
}

fn parse(body: &[u8]) -> Result<AclText, BadXml> {
    let text = std::str::from_utf8(body).map_err(|_| BadXml::from("not UTF-8"))?;
    let (mut owner_id, mut grants) = (None, Vec::new());
    read_document(body, "AccessControlPolicy", |document| {
        while let Some(start) = document.child()? {
            match start.as_ref() {
                "Owner" => {
                    while let Some(start) = document.child()? {
                        match start.as_ref() {
                            "ID" => once(&mut owner_id, document)?,
                            _ => document.skip()?,
                        }
                    }
                }
                "AccessControlList" => {
                    while let Some(start) = document.child()? {
                        match start.as_ref() {
                            "Grant" => grants.push(parse_grant(document)?),
                            _ => document.skip()?,
                        }
                    }
                }
                _ => document.skip()?,
            }
        }
        Ok(())
    })?;
    let owner_id = owner_id.ok_or(BadXml::from("no owner"))?;
    Ok(AclText { text: text.into(), owner_id: owner_id.as_ref().into(), grants })
}

fn parse_grant(document: &mut Document<'_>) -> Result<Grant, BadXml> {
    let (mut grantee, mut permission) = (None, None);
    while let Some(start) = document.child()? {
        match start.as_ref() {
            "Grantee" => grantee = Some(parse_grantee(document)?),
            "Permission" => once(&mut permission, document)?,
            _ => document.skip()?,
        }
    }
    match (grantee, permission) {
        (Some(grantee), Some(permission)) => Ok(Grant { grantee, permission: permission.as_ref().into() }),
        _ => Err("a grant without a grantee or a permission".into()),
    }
}

/// What a grantee is shows in the element that names it, besides in an attribute.
fn parse_grantee(document: &mut Document<'_>) -> Result<Grantee, BadXml> {
    let (mut id, mut uri, mut email) = (None, None, None);
    while let Some(start) = document.child()? {
        match start.as_ref() {
            "ID" => once(&mut id, document)?,
            "URI" => once(&mut uri, document)?,
            "EmailAddress" => once(&mut email, document)?,
            _ => document.skip()?,
        }
    }
    match (id, uri, email) {
        (Some(id), None, None) => Ok(Grantee::User(id.as_ref().into())),
        (None, Some(uri), None) => Ok(Grantee::Group(uri.as_ref().into())),
        (None, None, Some(email)) => Ok(Grantee::Email(email.as_ref().into())),
        _ => Err("a grantee that cannot be understood".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_can_be_read_and_the_text_is_kept() {
        // The example of GetObjectAcl in the S3 API reference, with a group.
        let whole = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <AccessControlPolicy xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
            <Owner><ID>75aa57f0</ID><DisplayName>mtd@example.com</DisplayName></Owner><AccessControlList>\
            <Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\">\
            <ID>75aa57f0</ID><DisplayName>mtd@example.com</DisplayName></Grantee>\
            <Permission>FULL_CONTROL</Permission></Grant>\
            <Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"Group\">\
            <URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>\
            <Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>";
        let acl = parse(whole.as_bytes()).expect("a list");
        assert_eq!((&*acl.text, &*acl.owner_id), (whole, "75aa57f0"));
        let user = Grant { grantee: Grantee::User("75aa57f0".into()), permission: "FULL_CONTROL".into() };
        let group = Grantee::Group("http://acs.amazonaws.com/groups/global/AllUsers".into());
        assert_eq!(acl.grants, [user, Grant { grantee: group, permission: "READ".into() }]);
        for cut in 0..whole.len() {
            assert!(parse(&whole.as_bytes()[..cut]).is_err(), "{cut}");
        }
        assert!(parse(b"<AccessControlPolicy/>").is_err());
    }
}
