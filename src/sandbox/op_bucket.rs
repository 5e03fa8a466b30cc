//! Operations on buckets.

use super::ops::Context;
use super::refusal::Refusal;
use super::reply::Reply;
use super::request::Request;
use super::store::{read, write};
use super::xml_in;
use super::xml_out::Xml;
use crate::model::VersioningStatus;

/// ListBuckets.
pub(super) fn list_buckets(context: &Context<'_>) -> Result<Reply, Refusal> {
    let mut xml = Xml::root("ListAllMyBucketsResult");
    xml.open("Owner");
    xml.leaf("ID", context.canonical_owner());
    xml.close();
    xml.open("Buckets");
    let names = context.store.bucket_names();
    for name in &names {
        let Ok(bucket) = context.store.bucket(name) else { continue };
        xml.open("Bucket");
        xml.leaf("Name", name);
        xml.leaf("CreationDate", read(&bucket).created.floor_to_second().to_string());
        xml.close();
    }
    Ok(Reply::xml(xml.finish()).about(names.len()))
}

/// CreateBucket.
pub(super) fn create(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let name = request.bucket()?;
    if !is_bucket_name(name) {
        return Err(Refusal::of("InvalidBucketName").with("BucketName", name));
    }
    if !request.body.is_empty() {
        let wanted = xml_in::parse(&request.body).map_err(|_| Refusal::of("MalformedXML"))?;
        if let Some(region) = wanted.child_text("LocationConstraint")
            && region != context.region
        {
            return Err(Refusal::of("IllegalLocationConstraintException").saying(format!(
                "The {region} location constraint is incompatible for the region specific endpoint this \
                 request was sent to."
            )));
        }
    }
    if !context.store.create_bucket(name, context.now, VersioningStatus::Unversioned) {
        return Err(Refusal::of("BucketAlreadyOwnedByYou").with("BucketName", name));
    }
    if request.header("x-amz-bucket-object-lock-enabled").is_some_and(|on| on.eq_ignore_ascii_case("true")) {
        context.store.set_status(name, VersioningStatus::Enabled)?;
        context.store.set_guards(name, true, false)?;
    }
    Ok(Reply::empty(200).header("Location", format!("/{name}")))
}

/// 3 to 63 characters: lower-case letters, digits, `-` and `.`, beginning and ending with a letter
/// or a digit, no two dots in a row.
pub(super) fn is_bucket_name(name: &str) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && is_edge(bytes.first())
        && is_edge(bytes.last())
        && bytes.iter().all(|byte| is_edge(Some(byte)) || matches!(byte, b'-' | b'.'))
        && !name.contains("..")
}

/// HeadBucket.
pub(super) fn head(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    context.bucket(request)?;
    Ok(Reply::empty(200)
        .header("x-amz-bucket-region", context.region)
        .header("x-amz-access-point-alias", "false")
        .header("Content-Type", "application/xml"))
}

/// DeleteBucket.
pub(super) fn delete(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let name = request.bucket()?;
    if !read(&bucket).is_empty() {
        return Err(Refusal::of("BucketNotEmpty").with("BucketName", name));
    }
    context.store.remove_bucket(name);
    Ok(Reply::empty(204))
}

/// GetBucketLocation: us-east-1 is told as an empty element.
pub(super) fn location(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    context.bucket(request)?;
    let mut xml = Xml::root("LocationConstraint");
    if context.region != "us-east-1" {
        xml.text(context.region.as_bytes());
    }
    Ok(Reply::xml(xml.finish()))
}

/// GetBucketVersioning: a bucket that never was versioned has no Status.
pub(super) fn get_versioning(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let bucket = read(&bucket);
    let mut xml = Xml::root("VersioningConfiguration");
    match bucket.status {
        VersioningStatus::Unversioned => {}
        VersioningStatus::Enabled => xml.leaf("Status", "Enabled"),
        VersioningStatus::Suspended => xml.leaf("Status", "Suspended"),
    }
    if bucket.mfa_delete {
        xml.leaf("MfaDelete", "Enabled");
    }
    Ok(Reply::xml(xml.finish()))
}

/// PutBucketVersioning.
pub(super) fn put_versioning(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let wanted = xml_in::parse(&request.body).map_err(|_| Refusal::of("MalformedXML"))?;
    if wanted.name != "VersioningConfiguration" {
        return Err(Refusal::of("MalformedXML"));
    }
    let status = match wanted.child_text("Status") {
        Some("Enabled") => VersioningStatus::Enabled,
        Some("Suspended") => VersioningStatus::Suspended,
        None => return Err(Refusal::of("IllegalVersioningConfigurationException")),
        Some(_) => return Err(Refusal::of("MalformedXML")),
    };
    let mut bucket = write(&bucket);
    if bucket.object_lock && status == VersioningStatus::Suspended {
        return Err(Refusal::of("InvalidBucketState"));
    }
    let mfa_delete = wanted.child_text("MfaDelete").map(|text| text == "Enabled");
    let changes_mfa = mfa_delete.is_some_and(|on| on != bucket.mfa_delete);
    if (changes_mfa || bucket.mfa_delete) && request.header("x-amz-mfa").is_none() {
        return Err(Refusal::of("AccessDenied").saying("Mfa Authentication must be used for this request"));
    }
    bucket.status = status;
    bucket.mfa_delete = mfa_delete.unwrap_or(bucket.mfa_delete);
    Ok(Reply::empty(200))
}

/// GetObjectLockConfiguration.
pub(super) fn object_lock(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    if !read(&bucket).object_lock {
        return Err(Refusal::of("ObjectLockConfigurationNotFoundError").with("BucketName", request.bucket()?));
    }
    let mut xml = Xml::root("ObjectLockConfiguration");
    xml.leaf("ObjectLockEnabled", "Enabled");
    Ok(Reply::xml(xml.finish()))
}

#[cfg(test)]
mod tests {
    use super::is_bucket_name;

    #[test]
    fn bucket_names_follow_the_rules_of_aws() {
        for good in ["abc", "my-logs.2024", "a0b"] {
            assert!(is_bucket_name(good), "{good}");
        }
        for bad in ["ab", "Abc", "-ab", "ab-", "a..b", "a_b", "a/b", &"a".repeat(64)] {
            assert!(!is_bucket_name(bad), "{bad}");
        }
    }
}
