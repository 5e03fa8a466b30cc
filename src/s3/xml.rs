//! Reading answers: elements in document order, nothing trimmed, nothing assumed.
//!
//! The reader underneath reports the end of a truncated document as an ordinary end of input, so a
//! document counts only after [`Document::end`] has seen its root closed and nothing but white
//! space behind.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Elements of S3 answers nest four deep.
pub(super) const DEPTH_MAX: usize = 16;
/// A key of 1,024 bytes takes 3 KiB percent-encoded, more where a server escapes on top.
pub(super) const TEXT_BYTES_MAX: usize = 16 * 1024;

/// Why a document is none, in a few words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct BadXml(pub(super) Cow<'static, str>);

impl From<&'static str> for BadXml {
    fn from(why: &'static str) -> Self {
        Self(why.into())
    }
}

fn syntax(why: &quick_xml::Error) -> BadXml {
    BadXml(format!("not XML: {why}").into())
}

/// A text as it stands in the document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RawText<'a> {
    pub(super) text: Cow<'a, str>,
    /// Whether entities in it are still to be replaced.
    pub(super) is_escaped: bool,
}

impl<'a> RawText<'a> {
    pub(super) fn resolved(self) -> Result<Cow<'a, str>, BadXml> {
        if !self.is_escaped {
            return Ok(self.text);
        }
        let text = quick_xml::escape::unescape(&self.text).map_err(|_| BadXml::from("an unknown entity"))?;
        Ok(Cow::Owned(text.into_owned()))
    }

    /// The text between a `&quot;` at either end, where those are its only entities. ETags are the one
    /// text of a page that servers escape.
    fn quoted(&self) -> Option<&str> {
        let bare = self.text.strip_prefix("&quot;")?.strip_suffix("&quot;")?;
        (self.is_escaped && memchr::memchr(b'&', bare.as_bytes()).is_none()).then_some(bare)
    }

    /// Finds entities that do not exist.
    pub(super) fn check(&self) -> Result<(), BadXml> {
        if !self.is_escaped || self.quoted().is_some() {
            return Ok(());
        }
        self.clone().resolved().map(|_| ())
    }

    /// Appends the text.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) -> Result<(), BadXml> {
        match self.quoted() {
            Some(bare) => {
                out.push(b'"');
                out.extend_from_slice(bare.as_bytes());
                out.push(b'"');
            }
            None => out.extend_from_slice(self.clone().resolved()?.as_bytes()),
        }
        Ok(())
    }
}

/// The elements of a document in their order, whichever reader brings them.
pub(super) trait Elements<'a> {
    /// An element's name without its name space's prefix.
    type Name: AsRef<str>;

    /// The root's name.
    fn root(&self) -> &str;

    /// The next child of the element that is open, or `None` where that element closed.
    ///
    /// Its content must be consumed by `text`, `raw_text`, `skip`, or this function.
    fn child(&mut self) -> Result<Option<Self::Name>, BadXml>;

    /// The text of the child just opened, up to and with its end tag.
    fn raw_text(&mut self) -> Result<RawText<'a>, BadXml>;

    /// Passes over the child just opened.
    fn skip(&mut self) -> Result<(), BadXml>;

    /// Reads the child just opened, an entry such as there are many of: hands the texts of those of its
    /// children that are `wanted` to `each`, with their names, and passes over the others. All entries of
    /// one name must be read with the same wishes.
    fn leaves(
        &mut self,
        wanted: impl Fn(&str) -> bool,
        mut each: impl FnMut(&str, RawText<'a>) -> Result<(), BadXml>,
    ) -> Result<(), BadXml> {
        while let Some(start) = self.child()? {
            if wanted(start.as_ref()) {
                let text = self.raw_text()?;
                each(start.as_ref(), text)?;
            } else {
                self.skip()?;
            }
        }
        Ok(())
    }

    /// The text of the child just opened, with its entities replaced.
    fn text(&mut self) -> Result<Cow<'a, str>, BadXml> {
        self.raw_text()?.resolved()
    }
}

