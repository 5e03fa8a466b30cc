//! CopyObject, and the source that it shares with UploadPartCopy.

use super::attributes;
use super::checksum;
use super::conditions;
use super::data::Data;
use super::encryption::{Encryption, check_key};
use super::entry::{Checksum, Content, Entry, Extra};
use super::op_object::{check_restored, find_version, insert, read_version_id, shown_digest};
use super::ops::Context;
use super::refusal::Refusal;
use super::reply::Reply;
use super::request::{Request, decode_text};
use super::store::{read, write};
use super::xml_out::Xml;
use crate::model::{Key, Kind, VersioningStatus};

/// The most bytes that one request copies.
pub(super) const COPY_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

/// The beginning of the headers with the customer's key of a source.
const SOURCE_CUSTOMER: &str = "x-amz-copy-source-server-side-encryption-customer";

/// The headers that change a copy of a version onto itself.
const CHANGES: [&str; 4] = [
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-customer-algorithm",
];

/// The version that a copy is made of.
pub(super) struct Source {
    bucket: String,
    key: Key,
    pub(super) entry: Entry,
    is_latest: bool,
    is_versioned: bool,
}

impl Source {
    /// The MD5 of all its data, without a look at the data where its ETag tells.
    pub(super) fn md5(&self) -> [u8; 16] {
        let is_told =
            self.entry.parts().is_empty() && self.entry.encryption().is_none_or(Encryption::shows_md5);
        if is_told { self.entry.digest() } else { self.entry.data().md5() }
    }

    /// Adds the header that names its version.
    pub(super) fn show(&self, reply: Reply) -> Reply {
        if self.is_versioned { reply.header("x-amz-copy-source-version-id", self.entry.id()) } else { reply }
    }
}

/// Takes `x-amz-copy-source` apart: bucket, key and version id.
fn read_source(text: &str) -> Result<(String, Key, Option<String>), Refusal> {
    let refuse = || {
        Refusal::argument(
            "x-amz-copy-source",
            text,
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
        )
    };
    let (name, query) = text.split_once('?').map_or((text, None), |(name, query)| (name, Some(query)));
    let version_id = match query {
        None => None,
        Some(query) => match query.strip_prefix("versionId=") {
            Some(id) => Some(decode_text(id, true).map_err(|_| refuse())?),
            None => return Err(refuse()),
        },
    };
    // A plus is a space here, though not in a path.
    let name = decode_text(name, true).map_err(|_| refuse())?;
    let (bucket, key) = name.strip_prefix('/').unwrap_or(&name).split_once('/').ok_or_else(refuse)?;
    if bucket.is_empty() || key.is_empty() {
        return Err(refuse());
    }
    Ok((bucket.to_owned(), Key::from(key), version_id))
}

/// Finds the source that a request names, and checks whatever the request says about it.
pub(super) fn source(context: &Context<'_>, request: &Request) -> Result<Source, Refusal> {
    let (name, key, version_id) = read_source(request.header("x-amz-copy-source").unwrap_or_default())?;
    let named = version_id.as_deref().map(read_version_id).transpose()?;
    let bucket = context.store.bucket(&name).map_err(|none| Refusal::from(none).with("BucketName", &name))?;
    if request.header("x-amz-source-expected-bucket-owner").is_some_and(|owner| owner != context.owner) {
        return Err(Refusal::of("AccessDenied"));
    }
    let bucket = read(&bucket);
    let entry = find_version(&bucket, &key, named)?.into_owned();
    if entry.kind == Kind::DeleteMarker {
        return Err(Refusal::of("InvalidRequest").saying(
            "The source of a copy request may not specifically refer to a delete marker by version id.",
        ));
    }
    check_key(entry.encryption(), request, SOURCE_CUSTOMER)?;
    if !context.personality.ignores_copy_conditions {
        conditions::check_source(request, &entry)?;
    }
    check_restored(&entry, context.now)
        .map_err(|refusal| refusal.saying("Operation is not valid for the source object's storage class"))?;
    Ok(Source {
        is_latest: bucket.latest(key.as_bytes()).is_some_and(|latest| latest.sequence == entry.sequence),
        is_versioned: bucket.status != VersioningStatus::Unversioned,
        bucket: name,
        key,
        entry,
    })
}

/// What is refused as too large to be copied at once.
pub(super) fn too_large() -> Refusal {
    Refusal::of("InvalidRequest").saying(format!(
        "The specified copy source is larger than the maximum allowable size for a copy source: \
         {COPY_BYTES_MAX}"
    ))
}

/// Whether a directive says REPLACE.
fn replaces(request: &Request, header: &str, unknown: &'static str) -> Result<bool, Refusal> {
    match request.header(header) {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(other) => Err(Refusal::argument(header, other, unknown)),
    }
}

