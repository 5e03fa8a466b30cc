//! A reader for the plain form in which servers write their long answers: elements without
//! attributes, texts, white space between elements, and nothing else.
//!
//! A page of 1,000 versions has some 20,000 elements, and reading them is most of what listing costs
//! the client. This reader takes only what cannot be misread. Whatever it does not know (a comment, an
//! attribute below the root, CDATA, a namespace prefix, an error of syntax) is [`BadXml`] here and not
//! an answer: [`read_xml`] reads the body again with the full reader, whose word counts.

use std::borrow::Cow;

use super::xml::{BadXml, DEPTH_MAX, Document, Elements, RawText, TEXT_BYTES_MAX};

/// Reads a body with `read`, in the plain form if it has that, as XML if not.
pub(super) fn read_xml<'a, T>(
    body: &'a [u8],
    plain: impl FnOnce(&mut PlainDocument<'a>) -> Result<T, BadXml>,
    full: impl FnOnce(&mut Document<'a>) -> Result<T, BadXml>,
) -> Result<T, BadXml> {
    let quick = PlainDocument::open(body).and_then(|mut document| {
        let value = plain(&mut document)?;
        document.end()?;
        Ok(value)
    });
    match quick {
        Ok(value) => Ok(value),
        Err(_) => {
            let mut document = Document::open(body)?;
            let value = full(&mut document)?;
            document.end()?;
            Ok(value)
        }
    }
}

/// `Version` and `Deleted` follow one habit, `DeleteMarker` and `Error` the other.
const ENTRY_NAME_BYTES: usize = 7;

/// A document in the plain form whose root is open.
pub(super) struct PlainDocument<'a> {
    /// What was not read yet.
    rest: &'a str,
    root: &'a str,
    /// Names of the open elements with the `>` behind them, as their end tags have it; the root's first.
    open: [&'a str; DEPTH_MAX],
    /// How many elements are open, the root included; 0 once it closed.
    depth: usize,
    /// The innermost open element was written as `<Name/>`.
    is_empty: bool,
    /// The start tags of the last entry of each kind: entries follow one another by the thousand with
    /// the same elements, and comparing with a tag is quicker than looking for its end.
    habits: [Vec<&'a str>; 2],
    /// Which habit the entry at hand follows.
    habit: usize,
    /// How many start tags of it came.
    place: usize,
}

fn odd<T>() -> Result<T, BadXml> {
    Err("not in the plain form".into())
}

const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Whether an element's name has no prefix and no other peculiarity.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

impl<'a> PlainDocument<'a> {
    fn open(body: &'a [u8]) -> Result<Self, BadXml> {
        let Ok(text) = std::str::from_utf8(body) else { return odd() };
        let mut rest = text.trim_ascii_start();
        if rest.starts_with("<?xml") {
            let Some((_, behind)) = rest.split_once("?>") else { return odd() };
            rest = behind.trim_ascii_start();
        }
        let Some((tag, behind)) = rest.strip_prefix('<').and_then(|rest| rest.split_once('>')) else {
            return odd();
        };
        let name = tag.split(' ').next().unwrap_or_default();
        // The name space declaration of the root is all that is allowed, in one pair of quotes.
        let attributes = &tag[name.len()..];
        let is_declaration = attributes.is_empty()
            || attributes
                .strip_prefix(" xmlns=\"")
                .and_then(|uri| uri.strip_suffix('"'))
                .is_some_and(|uri| uri.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'<'));
        if !is_plain_name(name) || !is_declaration {
            return odd();
        }
        let mut open = [""; DEPTH_MAX];
        let Some(end) = behind.rfind(&format!("</{name}>")) else { return odd() };
        open[0] = &behind[end + 2..end + 3 + name.len()];
        Ok(Self {
            rest: behind,
            root: name,
            open,
            depth: 1,
            is_empty: false,
            habits: [const { Vec::new() }; 2],
            habit: 0,
            place: 0,
        })
    }

    fn end(&self) -> Result<(), BadXml> {
        if self.depth == 0 && self.rest.bytes().all(is_white) { Ok(()) } else { odd() }
    }

    /// Closes the element that is open if it was written as `<Name/>`.
    fn close_empty(&mut self) -> bool {
        let is_empty = std::mem::take(&mut self.is_empty);
        self.depth -= usize::from(is_empty);
        is_empty
    }

    /// Takes the end tag of the element that is open, whose `</` was read.
    fn close(&mut self) -> Result<(), BadXml> {
        let Some(depth) = self.depth.checked_sub(1) else { return odd() };
        let Some(rest) = self.open.get(depth).and_then(|name| self.rest.strip_prefix(name)) else {
            return odd();
        };
        self.rest = rest;
        self.depth = depth;
        Ok(())
    }
}

impl<'a> Elements<'a> for PlainDocument<'a> {
    type Name = &'a str;

    fn root(&self) -> &str {
        self.root
    }

    fn child(&mut self) -> Result<Option<&'a str>, BadXml> {
        if self.close_empty() {
            return Ok(None);
        }
        if !self.rest.starts_with('<') {
            let white = self.rest.bytes().take_while(|byte| is_white(*byte)).count();
            self.rest = &self.rest[white..];
        }
        let Some(tag) = self.rest.strip_prefix('<') else { return odd() };
        if let Some(rest) = tag.strip_prefix('/') {
            self.rest = rest;
            return self.close().map(|()| None);
        }
        if let Some(known) = self.habits[self.habit].get(self.place)
            && self.depth > 1
            && let Some(rest) = self.rest.strip_prefix(*known)
            && let Some(slot) = self.open.get_mut(self.depth)
        {
            *slot = &known[1..];
            self.place += 1;
            self.depth += 1;
            self.rest = rest;
            return Ok(Some(&known[1..known.len() - 1]));
        }
        // Names are short: a look at each byte is quicker than a search.
        let length = tag.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let (name, behind) = tag.split_at(length);
        let (is_empty, behind) = behind.strip_prefix('/').map_or((false, behind), |rest| (true, rest));
        let Some(rest) = behind.strip_prefix('>').filter(|_| length > 0) else { return odd() };
        let Some(slot) = self.open.get_mut(self.depth) else { return odd() };
        // An empty element has no end tag, and is closed before one is looked for.
        *slot = &tag[..length + 1];
        if self.depth == 1 {
            self.habit = usize::from(name.len() != ENTRY_NAME_BYTES);
            self.place = 0;
        } else if !is_empty {
            let habit = &mut self.habits[self.habit];
            habit.truncate(self.place);
            habit.push(&self.rest[..length + 2]);
            self.place += 1;
        }
        self.depth += 1;
        self.rest = rest;
        self.is_empty = is_empty;
        Ok(Some(name))
    }

    fn raw_text(&mut self) -> Result<RawText<'a>, BadXml> {
        if self.close_empty() {
            return Ok(RawText { text: Cow::Borrowed(""), is_escaped: false });
        }
        let bytes = self.rest.as_bytes();
        let Some(mut length) = memchr::memchr2(b'<', b'&', bytes) else { return odd() };
        let is_escaped = bytes[length] == b'&';
        if is_escaped {
            let Some(more) = memchr::memchr(b'<', &bytes[length..]) else { return odd() };
            length += more;
        }
        let (text, behind) = self.rest.split_at(length);
        let Some(rest) = behind.strip_prefix("</").filter(|_| length <= TEXT_BYTES_MAX) else { return odd() };
        self.rest = rest;
        self.close()?;
        Ok(RawText { text: Cow::Borrowed(text), is_escaped })
    }

    fn skip(&mut self) -> Result<(), BadXml> {
        let outside = self.depth - 1;
        while self.depth > outside {
            if self.close_empty() {
                continue;
            }
            // What is passed over is a text or elements, never both.
            let length = memchr::memchr(b'<', self.rest.as_bytes()).unwrap_or(self.rest.len());
            let is_text = self.rest.as_bytes()[length..].starts_with(b"</");
            if is_text {
                // An entity that does not exist makes the document void, wherever it stands.
                self.raw_text()?.check()?;
            } else {
                self.child()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that a document holds, in order.
    fn walk<'a>(document: &mut impl Elements<'a>) -> Result<Vec<String>, BadXml> {
        let mut said = vec![document.root().to_owned()];
        let mut depth = 1;
        while depth > 0 {
            match document.child()? {
                None => {
                    depth -= 1;
                    said.push("/".into());
                }
                Some(name) => match name.as_ref() {
                    "Owner" => document.skip()?,
                    "Version" => {
                        depth += 1;
                        said.push("Version".into());
                    }
                    leaf => {
                        let leaf = leaf.to_owned();
                        said.push(format!("{leaf}={}", document.text()?));
                    }
                },
            }
        }
        Ok(said)
    }

    fn plain(body: &[u8]) -> Result<Vec<String>, BadXml> {
        let mut document = PlainDocument::open(body)?;
        let said = walk(&mut document)?;
        document.end()?;
        Ok(said)
    }

    fn full(body: &[u8]) -> Result<Vec<String>, BadXml> {
        let mut document = Document::open(body)?;
        let said = walk(&mut document)?;
        document.end()?;
        Ok(said)
    }

    const PAGE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R xmlns=\"http://s3/doc/\"><Name>b</Name><Prefix/>\n\
        <Version><Key>a+%20 b</Key><ETag>&quot;x&amp;y&quot;</ETag><Owner><ID>1</ID><DisplayName></DisplayName></Owner>\
        <Size>7</Size></Version> <Version><Key>\u{fc}&#13;&#x9;</Key><Owner>text</Owner><Owner/></Version><Version/></R> \n";

    #[test]
    fn both_readers_say_the_same_of_a_page() {
        let said = plain(PAGE.as_bytes()).expect("is plain");
        assert_eq!(said, full(PAGE.as_bytes()).expect("is XML"));
        assert!(said.contains(&"ETag=\"x&y\"".to_owned()), "{said:?}");
        assert!(said.contains(&"Key=\u{fc}\r\t".to_owned()), "{said:?}");
    }

    #[test]
    fn a_cut_or_changed_page_is_never_read_otherwise_than_by_the_full_reader() {
        let page = PAGE.as_bytes();
        let mut plain_ones = 0;
        for at in 0..page.len() {
            let cut = &page[..at];
            assert!(plain(cut).is_err() || plain(cut) == full(cut), "cut at {at}");
            for change in *b"<>/&;! x\"?-\xff\0" {
                let mut changed = page.to_vec();
                changed[at] = change;
                if let Ok(said) = plain(&changed) {
                    plain_ones += 1;
                    assert_eq!(Ok(said), full(&changed), "{} at {at}", char::from(change));
                }
            }
        }
        assert!(plain_ones > page.len(), "only {plain_ones} were plain");
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_full_reader() {
        for odd in [
            "<R a=\"1\"><K>x</K></R>",
            "<n:R><K>x</K></n:R>",
            "<R><K>x</K><!-- c --></R>",
            "<R><K a=\"1\">x</K></R>",
            "<R><K><![CDATA[x]]></K></R>",
            "<R><K /></R>",
            "<R><K>&nbsp;</K></R>",
        ] {
            assert!(plain(odd.as_bytes()).is_err(), "{odd}");
        }
        let deep = format!("<R>{}</R>", "<a>".repeat(40));
        let mut document = PlainDocument::open(deep.as_bytes()).expect("opens");
        while document.depth < DEPTH_MAX {
            document.child().expect("a child");
        }
        assert!(document.child().is_err());
    }
}
