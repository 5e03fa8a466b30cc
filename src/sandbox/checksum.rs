//! Verifies what a request says about its body: Content-MD5, `x-amz-checksum-*`, the trailing
//! checksum of a chunked upload.

use std::fmt::Display;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc::{Crc, Table};
use hyper::HeaderMap;
use md5::{Digest, Md5};

use super::data::Data;
use super::entry::Checksum;
use super::refusal::Refusal;

static CRC32: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&crc::CRC_32_ISO_HDLC);
static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&crc::CRC_32_ISCSI);
static CRC64NVME: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&crc::CRC_64_NVME);

/// The checksum algorithms of S3, by the name of their header.
const ALGORITHMS: [(&str, &str); 5] = [
    ("x-amz-checksum-crc32", "CRC32"),
    ("x-amz-checksum-crc32c", "CRC32C"),
    ("x-amz-checksum-crc64nvme", "CRC64NVME"),
    ("x-amz-checksum-sha1", "SHA1"),
    ("x-amz-checksum-sha256", "SHA256"),
];

/// The header of a checksum and the name of its algorithm.
pub(super) fn algorithm(header: &str) -> Option<(&'static str, &'static str)> {
    ALGORITHMS.into_iter().find(|(name, _)| *name == header)
}

/// The header of the checksum of an algorithm.
pub(super) fn header_of(algorithm: &str) -> Option<&'static str> {
    ALGORITHMS.into_iter().find(|(_, known)| *known == algorithm).map(|(header, _)| header)
}

/// The headers of all checksums.
pub(super) fn headers() -> impl Iterator<Item = &'static str> {
    ALGORITHMS.into_iter().map(|(header, _)| header)
}

/// The element that holds the checksum of a header.
pub(super) fn element(header: &str) -> &'static str {
    match header {
        "x-amz-checksum-crc32" => "ChecksumCRC32",
        "x-amz-checksum-crc32c" => "ChecksumCRC32C",
        "x-amz-checksum-crc64nvme" => "ChecksumCRC64NVME",
        "x-amz-checksum-sha1" => "ChecksumSHA1",
        _ => "ChecksumSHA256",
    }
}

/// The checksum that a header of this name would hold, in base64.
pub(super) fn compute(header: &str, body: &[u8]) -> Option<String> {
    let bytes = match header {
        "x-amz-checksum-crc32" => CRC32.checksum(body).to_be_bytes().to_vec(),
        "x-amz-checksum-crc32c" => CRC32C.checksum(body).to_be_bytes().to_vec(),
        "x-amz-checksum-crc64nvme" => CRC64NVME.checksum(body).to_be_bytes().to_vec(),
        "x-amz-checksum-sha1" => sha1::Sha1::digest(body).to_vec(),
        "x-amz-checksum-sha256" => sha2::Sha256::digest(body).to_vec(),
        _ => return None,
    };
    Some(BASE64.encode(bytes))
}

/// Data beyond this that is not hashed gets a checksum that follows from what it is made of.
const COMPUTED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The checksum of data, in base64.
pub(super) fn of_data(header: &'static str, data: &Data) -> Checksum {
    let value = if data.is_hashed() || data.length() <= COMPUTED_BYTES_MAX {
        compute(header, &data.to_bytes()).unwrap_or_default()
    } else {
        let length = BASE64.decode(compute(header, b"").unwrap_or_default()).map_or(4, |bytes| bytes.len());
        BASE64.encode(&data.md5().repeat(2)[..length])
    };
    Checksum { header, value, is_composite: false }
}

/// The checksum of the parts' checksums.
pub(super) fn composite<'a>(
    header: &'static str,
    parts: impl ExactSizeIterator<Item = &'a Checksum>,
) -> Checksum {
    let count = parts.len();
    let all: Vec<u8> = parts.flat_map(|part| BASE64.decode(&part.value).unwrap_or_default()).collect();
    let value = format!("{}-{count}", compute(header, &all).unwrap_or_default());
    Checksum { header, value, is_composite: true }
}

/// MD5 of a body.
pub(super) fn md5(body: &[u8]) -> [u8; 16] {
    Md5::digest(body).into()
}

/// What a request proved about its body.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Proof {
    /// Content-MD5 was there, and right.
    pub(super) content_md5: bool,
    /// A checksum was there, and right: its header and value.
    pub(super) checksum: Option<(&'static str, String)>,
}