/// The local name of a start tag.
pub(super) struct TagName<'a>(BytesStart<'a>);

impl AsRef<str> for TagName<'_> {
    fn as_ref(&self) -> &str {
        self.0.local_name().into_inner()
    }
}

/// A document whose root is open.
pub(super) struct Document<'a> {
    reader: Reader<&'a [u8]>,
    /// Open elements, the root included.
    depth: usize,
    root: String,
}

impl<'a> Document<'a> {
    /// Reads up to the root's start tag.
    pub(super) fn open(body: &'a [u8]) -> Result<Self, BadXml> {
        let text = std::str::from_utf8(body).map_err(|_| BadXml::from("not UTF-8"))?;
        let mut reader = Reader::from_str(text);
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.check_end_names = true;
        let mut document = Self { reader, depth: 0, root: String::new() };
        loop {
            match document.event()? {
                Event::Start(start) => {
                    document.root = start.local_name().as_ref().to_owned();
                    document.depth = 1;
                    return Ok(document);
                }
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
                // S3 sends white space to keep a slow answer's connection open.
                Event::Text(text) if is_blank(&text) => {}
                Event::Eof => return Err("empty".into()),
                _ => return Err("text before the root element".into()),
            }
        }
    }

    /// Confirms that the root closed and only white space follows.
    pub(super) fn end(&mut self) -> Result<(), BadXml> {
        if self.depth != 0 {
            return Err("the root element is still open".into());
        }
        loop {
            match self.event()? {
                Event::Eof => return Ok(()),
                Event::Text(text) if is_blank(&text) => {}
                _ => return Err("content behind the root element".into()),
            }
        }
    }

    fn event(&mut self) -> Result<Event<'a>, BadXml> {
        match self.reader.read_event() {
            Ok(Event::DocType(_)) => Err("a document type declaration".into()),
            Ok(event) => Ok(event),
            Err(why) => Err(syntax(&why)),
        }
    }
}

impl<'a> Elements<'a> for Document<'a> {
    type Name = TagName<'a>;

    fn root(&self) -> &str {
        &self.root
    }

    fn child(&mut self) -> Result<Option<TagName<'a>>, BadXml> {
        loop {
            match self.event()? {
                Event::Start(start) => {
                    self.depth += 1;
                    if self.depth > DEPTH_MAX {
                        return Err("nested too deep".into());
                    }
                    return Ok(Some(TagName(start)));
                }
                Event::End(_) => {
                    self.depth -= 1;
                    return Ok(None);
                }
                Event::Text(text) if is_blank(&text) => {}
                Event::Comment(_) | Event::PI(_) => {}
                Event::Eof => return Err("truncated".into()),
                _ => return Err("text between elements".into()),
            }
        }
    }

    fn raw_text(&mut self) -> Result<RawText<'a>, BadXml> {
        let mut text: Cow<'a, str> = Cow::Borrowed("");
        loop {
            let piece = match self.event()? {
                Event::Text(piece) => piece.into_inner(),
                Event::CData(piece) => piece.into_inner(),
                Event::GeneralRef(reference) => Cow::Owned(resolve(&reference)?.to_string()),
                Event::End(_) => {
                    self.depth -= 1;
                    return Ok(RawText { text, is_escaped: false });
                }
                Event::Comment(_) | Event::PI(_) => continue,
                Event::Eof => return Err("truncated".into()),
                _ => return Err("an element where text was expected".into()),
            };
            if text.len() + piece.len() > TEXT_BYTES_MAX {
                return Err("text too long".into());
            }
            if text.is_empty() {
                text = piece;
            } else {
                text.to_mut().push_str(&piece);
            }
        }
    }

    fn skip(&mut self) -> Result<(), BadXml> {
        let outside = self.depth - 1;
        while self.depth > outside {
            match self.event()? {
                Event::Start(_) => {
                    self.depth += 1;
                    if self.depth > DEPTH_MAX {
                        return Err("nested too deep".into());
                    }
                }
                Event::End(_) => self.depth -= 1,
                Event::Eof => return Err("truncated".into()),
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_blank(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'))
}

fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> Result<char, BadXml> {
    if let Some(c) = reference.resolve_char_ref().map_err(|why| syntax(&why))? {
        return Ok(c);
    }
    match &**reference {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err("an unknown entity".into()),
    }
}

/// Reads a whole document with this root.
pub(super) fn read_document<'a, T>(
    body: &'a [u8],
    root: &'static str,
    read: impl FnOnce(&mut Document<'a>) -> Result<T, BadXml>,
) -> Result<T, BadXml> {
    let mut document = Document::open(body)?;
    if document.root() != root {
        return Err(BadXml(format!("the root element is not {root}").into()));
    }
    let value = read(&mut document)?;
    document.end()?;
    Ok(value)
}

/// Puts the text of the child just opened into its slot; a second one makes the document void.
pub(super) fn once<'a>(
    slot: &mut Option<Cow<'a, str>>,
    document: &mut impl Elements<'a>,
) -> Result<(), BadXml> {
    put_once(slot, document.text()?)
}

/// Puts a value into its slot; a second one makes the document void.
pub(super) fn put_once<T>(slot: &mut Option<T>, value: T) -> Result<(), BadXml> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err("an element twice".into()),
    }
}

