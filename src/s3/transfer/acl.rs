//! GetObjectAcl and PutObjectAcl.

use crate::model::{Key, VersionId};
use crate::s3::client::Client;
use crate::s3::codes::PERMANENT;
use crate::s3::error::{Operation, S3Error};

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
    /// Those of the attempt.
    pub async fn acl(&self, key: &Key, version_id: &VersionId) -> Result<AclText, S3Error> {
        let _ = (key, version_id);
        Err(self.context(Operation::GetObjectAcl).error("NotImplemented", "", PERMANENT))
    }

    /// Replaces the access control list of a version.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn put_acl(&self, key: &Key, version_id: &VersionId, acl: &AclText) -> Result<(), S3Error> {
        let _ = (key, version_id, acl);
        Err(self.context(Operation::PutObjectAcl).error("NotImplemented", "", PERMANENT))
    }
}
