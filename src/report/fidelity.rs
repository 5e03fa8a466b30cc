//! What copies keep of their sources, by the settings of a job and by who carries the bytes: pure.

use std::borrow::Cow;

use serde::Serialize;

use crate::model::{AclSource, CopySettings, Encryption, LockSource, MetadataSource, Requirement, TagSource};

use super::units::bytes;

/// The line about the order of a key's versions.
pub(super) const ORDER: &str = "order of versions";
/// The line about delete markers.
pub(super) const DELETE_MARKERS: &str = "delete markers";

/// How a version gets to its destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// CopyObject.
    OneCall,
    /// UploadPartCopy.
    Parts,
    /// GET and PUT, or UploadPart, through this program.
    Stream,
}

/// What becomes of something that belongs to a version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// It is what it was.
    Kept,
    /// The copy has one of its own.
    Anew,
    /// The copy has none, or not this one.
    Lost,
}

/// What becomes of one thing, in a line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FidelityLine {
    /// What belongs to a version, as the table of docs/moving.md names it.
    pub what: &'static str,
    /// What becomes of it.
    pub how: How,
    /// The reason, the exception, or the setting that changes it; empty where there is nothing to say.
    pub note: Cow<'static, str>,
}

fn line(what: &'static str, how: How, note: impl Into<Cow<'static, str>>) -> FidelityLine {
    FidelityLine { what, how, note: note.into() }
}

/// What copies with these settings keep. Where the server copies and size decides between one call and
/// parts, what differs has a line for each.
pub fn fidelity(settings: &CopySettings, streams: bool) -> Vec<FidelityLine> {
    if streams {
        return fidelity_by(settings, Way::Stream);
    }
    let is_large = format!("above {}", bytes(settings.multipart_above_bytes));
    let mut lines = Vec::new();
    for (one, parts) in fidelity_by(settings, Way::OneCall).into_iter().zip(fidelity_by(settings, Way::Parts))
    {
        let differs = one.how != parts.how;
        let (what, how) = (parts.what, parts.how);
        lines.push(one);
        if differs {
            let note =
                if parts.note.is_empty() { is_large.clone() } else { format!("{is_large}: {}", parts.note) };
            lines.push(line(what, how, note));
        }
    }
    lines
}

/// What one way keeps, in the order of the table of docs/moving.md.
pub fn fidelity_by(settings: &CopySettings, way: Way) -> Vec<FidelityLine> {
    use How::{Anew, Kept, Lost};
    let mut lines = vec![
        line("body", Kept, ""),
        line("size", Kept, ""),
        line(ORDER, Kept, ""),
        line(DELETE_MARKERS, Kept, ""),
    ];
    lines.extend(of_content(settings));
    lines.push(redirect(settings, way));
    lines.push(encryption(settings));
    lines.extend(lock(settings));
    lines.push(checksum(settings, way));
    lines.extend(etags(settings, way));
    lines.extend([
        line("version id", Lost, "the audit tells which became which"),
        line("time of creation", Anew, "that of the copy"),
        line("owner", Anew, "who writes the copy, or the destination's owner"),
        line("replication status", Lost, "the destination's own rules decide"),
    ]);
    lines
}

fn of_content(settings: &CopySettings) -> [FidelityLine; 5] {
    use How::{Anew, Kept, Lost};
    let metadata = |what| match settings.metadata {
        MetadataSource::Copy => line(what, Kept, ""),
        MetadataSource::Replace(_) => line(what, Anew, "as the job's metadata says"),
    };
    let tags = match &settings.tags {
        TagSource::Copy => line("tags", Kept, ""),
        TagSource::Replace(tags) if tags.is_empty() => line("tags", Lost, "tags: none"),
        TagSource::Replace(_) => line("tags", Anew, "as the job's tags say"),
    };
    let class = match &settings.storage_class {
        None => line("storage class", Kept, ""),
        Some(class) => line("storage class", Anew, format!("{class}, as the job says")),
    };
    let acl = match &settings.acl {
        AclSource::Default => line("access control list", Lost, "say acl: copy to keep it"),
        AclSource::Copy => line("access control list", Kept, "its grants; the owner is the copy's"),
        AclSource::Canned(name) => line("access control list", Anew, format!("{name}, as the job says")),
    };
    [metadata("user metadata"), metadata("content headers"), tags, class, acl]
}