/// Appends text to an XML document.
///
/// CR, LF and TAB go out as character references: a parser turns a bare CR into LF.
pub(super) fn escape_into(out: &mut Vec<u8>, text: &[u8]) {
    if !may_need_escape(text) {
        out.extend_from_slice(text);
        return;
    }
    for &byte in text {
        match escape_of(byte) {
            Some(escaped) => out.extend_from_slice(escaped.as_bytes()),
            None => out.push(byte),
        }
    }
}

/// How many bytes [`escape_into`] appends.
pub(super) fn escaped_len(text: &[u8]) -> usize {
    if !may_need_escape(text) {
        return text.len();
    }
    text.iter().map(|&byte| escape_of(byte).map_or(1, str::len)).sum()
}

/// Whether a byte may have an escape: those above the apostrophe have none but `<` and `>`. Without an
/// early end, so that many bytes are looked at at once.
fn may_need_escape(text: &[u8]) -> bool {
    text.iter().fold(false, |may, &byte| may | (byte <= b'\'') | (byte == b'<') | (byte == b'>'))
}

const fn escape_of(byte: u8) -> Option<&'static str> {
    match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'"' => Some("&quot;"),
        b'\'' => Some("&apos;"),
        b'\r' => Some("&#13;"),
        b'\n' => Some("&#10;"),
        b'\t' => Some("&#9;"),
        _ => None,
    }
}

/// Whether a body shows at once that its root is no `<Error>`, which saves reading a page to see it.
fn is_another_root(body: &[u8]) -> bool {
    let start = body.trim_ascii_start();
    let start = start.strip_prefix(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>").unwrap_or(start);
    let root = start.trim_ascii_start().strip_prefix(b"<").unwrap_or_default();
    root.first().is_some_and(u8::is_ascii_alphabetic) && !root.starts_with(b"Error")
}

/// An `<Error>` document.
#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct ErrorBody {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) request_id: Option<String>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
}

