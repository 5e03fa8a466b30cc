//! Reads the XML that requests carry, strictly: what is not well-formed is refused.
//!
//! Line ends are normalised as XML 1.0 demands (a raw CR becomes LF, `&#13;` stays a CR), and
//! characters that XML 1.0 cannot represent are refused, written out or escaped. So a client that
//! gets either wrong fails here as it fails on AWS.

use std::borrow::Cow;

/// An element with its children and the text directly in it. Names and text are slices of the
/// document, text only where nothing in it had to be replaced.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Element<'d> {
    /// Local name, without a namespace prefix.
    pub(super) name: &'d str,
    /// Text, untrimmed.
    pub(super) text: Cow<'d, str>,
    /// Elements in it, in order.
    pub(super) children: Vec<Element<'d>>,
}

impl Element<'_> {
    /// The text of the first child of this name.
    pub(super) fn child_text(&self, name: &str) -> Option<&str> {
        self.children.iter().find(|child| child.name == name).map(|child| &*child.text)
    }
}

/// The document is not well-formed XML.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

/// Deeper nesting than any request of S3 has.
const DEPTH_MAX: usize = 16;

/// Reads a document to its root element.
pub(super) fn parse(bytes: &[u8]) -> Result<Element<'_>, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed)?;
    let mut reader = Reader { rest: text.strip_prefix('\u{feff}').unwrap_or(text) };
    reader.skip_misc()?;
    let root = reader.element(0)?;
    reader.skip_misc()?;
    if reader.rest.is_empty() { Ok(root) } else { Err(Malformed) }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'d> Reader<'d> {
    /// White space, comments and processing instructions outside of the root. A DOCTYPE is refused:
    /// entities of a stranger's making have no place in a request.
    fn skip_misc(&mut self) -> Result<(), Malformed> {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
            if self.rest.starts_with("<?") {
                self.skip_past("?>")?;
            } else if self.rest.starts_with("<!--") {
                self.skip_past("-->")?;
            } else {
                return Ok(());
            }
        }
    }

    fn skip_past(&mut self, end: &str) -> Result<(), Malformed> {
        let at = self.rest.find(end).ok_or(Malformed)?;
        self.rest = &self.rest[at + end.len()..];
        Ok(())
    }

    fn eat(&mut self, text: &str) -> bool {
        self.rest.strip_prefix(text).inspect(|rest| self.rest = rest).is_some()
    }

    /// An element, from its `<` to the `>` of its end tag.
    fn element(&mut self, depth: usize) -> Result<Element<'d>, Malformed> {
        if depth > DEPTH_MAX || !self.eat("<") {
            return Err(Malformed);
        }
        let full_name = self.name()?;
        let local = full_name
            .bytes()
            .rposition(|byte| byte == b':')
            .map_or(full_name, |colon| &full_name[colon + 1..]);
        let mut element = Element { name: local, ..Element::default() };
        if self.attributes()? {
            return Ok(element);
        }
        loop {
            if self.eat("</") {
                if !self.eat(full_name) {
                    return Err(Malformed);
                }
                self.rest = self.rest.trim_start();
                return if self.eat(">") { Ok(element) } else { Err(Malformed) };
            } else if self.rest.starts_with("<!--") {
                self.skip_past("-->")?;
            } else if self.rest.starts_with("<?") {
                self.skip_past("?>")?;
            } else if self.eat("<![CDATA[") {
                let end = self.rest.find("]]>").ok_or(Malformed)?;
                push_text(&mut element.text, &self.rest[..end])?;
                self.rest = &self.rest[end + 3..];
            } else if self.rest.starts_with('<') {
                element.children.push(self.element(depth + 1)?);
            } else {
                self.text(&mut element.text)?;
            }
        }
    }

    fn name(&mut self) -> Result<&'d str, Malformed> {
        let is_part = |byte: &u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':') || !byte.is_ascii()
        };
        let end = self.rest.bytes().position(|byte| !is_part(&byte)).ok_or(Malformed)?;
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        let is_name = !name.is_empty()
            && (name.is_ascii() || name.chars().all(|c| c.is_ascii() || c.is_alphanumeric()));
        if is_name { Ok(name) } else { Err(Malformed) }
    }

    /// Skips the attributes and the end of a start tag; whether the element is empty.
    fn attributes(&mut self) -> Result<bool, Malformed> {
        if self.eat(">") {
            return Ok(false);
        }
        loop {
            self.rest = self.rest.trim_start();
            if self.eat("/>") {
                return Ok(true);
            }
            if self.eat(">") {
                return Ok(false);
            }
            self.name()?;
            self.rest = self.rest.trim_start();
            if !self.eat("=") {
                return Err(Malformed);
            }
            self.rest = self.rest.trim_start();
            if self.eat("\"") {
                self.skip_past("\"")?;
            } else if self.eat("'") {
                self.skip_past("'")?;
            } else {
                return Err(Malformed);
            }
        }
    }

    /// Text up to the next tag, with its references replaced.
    fn text(&mut self, out: &mut Cow<'d, str>) -> Result<(), Malformed> {
        let end = self.rest.find('<').ok_or(Malformed)?;
        let (mut run, rest) = self.rest.split_at(end);
        self.rest = rest;
        while let Some(at) = run.find('&') {
            push_text(out, &run[..at])?;
            let semicolon = run[at..].find(';').ok_or(Malformed)? + at;
            out.to_mut().push(reference(&run[at + 1..semicolon])?);
            run = &run[semicolon + 1..];
        }
        push_text(out, run)
    }
}

