//! Multipart uploads: created, filled with parts that are sent or copied, completed or aborted.

use std::collections::BTreeMap;

use md5::{Digest, Md5};

use super::attributes;
use super::checksum;
use super::data::Data;
use super::encryption::{self, check_key};
use super::entry::{Checksum, Content, Extra};
use super::op_copy::{self, COPY_BYTES_MAX};
use super::op_object::{CUSTOMER, insert, part_number, shown_digest};
use super::ops::Context;
use super::refusal::Refusal;
use super::reply::Reply;
use super::request::Request;
use super::store::write;
use super::uploads::{Part, Upload};
use super::version_id;
use super::xml_in::{self, Element};
use super::xml_out::Xml;
use crate::model::{Key, Kind};

/// The least that each part but the last has to hold.
const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;

/// The most parts of one upload.
const PARTS_MAX: usize = 10_000;

/// CreateMultipartUpload.
pub(super) fn create(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let key = request.key()?;
    let class = attributes::storage_class(request)?;
    let checksum_header = attributes::checksum_header(request)?;
    let is_full_checksum = checksum_kind(request, checksum_header)?;
    let mut bucket = write(&bucket);
    bucket.check_writable()?;
    let extra = attributes::asked(context, request, &bucket)?;
    // Two numbers of the store's order make an id that no other upload and no version has.
    let id = format!(
        "{}{}",
        version_id::encode(context.store.next_sequence()),
        version_id::encode(context.store.next_sequence())
    );
    let mut xml = Xml::root("InitiateMultipartUploadResult");
    xml.leaf("Bucket", request.bucket()?);
    xml.leaf("Key", key.as_bytes());
    xml.leaf("UploadId", &id);
    let mut reply = encryption::show(extra.encryption.as_ref(), Reply::xml(xml.finish()));
    if let Some((_, algorithm)) = checksum_header.and_then(checksum::algorithm) {
        reply = reply
            .header("x-amz-checksum-algorithm", algorithm)
            .header("x-amz-checksum-type", if is_full_checksum { "FULL_OBJECT" } else { "COMPOSITE" });
    }
    let upload = Upload {
        key: key.as_bytes().to_vec(),
        initiated: context.now,
        class,
        extra,
        checksum_header,
        is_full_checksum,
        parts: BTreeMap::new(),
    };
    bucket.uploads.insert(id, upload);
    Ok(reply)
}

/// Whether the checksum is to be that of the whole data. CRC64NVME knows nothing else, the hashes
/// nothing but the checksum of checksums.
fn checksum_kind(request: &Request, header: Option<&'static str>) -> Result<bool, Refusal> {
    let is_crc64 = header == Some("x-amz-checksum-crc64nvme");
    let is_hash = matches!(header, Some("x-amz-checksum-sha1" | "x-amz-checksum-sha256"));
    match (request.header("x-amz-checksum-type"), header) {
        (None, _) => Ok(is_crc64),
        (Some("FULL_OBJECT"), Some(_)) if !is_hash => Ok(true),
        (Some("COMPOSITE"), Some(_)) if !is_crc64 => Ok(false),
        (Some(kind @ ("FULL_OBJECT" | "COMPOSITE")), Some(header)) => {
            let algorithm = checksum::algorithm(header).map_or("", |(_, name)| name).to_ascii_lowercase();
            Err(Refusal::of("InvalidRequest").saying(format!(
                "The {kind} checksum type cannot be used with the {algorithm} checksum algorithm."
            )))
        }
        (Some("FULL_OBJECT" | "COMPOSITE"), None) => Err(Refusal::of("InvalidRequest").saying(
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
        )),
        (Some(other), _) => Err(Refusal::argument(
            "x-amz-checksum-type",
            other,
            "Value for x-amz-checksum-type header is invalid.",
        )),
    }
}

pub(super) fn upload_id(request: &Request) -> &str {
    request.argument("uploadId").unwrap_or_default()
}

pub(super) fn no_such_upload(request: &Request) -> Refusal {
    Refusal::of("NoSuchUpload").with("UploadId", upload_id(request))
}

