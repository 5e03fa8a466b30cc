//! Bytes that share one allocation: a page's keys, version ids and other texts lie in one arena.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A piece of an arena. A clone shares the arena and copies nothing.
///
/// It keeps the whole arena alive: what is to be kept longer than its page is detached first.
#[derive(Clone)]
pub(super) struct Slice {
    arena: Arc<[u8]>,
    start: u32,
    end: u32,
}

impl Slice {
    /// A piece with an arena of its own.
    pub(super) fn own(bytes: impl Into<Arc<[u8]>>) -> Self {
        let arena = bytes.into();
        let end = u32::try_from(arena.len()).unwrap_or(u32::MAX);
        Self { arena, start: 0, end }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        // Both ends were checked when the piece was cut.
        self.arena.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

impl Default for Slice {
    fn default() -> Self {
        Self::own([])
    }
}

impl PartialEq for Slice {
    fn eq(&self, other: &Self) -> bool {
        // Entries of one key share the piece, which saves a look at its bytes.
        let is_same = self.start == other.start && self.end == other.end;
        (is_same && Arc::ptr_eq(&self.arena, &other.arena)) || self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Slice {}

impl PartialOrd for Slice {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Slice {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Slice {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

/// A text that the server wrote, such as an ETag.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Slice);

impl Text {
    /// The text as the server wrote it.
    pub fn as_str(&self) -> &str {
        // Only text is ever put in.
        std::str::from_utf8(self.0.as_bytes()).unwrap_or_default()
    }
}

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Slice::own(text.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Gathers the texts of many entries into one allocation.
///
/// Texts are put in first, by [`Arena::put`] and [`Arena::put_str`]; [`Arena::seal`] then makes
/// keys and ids of what they answered.
#[derive(Default, Debug)]
pub struct Arena {
    bytes: Vec<u8>,
}

/// The place of bytes in an [`Arena`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Span {
    start: u32,
    end: u32,
}

/// The place of a text in an [`Arena`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TextSpan(Span);

impl From<TextSpan> for Span {
    fn from(text: TextSpan) -> Self {
        text.0
    }
}

impl TextSpan {
    /// Whether the text is empty.
    pub const fn is_empty(self) -> bool {
        self.0.start == self.0.end
    }
}

impl Arena {
    /// Room for so many bytes without another allocation.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    /// Adds bytes. An arena holds less than 4 GiB: what goes beyond is an empty piece.
    pub fn put(&mut self, bytes: &[u8]) -> Span {
        self.put_with(|arena| arena.extend_from_slice(bytes))
    }

    /// Adds the bytes that `write` appends.
    pub fn put_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.bytes.len();
        write(&mut self.bytes);
        match (u32::try_from(start), u32::try_from(self.bytes.len())) {
            (Ok(start), Ok(end)) if start <= end => Span { start, end },
            _ => Span::default(),
        }
    }

    /// Adds the texts of a key: nothing where it is `last`, the piece that was put in before.
    pub fn put_again(&mut self, bytes: &[u8], last: Span) -> Span {
        if self.get(last) == bytes { last } else { self.put(bytes) }
    }

    /// Adds a text.
    pub fn put_str(&mut self, text: &str) -> TextSpan {
        TextSpan(self.put(text.as_bytes()))
    }

    /// Adds the text that `write` appends, which must be UTF-8.
    ///
    /// # Errors
    /// That of `write`.
    pub fn put_text<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<TextSpan, E> {
        let mut written = Ok(());
        let span = self.put_with(|out| written = write(out));
        written.map(|()| TextSpan(span))
    }

    /// The bytes of a piece.
    pub fn get(&self, span: Span) -> &[u8] {
        self.bytes.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// No more is put in.
    pub fn seal(self) -> Sealed {
        Sealed { bytes: self.bytes.into() }
    }
}

/// An arena that is complete.
#[derive(Clone, Debug)]
pub struct Sealed {
    bytes: Arc<[u8]>,
}

impl Sealed {
    pub(super) fn slice(&self, span: Span) -> Slice {
        Slice { arena: Arc::clone(&self.bytes), start: span.start, end: span.end }
    }

    /// The text of a piece.
    pub fn text(&self, span: TextSpan) -> Text {
        Text(self.slice(span.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_an_arena_are_what_was_put_in() {
        let mut arena = Arena::with_capacity(4);
        let (a, b) = (arena.put_str("abc"), arena.put_str("déf"));
        let none = arena.put_str("");
        assert_eq!(arena.get(a.0), b"abc");
        assert!(none.is_empty() && !a.is_empty());
        let sealed = arena.seal();
        assert_eq!((sealed.text(a).as_str(), sealed.text(b).as_str()), ("abc", "déf"));
        assert_eq!(sealed.text(a), Text::from("abc"));
        assert!(sealed.text(a) < sealed.text(b));
        assert_eq!(Slice::default().as_bytes(), b"");
    }
}