fn redirect(settings: &CopySettings, way: Way) -> FidelityLine {
    let is_asked = settings.lock == LockSource::Copy || settings.require.contains(&Requirement::Redirect);
    if way == Way::OneCall && !is_asked {
        line("website redirect", How::Lost, "say require: [redirect] to keep it")
    } else {
        line("website redirect", How::Kept, "")
    }
}

fn encryption(settings: &CopySettings) -> FidelityLine {
    let how = match settings.encryption {
        Encryption::Default => "the default of the destination's bucket",
        Encryption::S3 => "keys of S3, as the job says",
        Encryption::Kms { .. } => "keys of KMS, as the job says",
        Encryption::Customer(_) => "the customer's key, as the job says",
    };
    line("encryption", How::Anew, how)
}

fn lock(settings: &CopySettings) -> [FidelityLine; 2] {
    use How::{Anew, Kept, Lost};
    const SAY: &str = "say lock: copy to keep it";
    const SET: &str = "as the job's lock says";
    const NOT_SET: &str = "the job's lock sets none";
    let (retention, hold) = match settings.lock {
        LockSource::Default => ((Lost, SAY), (Lost, SAY)),
        LockSource::Copy => ((Kept, "what has run out is not set"), (Kept, "")),
        LockSource::Set { retention, legal_hold } => {
            let set = |is_set| if is_set { (Anew, SET) } else { (Lost, NOT_SET) };
            (set(retention.is_some()), set(legal_hold))
        }
    };
    [line("retention", retention.0, retention.1), line("legal hold", hold.0, hold.1)]
}

fn checksum(settings: &CopySettings, way: Way) -> FidelityLine {
    match way {
        _ if settings.checksum.is_some() => line("checksum", How::Anew, "of the kind that the job names"),
        Way::OneCall => line("checksum", How::Kept, "made of the whole object where it was of parts"),
        Way::Parts => line("checksum", How::Lost, "the server's default; say checksum to have one"),
        Way::Stream => {
            line("checksum", How::Kept, "that of a whole object; one of parts is lost, say checksum")
        }
    }
}

fn etags(settings: &CopySettings, way: Way) -> [FidelityLine; 2] {
    use How::{Anew, Kept};
    const ONE: &str = "ETag of one part";
    const MORE: &str = "ETag of several parts";
    const KEYED: &str = "keys of KMS or of a customer make ETags of their own";
    const LAYOUT: &str = "where all parts but the last are of one size";
    let is_keyed = matches!(settings.encryption, Encryption::Kms { .. } | Encryption::Customer(_))
        || settings.source_key.is_some();
    if is_keyed {
        return [line(ONE, Anew, KEYED), line(MORE, Anew, KEYED)];
    }
    let is_required = settings.require.contains(&Requirement::Etag);
    let (one, more) = match way {
        Way::OneCall if is_required => ((Kept, ""), (Kept, "copied in parts")),
        Way::OneCall => ((Kept, ""), (Anew, "say require: [etag] to keep it")),
        Way::Parts if is_required => ((Kept, "copied in one call"), (Kept, LAYOUT)),
        Way::Parts => ((Anew, "say require: [etag] to keep it"), (Kept, LAYOUT)),
        Way::Stream if is_required => ((Kept, "up to 128 MiB; what is larger fails"), (Kept, LAYOUT)),
        Way::Stream => ((Kept, "up to 16 MiB"), (Kept, "with parts of one size, up to 128 MiB")),
    };
    [line(ONE, one.0, one.1), line(MORE, more.0, more.1)]
}

/// The lines as text: what is kept in one line, and each other thing with its reason.
pub fn fidelity_text(lines: &[FidelityLine]) -> Vec<String> {
    let of = |how: How| lines.iter().filter(move |line| line.how == how);
    let is_twice = |what| lines.iter().filter(|line| line.what == what).count() > 1;
    let name = |line: &FidelityLine| match &*line.note {
        note if !note.is_empty() && is_twice(line.what) => format!("{} ({note})", line.what),
        _ => line.what.to_owned(),
    };
    let kept: Vec<String> = of(How::Kept).map(name).collect();
    let mut text = vec![format!("kept: {}", kept.join(", "))];
    for (word, how) in [("set anew", How::Anew), ("lost", How::Lost)] {
        text.extend(of(how).map(|line| match &*line.note {
            "" => format!("{word}: {}", line.what),
            note => format!("{word}: {} ({note})", line.what),
        }));
    }
    text
}

#[cfg(test)]
pub(in crate::report) mod tests;