/// The conditions on the key that a copy writes, as far as this server knows them.
pub(super) fn check_destination(
    context: &Context<'_>,
    request: &Request,
    bucket: &super::store::Bucket,
    key: &Key,
) -> Result<(), Refusal> {
    let is_conditional = request.header("if-match").is_some() || request.header("if-none-match").is_some();
    if is_conditional && context.personality.refuses_copy_conditions {
        return Err(Refusal::of("NotImplemented"));
    }
    if context.personality.ignores_copy_conditions {
        return Ok(());
    }
    conditions::check_destination(request, bucket, key.as_bytes())
}

/// CopyObject.
pub(super) fn copy(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let key = request.key()?;
    context.check_rate(key)?;
    let replaces_metadata = replaces(request, "x-amz-metadata-directive", "Unknown metadata directive.")?;
    let replaces_tags = replaces(request, "x-amz-tagging-directive", "Unknown tagging directive.")?;
    let class = attributes::storage_class(request)?;
    let source = source(context, request)?;
    let is_itself = source.bucket == request.bucket()? && source.key == *key && source.is_latest;
    if is_itself && !replaces_metadata && !CHANGES.iter().any(|name| request.header(name).is_some()) {
        return Err(Refusal::of("InvalidRequest").saying(
            "This copy request is illegal because it is trying to copy an object to itself without changing \
             the object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    if source.entry.size > COPY_BYTES_MAX {
        return Err(too_large());
    }
    let data = source.entry.data();
    let checksum = checksum_of_copy(request, &source.entry, &data)?;
    let md5 = source.md5();
    let mut bucket = write(&bucket);
    bucket.check_writable()?;
    let mut extra = attributes::asked(context, request, &bucket)?;
    check_destination(context, request, &bucket, key)?;
    let kept = source.entry.extra.as_deref();
    if !replaces_metadata {
        extra.headers = kept.map(|kept| kept.headers.clone()).unwrap_or_default();
    }
    if !replaces_tags {
        extra.tags = source.entry.tags().to_vec();
    }
    let sequence = context.store.next_sequence();
    let digest = shown_digest(extra.encryption.as_ref(), sequence, || md5);
    let mut xml = Xml::root("CopyObjectResult");
    write_result(&mut xml, context, digest, checksum.as_ref());
    let extra = Extra { data: Some(data), digest: Some(digest), checksum, ..extra };
    let content = Content {
        at: context.now,
        kind: Kind::Version,
        size: source.entry.size,
        class,
        extra: Some(Box::new(extra)),
    };
    let reply = source.show(Reply::xml(xml.finish()));
    let mut reply = insert(context, request, &mut bucket, (key, sequence), content, reply)?;
    if context.personality.copies_tell_no_version_id {
        reply.headers.retain(|(name, _)| name != "x-amz-version-id");
    }
    Ok(reply)
}

/// What the results of copies hold.
pub(super) fn write_result(
    xml: &mut Xml,
    context: &Context<'_>,
    digest: [u8; 16],
    checksum: Option<&Checksum>,
) {
    xml.leaf("LastModified", context.now.floor_to_second().to_string());
    xml.leaf("ETag", format!("\"{}\"", hex::encode(digest)));
    if let Some(checksum) = checksum {
        xml.leaf(checksum::element(checksum.header), &checksum.value);
        xml.leaf("ChecksumType", checksum.kind());
    }
}

/// The checksum that is asked for, else that of the source; always one of the data as a whole.
fn checksum_of_copy(request: &Request, source: &Entry, data: &Data) -> Result<Option<Checksum>, Refusal> {
    let of_source = source.extra.as_ref().and_then(|extra| extra.checksum.as_ref());
    Ok(match (attributes::checksum_header(request)?, of_source) {
        (Some(header), _) => Some(checksum::of_data(header, data)),
        (None, Some(known)) if known.is_composite => Some(checksum::of_data(known.header, data)),
        (None, known) => known.cloned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_decoded_after_it_is_taken_apart() {
        for (text, bucket, key, id) in [
            ("b/k", "b", "k", None),
            ("/b/a/../k", "b", "a/../k", None),
            ("b/a%2Bb+c%3Fd?versionId=null", "b", "a+b c?d", Some("null")),
            ("b%2Fk%2Fl?versionId=x", "b", "k/l", Some("x")),
        ] {
            let read = read_source(text).unwrap();
            assert_eq!(read, (bucket.into(), Key::from(key), id.map(str::to_owned)), "{text}");
        }
        for bad in ["", "b", "/b", "b/", "/", "b/k?version=1", "b/%zz", "b/k?versionId=%z"] {
            assert_eq!(read_source(bad).unwrap_err().code, "InvalidArgument", "{bad}");
        }
    }
}
