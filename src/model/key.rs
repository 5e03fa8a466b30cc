//! Keys are bytes: never a path, never a URL, never normalised, never trimmed.

use std::fmt;
use std::sync::Arc;

use super::text::{Sealed, Slice, Span};

/// An object key, exactly as the server holds it.
///
/// The order of keys is the order of their bytes, which for UTF-8 is the order that S3 documents
/// for its listings.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key(Slice);

impl Key {
    /// Takes the bytes as they are.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(Slice::own(bytes))
    }

    /// The key that lies there in an arena.
    pub fn at(arena: &Sealed, span: Span) -> Self {
        Self(arena.slice(span))
    }

    /// The same key without the arena of its page.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self::new(self.as_bytes())
    }

    /// The bytes of the key.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The key as text, where it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()).ok()
    }

    /// Whether the key begins with these bytes.
    pub fn starts_with(&self, prefix: &[u8]) -> bool {
        self.as_bytes().starts_with(prefix)
    }

    /// Whether an XML 1.0 document can carry the key.
    ///
    /// C0 controls other than TAB, LF and CR, and U+FFFE and U+FFFF, have no representation in
    /// XML 1.0, escaped or not; neither have bytes that are not UTF-8. DeleteObjects answers
    /// MalformedXML to a whole batch that holds one such key.
    pub fn fits_xml(&self) -> bool {
        // Without an early end, so that many bytes are looked at at once.
        if !self.as_bytes().iter().fold(false, |odd, byte| odd | !matches!(byte, 0x20..=0x7e)) {
            return true;
        }
        self.as_str().is_some_and(|text| {
            text.chars().all(|c| {
                !matches!(c,
                    '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
            })
        })
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

/// For people: control characters and bytes that are not UTF-8 are escaped, so that a key cannot
/// forge a log line or steer a terminal.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.as_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() || c == '\\' {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    write!(f, "{c}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_byte_order_not_utf16_order() {
        // U+FF5E sorts after U+1F600 in UTF-16 code units, before it in bytes.
        assert!(Key::from("\u{ff5e}") < Key::from("\u{1f600}"));
    }

    #[test]
    fn display_escapes_what_could_steer_a_terminal() {
        assert_eq!(Key::from("a\u{1b}[31m\nb\\").to_string(), "a\\u{1b}[31m\\nb\\\\");
        assert_eq!(Key::new(*b"a\xffb").to_string(), "a\\xffb");
        assert_eq!(Key::from("grün/日").to_string(), "grün/日");
    }

    #[test]
    fn xml_holds_tab_lf_cr_and_no_other_control() {
        assert!(Key::from("a\t\n\rb //../&<>\u{10ffff}").fits_xml());
        for bad in ["a\u{1}", "\u{0}", "x\u{b}y", "\u{1f}", "\u{fffe}", "\u{ffff}"] {
            assert!(!Key::from(bad).fits_xml(), "{bad:?}");
        }
        assert!(!Key::new(*b"\xff").fits_xml());
    }
}
