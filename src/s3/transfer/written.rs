//! What the server says of an object, or of a part of one, that it has just written.

use std::borrow::Cow;
use std::sync::Arc;

use crate::model::{ChecksumKind, VersionId};
use crate::s3::checksum::ChecksumAlgorithm;
use crate::s3::codes::Tripwire;
use crate::s3::error::S3Error;
use crate::s3::send::{Answer, Call};
use crate::s3::xml::{BadXml, Elements, once, read_document};

/// An object that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// Absent where the server does not tell: Ceph RGW for copies, and any server without versions.
    pub version_id: Option<VersionId>,
    /// As the server wrote it, with its quotes; absent where it is empty, and for a delete marker.
    pub etag: Option<Box<str>>,
    /// Absent where the server keeps none.
    pub checksum: Option<ObjectChecksum>,
    /// The server's name for the request.
    pub request_id: Option<Arc<str>>,
}

/// A checksum that the server keeps of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectChecksum {
    /// The algorithm.
    pub kind: ChecksumKind,
    /// As the server wrote it: Base64, and `-` with the number of parts where it is one of parts.
    pub value: Box<str>,
    /// Whether it is of the object's bytes, not of its parts' checksums.
    pub is_full_object: bool,
}

/// A part that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartWritten {
    /// As the server wrote it, with its quotes.
    pub etag: Box<str>,
    /// Of the part's bytes. Completing an upload whose checksum is one of parts (SHA-1, SHA-256) has to
    /// name it.
    pub checksum: Option<ObjectChecksum>,
}

/// The algorithms, the one first that AWS computes where nobody asks.
const KINDS: [ChecksumKind; 5] = [
    ChecksumKind::Crc64Nvme,
    ChecksumKind::Crc32c,
    ChecksumKind::Crc32,
    ChecksumKind::Sha256,
    ChecksumKind::Sha1,
];

impl ObjectChecksum {
    /// A checksum with what the server says of its type; where it says nothing, the number of parts behind
    /// a `-` tells, for Base64 has none.
    fn new(kind: ChecksumKind, value: &str, said: Option<&str>) -> Self {
        let is_full_object = match said {
            Some(said) => said.eq_ignore_ascii_case("FULL_OBJECT"),
            None => !value.contains('-'),
        };
        Self { kind, value: value.into(), is_full_object }
    }

    /// The checksum among an answer's headers.
    pub(super) fn of_headers(answer: &Answer) -> Option<Self> {
        let said = answer.header("x-amz-checksum-type");
        KINDS.into_iter().find_map(|kind| {
            let value = answer.header(ChecksumAlgorithm::from(kind).header())?;
            Some(Self::new(kind, value, said))
        })
    }

    /// The element that names it in a document.
    pub(super) fn element(&self) -> String {
        format!("Checksum{}", ChecksumAlgorithm::from(self.kind).name())
    }
}

/// What a document says of something that was written, element by element.
#[derive(Default)]
pub(super) struct ToldXml<'a> {
    etag: Option<Cow<'a, str>>,
    checksum: Option<(ChecksumKind, Cow<'a, str>)>,
    checksum_type: Option<Cow<'a, str>>,
    /// Something that only a success says.
    is_told: bool,
}

impl<'a> ToldXml<'a> {
    /// Takes the child just opened, whatever it is.
    pub(super) fn take(&mut self, name: &str, document: &mut impl Elements<'a>) -> Result<(), BadXml> {
        match name {
            "ETag" => {
                self.is_told = true;
                return once(&mut self.etag, document);
            }
            "LastModified" | "Key" => self.is_told = true,
            // Ceph RGW opens the result before it copies.
            "Error" | "Code" => return Err("an error inside the result".into()),
            "ChecksumType" => return once(&mut self.checksum_type, document),
            _ => {}
        }
        let algorithm = name.strip_prefix("Checksum");
        let kind = KINDS.into_iter().find(|kind| algorithm == Some(ChecksumAlgorithm::from(*kind).name()));
        match kind {
            Some(kind) => {
                let text = document.text()?;
                if !text.is_empty() {
                    self.checksum = Some((kind, text));
                }
                Ok(())
            }
            None => document.skip(),
        }
    }

    pub(super) fn etag(&self) -> Option<Box<str>> {
        self.etag.as_deref().filter(|etag| !etag.is_empty()).map(Into::into)
    }

    pub(super) fn checksum(&self) -> Option<ObjectChecksum> {
        let (kind, value) = self.checksum.as_ref()?;
        Some(ObjectChecksum::new(*kind, value, self.checksum_type.as_deref()))
    }

    /// Reads a whole document that says nothing else of interest.
    pub(super) fn read(body: &'a [u8], root: &'static str) -> Result<Self, BadXml> {
        read_document(body, root, |document| {
            let mut told = Self::default();
            while let Some(start) = document.child()? {
                told.take(start.as_ref(), document)?;
            }
            if told.is_told { Ok(told) } else { Err("a result that says nothing".into()) }
        })
    }
}

impl Answer {
    /// The version that the answer is about.
    pub(super) fn version_id(&self) -> Option<VersionId> {
        VersionId::new(self.header("x-amz-version-id")?)
    }

    /// An object that a document of this root says was written.
    pub(super) fn written(&self, call: &Call<'_>, root: &'static str) -> Result<Written, S3Error> {
        let told = ToldXml::read(&self.body, root).map_err(|why| self.malformed(call, &why))?;
        let (etag, checksum) = (told.etag(), told.checksum());
        Ok(Written { version_id: self.version_id(), etag, checksum, request_id: self.request_id() })
    }

    /// The ETag among the headers, without which a server has written nothing.
    pub(super) fn etag_of_put(&self, call: &Call<'_>) -> Result<Box<str>, S3Error> {
        match self.header("etag").filter(|etag| !etag.is_empty()) {
            Some(etag) => Ok(etag.into()),
            None => Err(self.malformed(call, &"no ETag".into())),
        }
    }

    /// That the answer is about the version that was asked for, where it names one.
    pub(super) fn check_version(&self, call: &Call<'_>) -> Result<(), S3Error> {
        self.check_id(call, "x-amz-version-id", call.context.version_id.map(VersionId::as_str))
    }

    /// That a version id among the headers, if there is one, is this.
    pub(super) fn check_id(&self, call: &Call<'_>, header: &str, asked: Option<&str>) -> Result<(), S3Error> {
        match self.header(header).filter(|id| !id.is_empty()) {
            Some(id) if Some(id) != asked => {
                let message = format!("the answer is about version {id}, which was not asked for");
                let error = call.context.tripwire(Tripwire::VersionIdIgnored, &message);
                Err(self.blame(error, call.changes_the_bucket()))
            }
            _ => Ok(()),
        }
    }
}