/// Keeps a part, unless it gets lost on the way.
fn keep_part(
    context: &Context<'_>,
    request: &Request,
    data: Data,
    known_md5: Option<[u8; 16]>,
) -> Result<(Part, Reply), Refusal> {
    let key = request.key()?;
    context.check_rate(key)?;
    let number = part_number(request.argument("partNumber").unwrap_or_default())?;
    let bucket = context.bucket(request)?;
    let mut bucket = write(&bucket);
    let upload =
        bucket.uploads.get_mut(upload_id(request), key.as_bytes()).ok_or_else(|| no_such_upload(request))?;
    check_key(upload.extra.encryption.as_ref(), request, CUSTOMER)?;
    let digest = shown_digest(upload.extra.encryption.as_ref(), context.store.next_sequence(), || {
        known_md5.unwrap_or_else(|| data.md5())
    });
    let is_copy = request.header("x-amz-copy-source").is_some();
    let sent = context.proof.checksum().filter(|_| !is_copy);
    let checksum = match (upload.checksum_header, sent) {
        (None, sent) => sent,
        (Some(header), None) if is_copy => Some(checksum::of_data(header, &data)),
        (Some(_), None) if upload.is_full_checksum => None,
        (Some(header), Some(sent)) if sent.header == header => Some(sent),
        (Some(header), sent) => {
            let name = |header: &str| header.trim_start_matches("x-amz-checksum-").to_owned();
            return Err(Refusal::of("InvalidRequest").saying(format!(
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                name(header),
                sent.map_or("null".to_owned(), |sent| name(sent.header))
            )));
        }
    };
    let part = Part { data, digest, checksum, at: context.now };
    if !context.loses_part {
        upload.parts.insert(number, part.clone());
    }
    Ok((part, encryption::show(upload.extra.encryption.as_ref(), Reply::empty(200))))
}

/// UploadPart.
pub(super) fn part(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let (part, reply) = keep_part(context, request, request.body.clone().into(), None)?;
    let reply = reply.header("ETag", format!("\"{}\"", part.etag()));
    Ok(match &part.checksum {
        Some(checksum) => reply.header(checksum.header, &*checksum.value),
        None => reply,
    })
}

/// UploadPartCopy.
pub(super) fn part_copy(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let source = op_copy::source(context, request)?;
    let size = source.entry.size;
    let range = request.header("x-amz-copy-source-range").map(|text| read_range(text, size)).transpose()?;
    let (from, until) = range.unwrap_or((0, size));
    if until - from > COPY_BYTES_MAX {
        return Err(op_copy::too_large());
    }
    let is_whole = (from, until) == (0, size);
    let data = source.entry.data().slice(from, until);
    let (part, mut reply) = keep_part(context, request, data, is_whole.then(|| source.md5()))?;
    let mut xml = Xml::root("CopyPartResult");
    op_copy::write_result(&mut xml, context, part.digest, part.checksum.as_ref());
    reply.body = super::reply::ReplyBody::Whole(xml.finish().into());
    Ok(source.show(reply.header("Content-Type", "application/xml")))
}

/// The range of a source, its end exclusive.
fn read_range(text: &str, size: u64) -> Result<(u64, u64), Refusal> {
    let parsed = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')).and_then(|(a, b)| {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        (digits(a) && digits(b)).then_some(())?;
        Some((a.parse::<u64>().ok()?, b.parse::<u64>().ok()?))
    });
    let Some((first, last)) = parsed else {
        return Err(Refusal::argument(
            "x-amz-copy-source-range",
            text,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last \
             are the zero-based offsets of the first and last bytes to copy",
        ));
    };
    if first > last || last >= size {
        return Err(Refusal::argument(
            "x-amz-copy-source-range",
            text,
            format!("Range specified is not valid for source object of size: {size}"),
        ));
    }
    Ok((first, last + 1))
}

/// A part that the completion names.
struct Named {
    number: u16,
    etag: String,
    checksums: Vec<(&'static str, String)>,
}

fn read_parts(body: &[u8]) -> Result<Vec<Named>, Refusal> {
    let malformed = || Refusal::of("MalformedXML");
    let root = xml_in::parse(body).map_err(|_| malformed())?;
    let is_list = root.name == "CompleteMultipartUpload" && (1..=PARTS_MAX).contains(&root.children.len());
    let parts = root.children.iter().filter(|_| is_list).map(read_part);
    parts.collect::<Option<Vec<_>>>().filter(|parts| !parts.is_empty()).ok_or_else(malformed)
}

fn read_part(part: &Element<'_>) -> Option<Named> {
    let number = part.child_text("PartNumber")?.trim().parse().ok()?;
    let etag = part.child_text("ETag")?.trim().trim_matches('"').to_owned();
    let checksums = checksum::headers()
        .filter_map(|header| Some((header, part.child_text(checksum::element(header))?.trim().to_owned())));
    (part.name == "Part").then(|| Named { number, etag, checksums: checksums.collect() })
}

/// The parts that are named, each of which has to be there and as it was named.
fn take_parts<'u>(upload: &'u Upload, named: &[Named], id: &str) -> Result<Vec<&'u Part>, Refusal> {
    if !named.windows(2).all(|pair| pair[0].number < pair[1].number) {
        return Err(Refusal::of("InvalidPartOrder").with("UploadId", id));
    }
    let mut parts = Vec::with_capacity(named.len());
    for (place, one) in named.iter().enumerate() {
        let number = one.number.to_string();
        let part = upload
            .parts
            .get(&one.number)
            .filter(|part| part.etag() == one.etag)
            .filter(|part| {
                let fits = |(header, value): &(&str, String)| {
                    part.checksum.as_ref().is_none_or(|kept| kept.header != *header || kept.value == *value)
                };
                one.checksums.iter().all(fits)
            })
            .ok_or_else(|| {
                Refusal::of("InvalidPart")
                    .with("UploadId", id)
                    .with("PartNumber", number.clone())
                    .with("ETag", one.etag.clone())
            })?;
        if place + 1 < named.len() && part.data.length() < PART_BYTES_MIN {
            return Err(Refusal::of("EntityTooSmall")
                .with("ProposedSize", part.data.length().to_string())
                .with("MinSizeAllowed", PART_BYTES_MIN.to_string())
                .with("PartNumber", number)
                .with("ETag", one.etag.clone()));
        }
        if let Some(header) = upload.checksum_header.filter(|_| !upload.is_full_checksum)
            && one.checksums.is_empty()
        {
            let algorithm = header.trim_start_matches("x-amz-checksum-");
            return Err(Refusal::of("InvalidRequest").saying(format!(
                "The upload was created using a {algorithm} checksum. The complete request must include the \
                 checksum for each part. It was missing for part {number} in the request."
            )));
        }
        parts.push(part);
    }
    Ok(parts)
}