/// Adds text as it stands in the document, its line ends normalised.
fn push_text<'d>(out: &mut Cow<'d, str>, run: &'d str) -> Result<(), Malformed> {
    // Nearly all text is of these characters, which need no look at each.
    let is_plain = run.bytes().fold(true, |plain, byte| plain & (0x20..0x80).contains(&byte));
    if !is_plain && !run.chars().all(is_representable) {
        return Err(Malformed);
    }
    if !is_plain && run.contains('\r') {
        out.to_mut().push_str(&run.replace("\r\n", "\n").replace('\r', "\n"));
    } else if out.is_empty() {
        *out = Cow::Borrowed(run);
    } else {
        out.to_mut().push_str(run);
    }
    Ok(())
}

/// The character that `&name;` or `&#number;` stands for.
fn reference(name: &str) -> Result<char, Malformed> {
    let number = match name {
        "amp" => return Ok('&'),
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "quot" => return Ok('"'),
        "apos" => return Ok('\''),
        _ => name.strip_prefix('#').ok_or(Malformed)?,
    };
    let code = match number.strip_prefix('x') {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => number.parse(),
    };
    code.ok().and_then(char::from_u32).filter(|c| is_representable(*c)).ok_or(Malformed)
}

/// Whether XML 1.0 has a representation for the character.
fn is_representable(c: char) -> bool {
    !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delete_request_is_read_with_its_white_space_and_references() {
        let root = parse(
            b"<?xml version='1.0'?>\n<!-- c --><s:Delete xmlns:s=\"x>y\" a='1'>\n <s:Object><s:Key> a&amp;&#13;&#x41; \
              </s:Key><VersionId/></s:Object><Quiet><![CDATA[true]]></Quiet></s:Delete>\n",
        )
        .unwrap();
        assert_eq!(root.name, "Delete");
        let object = &root.children[0];
        assert_eq!(object.child_text("Key"), Some(" a&\rA "));
        assert_eq!(object.child_text("VersionId"), Some(""));
        assert_eq!(root.child_text("Quiet"), Some("true"));
    }

    #[test]
    fn a_raw_carriage_return_is_a_line_feed() {
        assert_eq!(parse(b"<K>a\r\nb\rc&#13;</K>").unwrap().text, "a\nb\nc\r");
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for bad in [
            "",
            "<a>",
            "<a></b>",
            "<a></ab>",
            "<ab></a>",
            "<a/>x",
            "<a>&nope;</a>",
            "<a>&#1;</a>",
            "<a>\u{1}</a>",
            "<a>\u{fffe}</a>",
            "<!DOCTYPE a><a/>",
            "<a b></a>",
            "<a>&amp</a>",
            "<a b=c/>",
            "<a>&#xd800;</a>",
        ] {
            assert_eq!(parse(bad.as_bytes()), Err(Malformed), "{bad}");
        }
        assert_eq!(parse(b"<a>\xff</a>"), Err(Malformed));
        assert_eq!(parse("<a>".repeat(40).as_bytes()), Err(Malformed));
    }
}
