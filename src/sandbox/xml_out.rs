//! Writes the XML that S3 answers with, as AWS writes it: no white space between elements, `&quot;`
//! in text, CR as `&#13;`.

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
        let text = text.as_ref();
        if text.is_empty() {
            self.out.push(b'<');
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b"/>");
            return;
        }
        self.open(name);
        self.text(text);
        self.close();
    }

    /// An element that holds `true` or `false`.
    pub(super) fn flag(&mut self, name: &'static str, value: bool) {
        self.leaf(name, if value { "true" } else { "false" });
    }

    /// An element that holds a number.
    pub(super) fn number(&mut self, name: &'static str, value: u64) {
        self.leaf(name, value.to_string());
    }

    /// Text with what XML reserves replaced. What XML cannot represent goes out as it is: such a
    /// document is not well-formed, which is what AWS sends where `encoding-type=url` is missing.
    pub(super) fn text(&mut self, text: &[u8]) {
        for &byte in text {
            match byte {
                b'&' => self.out.extend_from_slice(b"&amp;"),
                b'<' => self.out.extend_from_slice(b"&lt;"),
                b'>' => self.out.extend_from_slice(b"&gt;"),
                b'"' => self.out.extend_from_slice(b"&quot;"),
                b'\r' => self.out.extend_from_slice(b"&#13;"),
                _ => self.out.push(byte),
            }
        }
    }

    /// Closes what is open and gives the document out.
    pub(super) fn finish(mut self) -> Vec<u8> {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// `encoding-type=url` as AWS does it: letters, digits, `-`, `.`, `_`, `*` and `/` stay, a space
/// becomes `+`, every other byte a percent escape.
pub(super) fn listing_encode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    for &byte in text {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' | b'/' => out.push(byte),
            b' ' => out.push(b'+'),
            _ => push_escape(&mut out, byte),
        }
    }
    out
}

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
        assert_eq!(listing_encode("a b+c/ü(~*\u{1}".as_bytes()), b"a+b%2Bc/%C3%BC%28%7E*%01");
        assert_eq!(signature_encode("a b+c/~*".as_bytes(), true), "a%20b%2Bc/~%2A");
        assert_eq!(signature_encode(b"a/b", false), "a%2Fb");
    }
}
