//! ListParts and ListMultipartUploads.

use super::checksum;
use super::op_list::Encoding;
use super::op_multipart::{no_such_upload, upload_id};
use super::ops::Context;
use super::refusal::Refusal;
use super::reply::Reply;
use super::request::Request;
use super::store::read;
use super::xml_out::Xml;
use crate::model::STORAGE_CLASSES;

/// The most rows of one answer.
const ROWS_MAX: usize = 1000;

fn rows_max(request: &Request, name: &str) -> Result<usize, Refusal> {
    match request.argument(name).filter(|text| !text.is_empty()) {
        None => Ok(ROWS_MAX),
        Some(text) => text.parse::<usize>().map(|rows| rows.min(ROWS_MAX)).map_err(|_| {
            Refusal::argument(name, text, format!("Provided {name} not an integer or within integer range"))
        }),
    }
}

fn write_owner(xml: &mut Xml, context: &Context<'_>) {
    for name in ["Initiator", "Owner"] {
        xml.open(name);
        xml.leaf("ID", context.canonical_owner());
        xml.close();
    }
}

/// ListParts.
pub(super) fn parts(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let bucket = read(&bucket);
    let key = request.key()?;
    let upload =
        bucket.uploads.get(upload_id(request), key.as_bytes()).ok_or_else(|| no_such_upload(request))?;
    let rows_max = rows_max(request, "max-parts")?;
    let marker = request.argument("part-number-marker").unwrap_or("0");
    let after: u16 = marker.parse().map_err(|_| {
        Refusal::argument("part-number-marker", marker, "Provided part-number-marker not an integer")
    })?;
    let rest: Vec<_> = upload.parts.iter().filter(|(number, _)| **number > after).collect();
    let page = &rest[..rest.len().min(rows_max)];
    let mut xml = Xml::root("ListPartsResult");
    xml.leaf("Bucket", request.bucket()?);
    xml.leaf("Key", key.as_bytes());
    xml.leaf("UploadId", upload_id(request));
    write_owner(&mut xml, context);
    xml.leaf("StorageClass", STORAGE_CLASSES[usize::from(upload.class)]);
    xml.number("PartNumberMarker", u64::from(after));
    xml.number("NextPartNumberMarker", page.last().map_or(0, |(number, _)| u64::from(**number)));
    xml.number("MaxParts", rows_max as u64);
    xml.flag("IsTruncated", page.len() < rest.len());
    if let Some((_, algorithm)) = upload.checksum_header.and_then(checksum::algorithm) {
        xml.leaf("ChecksumAlgorithm", algorithm);
        xml.leaf("ChecksumType", if upload.is_full_checksum { "FULL_OBJECT" } else { "COMPOSITE" });
    }
    for (number, part) in page {
        xml.open("Part");
        xml.number("PartNumber", u64::from(**number));
        xml.leaf("LastModified", part.at.floor_to_second().to_string());
        xml.leaf("ETag", format!("\"{}\"", part.etag()));
        xml.number("Size", part.data.length());
        if let Some(checksum) = &part.checksum {
            xml.leaf(checksum::element(checksum.header), &checksum.value);
        }
        xml.close();
    }
    Ok(Reply::xml(xml.finish()).about(page.len()))
}

/// ListMultipartUploads. A delimiter is not known.
pub(super) fn uploads(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let bucket = read(&bucket);
    if request.argument("delimiter").is_some_and(|delimiter| !delimiter.is_empty()) {
        return Err(Refusal::of("NotImplemented"));
    }
    let encoding = Encoding::of(context, request)?;
    let rows_max = rows_max(request, "max-uploads")?;
    let argument = |name: &str| request.argument(name).unwrap_or("");
    let (prefix, key_marker, id_marker) =
        (argument("prefix"), argument("key-marker"), argument("upload-id-marker"));
    let all = bucket.uploads.in_order();
    // With an upload id the rest of the key follows, without one the next key.
    let after = all
        .iter()
        .position(|(id, upload)| {
            !id_marker.is_empty() && *id == id_marker && upload.key == key_marker.as_bytes()
        })
        .map_or_else(
            || all.partition_point(|(_, upload)| *upload.key <= *key_marker.as_bytes()),
            |place| place + 1,
        );
    let rest: Vec<_> =
        all[after..].iter().filter(|(_, upload)| upload.key.starts_with(prefix.as_bytes())).collect();
    let page = &rest[..rest.len().min(rows_max)];
    let mut xml = Xml::root("ListMultipartUploadsResult");
    xml.leaf("Bucket", request.bucket()?);
    encoding.marker(&mut xml, "KeyMarker", key_marker.as_bytes());
    xml.leaf("UploadIdMarker", id_marker);
    if let Some((id, upload)) = page.last().filter(|_| page.len() < rest.len()) {
        encoding.marker(&mut xml, "NextKeyMarker", &upload.key);
        xml.leaf("NextUploadIdMarker", id);
    }
    encoding.marker(&mut xml, "Prefix", prefix.as_bytes());
    encoding.tell(&mut xml);
    xml.number("MaxUploads", rows_max as u64);
    xml.flag("IsTruncated", page.len() < rest.len());
    for (id, upload) in page {
        xml.open("Upload");
        encoding.key(&mut xml, "Key", &upload.key);
        xml.leaf("UploadId", id);
        write_owner(&mut xml, context);
        xml.leaf("StorageClass", STORAGE_CLASSES[usize::from(upload.class)]);
        xml.leaf("Initiated", upload.initiated.floor_to_second().to_string());
        xml.close();
    }
    Ok(Reply::xml(xml.finish()).about(page.len()))
}