/// The version that parts make, with the ETag that follows from theirs.
fn assemble(
    upload: &Upload,
    parts: &[&Part],
    request: &Request,
    sequence: u64,
) -> Result<(Extra, u64), Refusal> {
    let mut data = Data::default();
    let mut md5s = Md5::new();
    for part in parts {
        data.append(part.data.clone());
        md5s.update(part.digest);
    }
    let size = data.length();
    let said = request.header("x-amz-mp-object-size");
    if said.is_some_and(|said| said.parse() != Ok(size)) {
        return Err(Refusal::of("InvalidRequest")
            .saying("The provided 'x-amz-mp-object-size' header does not match what was computed."));
    }
    let digest = shown_digest(upload.extra.encryption.as_ref(), sequence, || md5s.finalize().into());
    let checksum = match upload.checksum_header {
        None => None,
        Some(header) if upload.is_full_checksum => Some(checksum::of_data(header, &data)),
        Some(header) => {
            let of_parts: Vec<&Checksum> = parts.iter().filter_map(|part| part.checksum.as_ref()).collect();
            Some(checksum::composite(header, of_parts.into_iter()))
        }
    };
    if let Some(checksum) = &checksum
        && request.header(checksum.header).is_some_and(|said| said != checksum.value)
    {
        return Err(Refusal::of("BadDigest"));
    }
    let extra = Extra {
        data: Some(data),
        digest: Some(digest),
        parts: parts.iter().map(|part| part.data.length()).collect(),
        checksum,
        ..upload.extra.clone()
    };
    Ok((extra, size))
}

/// CompleteMultipartUpload.
pub(super) fn complete(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let key: &Key = request.key()?;
    context.check_rate(key)?;
    let named = read_parts(&request.body)?;
    let mut bucket = write(&bucket);
    let id = upload_id(request);
    let upload = bucket.uploads.get(id, key.as_bytes()).ok_or_else(|| no_such_upload(request))?;
    let sequence = context.store.next_sequence();
    let parts = take_parts(upload, &named, id)?;
    let (extra, size) = assemble(upload, &parts, request, sequence)?;
    let class = upload.class;
    op_copy::check_destination(context, request, &bucket, key)?;
    let etag = format!("\"{}-{}\"", hex::encode(extra.digest.unwrap_or_default()), extra.parts.len());
    let mut xml = Xml::root("CompleteMultipartUploadResult");
    let name = request.bucket()?;
    xml.leaf(
        "Location",
        format!("http://{}{}", request.header("host").unwrap_or_default(), request.raw_path),
    );
    xml.leaf("Bucket", name);
    xml.leaf("Key", key.as_bytes());
    xml.leaf("ETag", etag);
    if let Some(checksum) = &extra.checksum {
        xml.leaf(checksum::element(checksum.header), &checksum.value);
        xml.leaf("ChecksumType", checksum.kind());
    }
    let content = Content { at: context.now, kind: Kind::Version, size, class, extra: Some(Box::new(extra)) };
    let reply = insert(context, request, &mut bucket, (key, sequence), content, Reply::xml(xml.finish()))?;
    bucket.uploads.remove(id, key.as_bytes());
    Ok(reply)
}

/// AbortMultipartUpload.
pub(super) fn abort(context: &Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let bucket = context.bucket(request)?;
    let removed = write(&bucket).uploads.remove(upload_id(request), request.key()?.as_bytes());
    removed.map(|_| Reply::empty(204)).ok_or_else(|| no_such_upload(request))
}