/// Reads an `<Error>` document; `None` where the body is anything else.
pub(super) fn error_body(body: &[u8]) -> Option<ErrorBody> {
    if is_another_root(body) {
        return None;
    }
    let mut document = Document::open(body).ok()?;
    if document.root() != "Error" {
        return None;
    }
    let mut error = ErrorBody::default();
    while let Some(start) = document.child().ok()? {
        match start.as_ref() {
            "Code" => error.code = document.text().ok()?.into_owned(),
            "Message" => error.message = document.text().ok()?.into_owned(),
            "RequestId" => error.request_id = Some(document.text().ok()?.into_owned()),
            "Region" => error.region = Some(document.text().ok()?.into_owned()),
            "Endpoint" => error.endpoint = Some(document.text().ok()?.into_owned()),
            _ => document.skip().ok()?,
        }
    }
    document.end().ok()?;
    Some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(body: &str) -> Result<String, BadXml> {
        let mut document = Document::open(body.as_bytes())?;
        let mut text = String::new();
        while document.child()?.is_some() {
            text.push_str(&document.text()?);
        }
        document.end()?;
        Ok(text)
    }

    #[test]
    fn text_is_neither_trimmed_nor_left_encoded() {
        let read =
            |inner: &str| text_of(&format!("<?xml version=\"1.0\"?>\n<R xmlns=\"u\"><K>{inner}</K></R>\n"));
        assert_eq!(read("  a &amp; b&#13;&#x9;\n ").as_deref(), Ok("  a & b\r\t\n "));
        assert_eq!(read("<![CDATA[<x>]]>&lt;").as_deref(), Ok("<x><"));
        assert_eq!(read("").as_deref(), Ok(""));
        assert!(read("&nbsp;").is_err());
        assert!(read("<b/>").is_err());
        assert!(read(&"x".repeat(TEXT_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn only_a_whole_document_counts() {
        let whole = " <R><K>a</K><K/></R>\n";
        assert_eq!(text_of(whole).as_deref(), Ok("a"));
        for cut in 0..whole.len() - 1 {
            assert!(text_of(&whole[..cut]).is_err(), "{}", &whole[..cut]);
        }
        for bad in [
            "",
            "  ",
            "plain",
            "<R><K>a</R>",
            "<R><K>a</K></R><R/>",
            "<R><K>a</K></R>x",
            "<R>x<K>a</K></R>",
            "<!DOCTYPE html><R><K>a</K></R>",
            "<!DOCTYPE R [<!ENTITY a \"b\">]><R><K>&a;</K></R>",
        ] {
            assert!(text_of(bad).is_err(), "{bad}");
        }
        let deep = format!("<R>{}</R>", "<a>".repeat(40));
        let mut document = Document::open(deep.as_bytes()).expect("opens");
        document.child().expect("first child");
        assert_eq!(document.skip(), Err("nested too deep".into()));
        assert!(Document::open(b"<R>\xff</R>").is_err());
    }

    #[test]
    fn nothing_that_has_an_escape_goes_without() {
        for byte in 0..=255_u8 {
            let mut out = Vec::new();
            escape_into(&mut out, &[b'a', byte]);
            let wanted = escape_of(byte).map_or(vec![byte], |escape| escape.as_bytes().to_vec());
            assert_eq!(out[1..], wanted, "{byte}");
        }
    }

    #[test]
    fn what_is_escaped_is_read_back() {
        let text = "a&b<c>d\"e'f\rg\nh\ti ]]> ü";
        let mut out = Vec::new();
        escape_into(&mut out, text.as_bytes());
        assert_eq!(escaped_len(text.as_bytes()), out.len());
        let body = format!("<R><K>{}</K></R>", String::from_utf8(out).expect("UTF-8"));
        assert_eq!(text_of(&body).as_deref(), Ok(text));
    }

    #[test]
    fn an_error_document_is_told_from_others() {
        let body = b"<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>m</Message>\
            <RequestId>r</RequestId><Region>eu-west-1</Region><Endpoint>e</Endpoint><HostId>h</HostId></Error>";
        let error = error_body(body).expect("an error");
        assert_eq!((error.code.as_str(), error.message.as_str()), ("SlowDown", "m"));
        assert_eq!(error.region.as_deref(), Some("eu-west-1"));
        assert_eq!(error.endpoint.as_deref(), Some("e"));
        assert_eq!(error_body(&body[..body.len() - 1]), None);
        assert_eq!(error_body(b"<DeleteResult/>"), None);
    }
}
