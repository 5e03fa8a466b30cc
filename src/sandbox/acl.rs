//! Access control lists: who may do what with a version. They are kept and shown, not enforced.

use super::refusal::Refusal;
use super::request::Request;
use super::xml_in::Element;
use super::xml_out::Xml;

/// Whom a grant is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Grantee {
    /// The owner of the bucket.
    Owner,
    /// The canonical id of another account.
    Id(String),
    /// A group that S3 knows.
    Group(String),
}

impl Grantee {
    fn of_id(id: String, owner: &str) -> Self {
        if id == owner { Self::Owner } else { Self::Id(id) }
    }
}

/// One permission of one grantee.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Grant {
    pub(super) grantee: Grantee,
    pub(super) permission: String,
}

const PERMISSIONS: [&str; 5] = ["FULL_CONTROL", "READ", "WRITE", "READ_ACP", "WRITE_ACP"];
const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const AUTHENTICATED: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
const LOG_DELIVERY: &str = "http://acs.amazonaws.com/groups/s3/LogDelivery";

/// The headers of single grants and the permission of each.
const GRANT_HEADERS: [(&str, &str); 4] = [
    ("x-amz-grant-full-control", "FULL_CONTROL"),
    ("x-amz-grant-read", "READ"),
    ("x-amz-grant-read-acp", "READ_ACP"),
    ("x-amz-grant-write-acp", "WRITE_ACP"),
];

/// The grants of a canned list.
pub(super) fn canned(name: &str) -> Option<Vec<Grant>> {
    let group = |uri: &str, permission: &str| Grant {
        grantee: Grantee::Group(uri.to_owned()),
        permission: permission.to_owned(),
    };
    let mut grants = owners();
    match name {
        // The owner of the bucket owns its objects here, and the reader for EC2 is not shown.
        "private" | "bucket-owner-read" | "bucket-owner-full-control" | "aws-exec-read" => {}
        "public-read" => grants.push(group(ALL_USERS, "READ")),
        "public-read-write" => grants.extend([group(ALL_USERS, "READ"), group(ALL_USERS, "WRITE")]),
        "authenticated-read" => grants.push(group(AUTHENTICATED, "READ")),
        "log-delivery-write" => {
            grants.extend([group(LOG_DELIVERY, "WRITE"), group(LOG_DELIVERY, "READ_ACP")])
        }
        _ => return None,
    }
    Some(grants)
}

/// What the owner may do where nothing was said.
pub(super) fn owners() -> Vec<Grant> {
    vec![Grant { grantee: Grantee::Owner, permission: "FULL_CONTROL".to_owned() }]
}

/// The grants in a request's headers; `None` where it has none.
pub(super) fn asked(request: &Request, owner: &str) -> Result<Option<Vec<Grant>>, Refusal> {
    let mut grants = Vec::new();
    for (header, permission) in GRANT_HEADERS {
        let Some(text) = request.header(header) else { continue };
        for grantee in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let grantee = grantee_of(grantee, owner)
                .ok_or_else(|| Refusal::argument(header, text, "Argument format not recognized"))?;
            grants.push(Grant { grantee, permission: permission.to_owned() });
        }
    }
    match (request.header("x-amz-acl"), grants.is_empty()) {
        (None, true) => Ok(None),
        (None, false) => Ok(Some(grants)),
        (Some(_), false) => Err(Refusal::of("InvalidRequest")
            .saying("Specifying both Canned ACLs and Header Grants is not allowed")),
        (Some(name), true) => match canned(name) {
            Some(grants) => Ok(Some(grants)),
            None => Err(Refusal::argument("x-amz-acl", name, "Invalid Argument")),
        },
    }
}

fn grantee_of(text: &str, owner: &str) -> Option<Grantee> {
    let (kind, value) = text.split_once('=')?;
    let value = value.trim().trim_matches('"').to_owned();
    match kind.trim().to_ascii_lowercase().as_str() {
        "id" => Some(Grantee::of_id(value, owner)),
        "uri" => Some(Grantee::Group(value)),
        _ => None,
    }
}

/// The grants of an `AccessControlPolicy`.
pub(super) fn read(root: &Element<'_>, owner: &str) -> Option<Vec<Grant>> {
    if root.name != "AccessControlPolicy" {
        return None;
    }
    let list = root.children.iter().find(|child| child.name == "AccessControlList")?;
    list.children
        .iter()
        .map(|grant| {
            let grantee = grant.children.iter().find(|child| child.name == "Grantee")?;
            let grantee = match (grantee.child_text("ID"), grantee.child_text("URI")) {
                (Some(id), None) => Grantee::of_id(id.trim().to_owned(), owner),
                (None, Some(uri)) => Grantee::Group(uri.trim().to_owned()),
                _ => return None,
            };
            let permission = grant.child_text("Permission")?.trim();
            let is_known = grant.name == "Grant" && PERMISSIONS.contains(&permission);
            is_known.then(|| Grant { grantee, permission: permission.to_owned() })
        })
        .collect()
}

/// The document that GetObjectAcl answers with.
pub(super) fn document(grants: &[Grant], owner: &str) -> Vec<u8> {
    let mut xml = Xml::root("AccessControlPolicy");
    xml.open("Owner");
    xml.leaf("ID", owner);
    xml.close();
    xml.open("AccessControlList");
    for grant in grants {
        xml.open("Grant");
        let (kind, name, value) = match &grant.grantee {
            Grantee::Owner => ("CanonicalUser", "ID", owner),
            Grantee::Id(id) => ("CanonicalUser", "ID", id.as_str()),
            Grantee::Group(uri) => ("Group", "URI", uri.as_str()),
        };
        xml.elements(
            format!("<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"{kind}\">")
                .as_bytes(),
        );
        xml.leaf(name, value);
        xml.elements(b"</Grantee>");
        xml.leaf("Permission", &grant.permission);
        xml.close();
    }
    xml.finish()
}
