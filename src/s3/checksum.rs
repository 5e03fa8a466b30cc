//! Checksums of a request's body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crc::{CRC_32_ISCSI, CRC_32_ISO_HDLC, CRC_64_NVME, Crc, Table};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;

use crate::model::ChecksumKind;

// Tables for 16 bytes at a time: with those for one byte a CRC takes longer than MD5.
static CRC32: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);
static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
static CRC64_NVME: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_NVME);

/// The checksums that AWS knows beside Content-MD5.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChecksumAlgorithm {
    /// CRC-32 as in zlib.
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl ChecksumAlgorithm {
    /// The request header that carries it.
    pub const fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The name that `x-amz-sdk-checksum-algorithm` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The header's value: the big-endian digest in base64.
    pub fn value(self, body: &[u8]) -> String {
        match self {
            Self::Crc32 => STANDARD.encode(CRC32.checksum(body).to_be_bytes()),
            Self::Crc32c => STANDARD.encode(CRC32C.checksum(body).to_be_bytes()),
            Self::Crc64Nvme => STANDARD.encode(CRC64_NVME.checksum(body).to_be_bytes()),
            Self::Sha1 => STANDARD.encode(Sha1::digest(body)),
            Self::Sha256 => STANDARD.encode(Sha256::digest(body)),
        }
    }
}

impl From<ChecksumKind> for ChecksumAlgorithm {
    fn from(kind: ChecksumKind) -> Self {
        match kind {
            ChecksumKind::Crc32 => Self::Crc32,
            ChecksumKind::Crc32c => Self::Crc32c,
            ChecksumKind::Crc64Nvme => Self::Crc64Nvme,
            ChecksumKind::Sha1 => Self::Sha1,
            ChecksumKind::Sha256 => Self::Sha256,
        }
    }
}

/// What goes out beside a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Digests {
    /// The value of Content-MD5.
    pub(super) md5: String,
    /// In hexadecimal, as signing takes it.
    pub(super) sha256: String,
    /// The value of the checksum that was asked for.
    pub(super) checksum: Option<(ChecksumAlgorithm, String)>,
}

/// Longer bodies are not digested on a thread that others wait for.
const INLINE_BYTES_MAX: usize = 256 * 1024;

impl Digests {
    /// Digests a body; a long one on a thread of its own.
    pub(super) async fn of(body: &Bytes, algorithm: Option<ChecksumAlgorithm>) -> Self {
        if body.len() > INLINE_BYTES_MAX {
            let body = body.clone();
            if let Ok(digests) = tokio::task::spawn_blocking(move || Self::now(&body, algorithm)).await {
                return digests;
            }
        }
        Self::now(body, algorithm)
    }

    fn now(body: &[u8], algorithm: Option<ChecksumAlgorithm>) -> Self {
        let checksum = algorithm.map(|algorithm| (algorithm, algorithm.value(body)));
        Self { md5: content_md5(body), sha256: hex::encode(Sha256::digest(body)), checksum }
    }
}

/// The value of Content-MD5, which every server accepts and many demand for DeleteObjects.
pub(super) fn content_md5(body: &[u8]) -> String {
    STANDARD.encode(Md5::digest(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_equal_the_published_check_values() {
        // The check values of the CRC catalogue and of RFC 1321 / FIPS 180 for "123456789".
        let b64 = |bytes: &[u8]| STANDARD.encode(bytes);
        let digits = b"123456789";
        assert_eq!(ChecksumAlgorithm::Crc32.value(digits), b64(&0xcbf4_3926_u32.to_be_bytes()));
        assert_eq!(ChecksumAlgorithm::Crc32c.value(digits), b64(&0xe306_9283_u32.to_be_bytes()));
        assert_eq!(ChecksumAlgorithm::Crc64Nvme.value(digits), b64(&0xae8b_1486_0a79_9888_u64.to_be_bytes()));
        assert_eq!(ChecksumAlgorithm::Sha1.value(b"abc"), "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=");
        assert_eq!(ChecksumAlgorithm::Sha256.value(b"abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        assert_eq!(content_md5(b""), "1B2M2Y8AsgTpgAmY7PhCfg==");
    }
}
