//! Writes the XML that S3 answers with, as AWS writes it: no white space between elements, `&quot;`
//! in text, CR as `&#13;`.

use super::digits::push_number;

/// The namespace of S3's answers.
pub(super) const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

const DECLARATION: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// A document that grows.
pub(super) struct Xml {
    out: Vec<u8>,
    open: Vec<&'static str>,
}

impl Xml {
    /// A document whose root element is in S3's namespace.
    pub(super) fn root(name: &'static str) -> Self {
        let mut xml = Self::bare_root(name);
        xml.out.truncate(xml.out.len() - 1);
        xml.out.extend_from_slice(b" xmlns=\"");
        xml.out.extend_from_slice(NAMESPACE.as_bytes());
        xml.out.extend_from_slice(b"\">");
        xml
    }

    /// A document whose root element is in no namespace, as that of errors.
    pub(super) fn bare_root(name: &'static str) -> Self {
        let mut xml = Self { out: Vec::with_capacity(1024), open: Vec::new() };
        xml.out.extend_from_slice(DECLARATION);
        xml.open(name);
        xml
    }

    /// Makes room for so many bytes more.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    /// Opens an element.
    pub(super) fn open(&mut self, name: &'static str) {
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'>');
        self.open.push(name);
    }

    /// Closes the element that was opened last.
    pub(super) fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.out.extend_from_slice(b"</");
            self.out.extend_from_slice(name.as_bytes());
            self.out.push(b'>');
        }
    }

    /// An element with nothing but text in it; an empty one is written in its short form, as AWS
    /// does.
    pub(super) fn leaf(&mut self, name: &'static str, text: impl AsRef<[u8]>) {
        self.leaf_of(name, |out| push_text(out, text.as_ref()));
    }

    /// The same with text that `write` adds, in which nothing has to be replaced.
    pub(super) fn leaf_of(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        let end_of_name = self.out.len();
        self.out.push(b'>');
        write(&mut self.out);
        if self.out.len() == end_of_name + 1 {
            self.out.truncate(end_of_name);
            self.out.extend_from_slice(b"/>");
            return;
        }
        self.out.extend_from_slice(b"</");
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'>');
    }

    /// Elements that were written before.
    pub(super) fn elements(&mut self, written: &[u8]) {
        self.out.extend_from_slice(written);
    }

    /// An element that holds `true` or `false`.
    pub(super) fn flag(&mut self, name: &'static str, value: bool) {
        self.leaf_of(name, |out| out.extend_from_slice(if value { b"true" } else { b"false" }));
    }

    /// An element that holds a number.
    pub(super) fn number(&mut self, name: &'static str, value: u64) {
        self.leaf_of(name, |out| push_number(out, value));
    }

    /// Text with what XML reserves replaced.
    pub(super) fn text(&mut self, text: &[u8]) {
        push_text(&mut self.out, text);
    }

    /// Closes what is open and gives the document out.
    pub(super) fn finish(mut self) -> Vec<u8> {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }
}

/// Adds text with what XML reserves replaced. What XML cannot represent goes out as it is: such a
/// document is not well-formed, which is what AWS sends where `encoding-type=url` is missing.
fn push_text(out: &mut Vec<u8>, mut text: &[u8]) {
    let is_reserved = |byte: &u8| matches!(byte, b'&' | b'<' | b'>' | b'"' | b'\r');
    // Nearly all text has nothing to replace: a look at all of it at once is quicker than a search.
    if !text.iter().fold(false, |found, byte| found | is_reserved(byte)) {
        out.extend_from_slice(text);
        return;
    }
    while let Some(at) = text.iter().position(is_reserved) {
        out.extend_from_slice(&text[..at]);
        out.extend_from_slice(match text[at] {
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'"' => b"&quot;",
            _ => b"&#13;",
        });
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Adds text in `encoding-type=url` as AWS does it: letters, digits, `-`, `.`, `_`, `*` and `/` stay,
/// a space becomes `+`, every other byte a percent escape.
pub(super) fn push_listing_encoded(out: &mut Vec<u8>, mut text: &[u8]) {
    while let Some(at) = text.iter().position(|byte| !STAYS_IN_LISTINGS[usize::from(*byte)]) {
        out.extend_from_slice(&text[..at]);
        if text[at] == b' ' {
            out.push(b'+')
        } else {
            push_escape(out, text[at])
        }
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

const STAYS_IN_LISTINGS: [bool; 256] = {
    let mut stays = [false; 256];
    let mut byte = 0;
    while byte < stays.len() {
        let is_mark = matches!(byte as u8, b'-' | b'.' | b'_' | b'*' | b'/');
        stays[byte] = is_mark || (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    stays
};

/// The encoding that Signature Version 4 prescribes: letters, digits, `-`, `.`, `_` and `~` stay,
/// `/` only where asked for.
pub(super) fn signature_encode(text: &[u8], keep_slash: bool) -> String {
    let mut out = Vec::with_capacity(text.len() + 16);
    for &byte in text {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte),
            b'/' if keep_slash => out.push(byte),
            _ => push_escape(&mut out, byte),
        }
    }
    out.into_iter().map(char::from).collect()
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_written_as_aws_writes_it() {
        let mut xml = Xml::root("Result");
        xml.leaf("Key", "a&b<c>\"\r\n'");
        xml.leaf("Prefix", "");
        xml.open("Owner");
        xml.number("ID", 7);
        let text = String::from_utf8(xml.finish()).unwrap();
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <Result xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Key>a&amp;b&lt;c&gt;&quot;&#13;\n'</Key><Prefix/><Owner><ID>7</ID></Owner></Result>"
        );
    }

    #[test]
    fn a_space_is_a_plus_in_listings_and_an_escape_in_signatures() {
        let mut out = Vec::new();
        push_listing_encoded(&mut out, "a b+c/ü(~*\u{1}".as_bytes());
        assert_eq!(out, b"a+b%2Bc/%C3%BC%28%7E*%01");
        assert_eq!(signature_encode("a b+c/~*".as_bytes(), true), "a%20b%2Bc/~%2A");
        assert_eq!(signature_encode(b"a/b", false), "a%2Fb");
    }
}
