//! From the key of a version to the key of its copy.

use std::fmt;

use super::{Key, Timestamp, Version, VersionId};

/// A piece of a [`KeyTemplate`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyPart {
    /// These bytes.
    Literal(Vec<u8>),
    /// The source key.
    Key,
    /// The source key without the prefix of the scope under which it was listed.
    KeyWithoutPrefix,
    /// The version id.
    VersionId,
    /// When the version was created, in UTC.
    LastModified(Vec<TimePart>),
}

/// A piece of a formatted time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TimePart {
    /// These bytes.
    Literal(Vec<u8>),
    /// Four digits.
    Year,
    /// Two digits from 01.
    Month,
    /// Two digits from 01.
    Day,
    /// Two digits from 00.
    Hour,
    /// Two digits from 00.
    Minute,
    /// Two digits from 00.
    Second,
}

/// How the key of a copy is made. Two source keys never come to the same destination key: a template
/// names the key, or the key without its prefix where there is one prefix only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyTemplate(pub Vec<KeyPart>);

impl KeyTemplate {
    /// The same key.
    pub fn identity() -> Self {
        Self(vec![KeyPart::Key])
    }

    /// Whether the copy has the key of its source.
    pub fn is_identity(&self) -> bool {
        self.0 == [KeyPart::Key]
    }

    /// Whether versions of one key may come to several keys: then a copy has no history around it, and
    /// delete markers have no place.
    pub fn is_by_version(&self) -> bool {
        self.0.iter().any(|part| matches!(part, KeyPart::VersionId | KeyPart::LastModified(_)))
    }

    /// The bytes that every key made by it begins with.
    pub fn literal_prefix(&self) -> &[u8] {
        match self.0.first() {
            Some(KeyPart::Literal(bytes)) => bytes,
            _ => b"",
        }
    }

    /// The key of the copy of a version. `prefixes` are those of the scope, none of which begins with
    /// another.
    pub fn render(&self, key: &Key, version_id: &VersionId, at: Timestamp, prefixes: &[Key]) -> Key {
        let mut out = Vec::with_capacity(key.as_bytes().len() + 32);
        for part in &self.0 {
            match part {
                KeyPart::Literal(bytes) => out.extend_from_slice(bytes),
                KeyPart::Key => out.extend_from_slice(key.as_bytes()),
                KeyPart::KeyWithoutPrefix => {
                    let bytes = key.as_bytes();
                    let rest = prefixes.iter().find_map(|prefix| bytes.strip_prefix(prefix.as_bytes()));
                    out.extend_from_slice(rest.unwrap_or(bytes));
                }
                KeyPart::VersionId => out.extend_from_slice(version_id.as_bytes()),
                KeyPart::LastModified(parts) => render_time(parts, at, &mut out),
            }
        }
        Key::new(out)
    }

    /// As [`KeyTemplate::render`], for a listed version.
    pub fn render_version(&self, version: &Version, prefixes: &[Key]) -> Key {
        self.render(&version.key, &version.id, version.last_modified, prefixes)
    }
}

/// As a job file writes it: `old/{key}`. Braces of its own bytes are doubled, and so is `%` in a time.
impl fmt::Display for KeyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                KeyPart::Literal(bytes) => {
                    let text = String::from_utf8_lossy(bytes);
                    f.write_str(&text.replace('{', "{{").replace('}', "}}"))?;
                }
                KeyPart::Key => f.write_str("{key}")?,
                KeyPart::KeyWithoutPrefix => f.write_str("{key_without_prefix}")?,
                KeyPart::VersionId => f.write_str("{version_id}")?,
                KeyPart::LastModified(parts) => {
                    f.write_str("{last_modified:")?;
                    parts.iter().try_for_each(|part| write!(f, "{part}"))?;
                    f.write_str("}")?;
                }
            }
        }
        Ok(())
    }
}

/// As a job file writes it: `%Y`.
impl fmt::Display for TimePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(bytes) => f.write_str(&String::from_utf8_lossy(bytes).replace('%', "%%")),
            Self::Year => f.write_str("%Y"),
            Self::Month => f.write_str("%m"),
            Self::Day => f.write_str("%d"),
            Self::Hour => f.write_str("%H"),
            Self::Minute => f.write_str("%M"),
            Self::Second => f.write_str("%S"),
        }
    }
}

fn render_time(parts: &[TimePart], at: Timestamp, out: &mut Vec<u8>) {
    // `2024-03-05T06:07:08.009Z`: each field has its place.
    let text = at.to_string();
    let field = |from: usize, to: usize| text.as_bytes().get(from..to).unwrap_or_default();
    for part in parts {
        out.extend_from_slice(match part {
            TimePart::Literal(bytes) => bytes,
            TimePart::Year => field(0, 4),
            TimePart::Month => field(5, 7),
            TimePart::Day => field(8, 10),
            TimePart::Hour => field(11, 13),
            TimePart::Minute => field(14, 16),
            TimePart::Second => field(17, 19),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(parts: Vec<KeyPart>, prefixes: &[Key]) -> Key {
        let id = VersionId::new("v1").unwrap();
        let at = Timestamp::from_rfc3339_utc(b"2024-03-05T06:07:08.009Z").unwrap();
        KeyTemplate(parts).render(&Key::from("logs/a"), &id, at, prefixes)
    }

    #[test]
    fn every_part_has_its_text() {
        let month = KeyPart::LastModified(vec![
            TimePart::Year,
            TimePart::Literal(b"/".to_vec()),
            TimePart::Month,
            TimePart::Day,
            TimePart::Hour,
            TimePart::Minute,
            TimePart::Second,
        ]);
        let slash = || KeyPart::Literal(b"/".to_vec());
        let parts = vec![month, slash(), KeyPart::KeyWithoutPrefix, slash(), KeyPart::VersionId];
        assert_eq!(
            render(parts, &[Key::from("tmp/"), Key::from("logs/")]),
            Key::from("2024/0305060708/a/v1")
        );
        assert_eq!(render(vec![KeyPart::Key], &[]), Key::from("logs/a"));
        assert_eq!(render(vec![KeyPart::KeyWithoutPrefix], &[Key::default()]), Key::from("logs/a"));
    }
}