impl Proof {
    /// Whether the body is proved to have arrived whole.
    pub(super) fn is_there(&self) -> bool {
        self.content_md5 || self.checksum.is_some()
    }

    /// The checksum, as versions keep it.
    pub(super) fn checksum(&self) -> Option<Checksum> {
        let (header, value) = self.checksum.clone()?;
        Some(Checksum { header, value, is_composite: false })
    }
}

/// Checks all that a request says about its body; `trailer` is what came behind a chunked one.
pub(super) fn verify(
    headers: &HeaderMap,
    trailer: Option<&(String, String)>,
    body: &[u8],
) -> Result<Proof, Refusal> {
    let mut proof = Proof::default();
    if let Some(value) = headers.get("content-md5") {
        let text = value.to_str().unwrap_or("");
        let said = BASE64.decode(text).ok().filter(|said| said.len() == 16);
        let said = said.ok_or_else(|| Refusal::of("InvalidDigest").with("Content-MD5", text))?;
        let computed = md5(body);
        if said != computed {
            return Err(Refusal::of("BadDigest")
                .with("ExpectedDigest", text)
                .with("CalculatedDigest", BASE64.encode(computed)));
        }
        proof.content_md5 = true;
    }
    let said = ALGORITHMS.into_iter().filter_map(|(name, _)| {
        let in_header = headers.get(name).and_then(|value| value.to_str().ok());
        let in_trailer = trailer.filter(|(trailing, _)| trailing == name).map(|(_, value)| value.as_str());
        in_header.or(in_trailer).map(|value| (name, value.to_owned()))
    });
    for (name, value) in said {
        if proof.checksum.is_some() {
            return Err(Refusal::of("InvalidRequest").saying(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
        verify_one(name, &value, body)?;
        proof.checksum = Some((name, value));
    }
    Ok(proof)
}

fn verify_one(name: &'static str, value: &str, body: &[u8]) -> Result<(), Refusal> {
    let computed = compute(name, body).unwrap_or_default();
    let is_well_formed = BASE64
        .decode(value)
        .is_ok_and(|said| BASE64.decode(&computed).is_ok_and(|computed| computed.len() == said.len()));
    if !is_well_formed {
        return Err(invalid(format_args!("Value for {name} header is invalid.")));
    }
    if computed != value {
        let algorithm = algorithm(name).map_or("", |(_, algorithm)| algorithm);
        return Err(Refusal::of("BadDigest")
            .saying(format!("The {algorithm} you specified did not match the calculated checksum.")));
    }
    Ok(())
}

fn invalid(message: impl Display) -> Refusal {
    Refusal::of("InvalidRequest").saying(message.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    /// The check values that the catalogue of CRCs and the RFCs give for `123456789`.
    #[test]
    fn checksums_are_those_of_the_catalogue() {
        for (header, hex) in [
            ("x-amz-checksum-crc32", "cbf43926"),
            ("x-amz-checksum-crc32c", "e3069283"),
            ("x-amz-checksum-crc64nvme", "ae8b14860a799888"),
            ("x-amz-checksum-sha1", "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
        ] {
            let bytes = BASE64.decode(compute(header, b"123456789").unwrap()).unwrap();
            assert_eq!(hex::encode(bytes), hex, "{header}");
        }
        assert_eq!(hex::encode(md5(b"")), "d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn a_wrong_digest_is_bad_and_a_malformed_one_invalid() {
        let code = |pairs: &[(&'static str, &str)]| {
            verify(&headers(pairs), None, b"abc").map_err(|refusal| refusal.code.into_owned())
        };
        assert_eq!(code(&[("content-md5", "kAFQmDzST7DWlj99KOF/cg==")]).map(|p| p.content_md5), Ok(true));
        assert_eq!(code(&[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")]), Err("BadDigest".into()));
        assert_eq!(code(&[("content-md5", "abc")]), Err("InvalidDigest".into()));
        assert_eq!(code(&[("x-amz-checksum-crc32", "AAAAAA==")]), Err("BadDigest".into()));
        assert_eq!(code(&[("x-amz-checksum-crc32", "AAAA")]), Err("InvalidRequest".into()));
        let trailer = ("x-amz-checksum-crc32".to_owned(), "NSRBwg==".to_owned());
        let proof = verify(&headers(&[]), Some(&trailer), b"abc").unwrap();
        assert_eq!(proof.checksum, Some(("x-amz-checksum-crc32", "NSRBwg==".to_owned())));
    }
}
