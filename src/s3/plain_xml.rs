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

/// How many layouts are remembered: a page has two kinds of entries; an answer of DeleteObjects three,
/// those of versions, of markers and of errors.
const LAYOUTS_MAX: usize = 4;

/// How many elements are open in an entry: the root and itself.
const ENTRY_DEPTH: usize = 2;

/// What an entry holds beside its texts.
#[derive(Default)]
struct Layout<'a> {
    /// The entry's name with the `>` behind it.
    name: &'a [u8],
    leaves: Vec<Leaf<'a>>,
    /// What follows the last text, to the entry's own end tag.
    end: &'a [u8],
}

/// An element that holds a text.
struct Leaf<'a> {
    /// The tags, with the white space between them, from the text before to this one.
    before: &'a [u8],
    name: &'a str,
    is_wanted: bool,
}

impl<'a> Layout<'a> {
    /// Reads the texts of an entry whose content begins there, if it is laid out so; returns where it ends.
    fn read(&self, text: &'a str, at: usize, texts: &mut Vec<RawText<'a>>) -> Result<Option<usize>, BadXml> {
        let (bytes, mut at) = (text.as_bytes(), at);
        texts.clear();
        for leaf in &self.leaves {
            if !bytes[at..].starts_with(leaf.before) {
                return Ok(None);
            }
            at += leaf.before.len();
            let (length, is_escaped) = length_of_text(&bytes[at..])?;
            let Some(leaf_text) = text.get(at..at + length) else { return odd() };
            let leaf_text = RawText { text: Cow::Borrowed(leaf_text), is_escaped };
            if is_escaped && !leaf.is_wanted {
                // An entity that does not exist makes the document void, wherever it stands.
                leaf_text.check()?;
            }
            texts.push(leaf_text);
            at += length;
        }
        Ok(bytes[at..].starts_with(self.end).then_some(at + self.end.len()))
    }
}

/// A document in the plain form whose root is open.
pub(super) struct PlainDocument<'a> {
    text: &'a str,
    /// What of the text was not read yet.
    rest: &'a str,
    root: &'a str,
    /// Names of the open elements with the `>` behind them, as their end tags have it; the root's first.
    open: [&'a str; DEPTH_MAX],
    /// How many elements are open, the root included; 0 once it closed.
    depth: usize,
    /// The innermost open element was written as `<Name/>`.
    is_empty: bool,
    /// How entries were laid out so far: they follow one another by the thousand with the same elements,
    /// and comparing what lies between two texts is quicker than reading it.
    layouts: Vec<Layout<'a>>,
    /// The texts of the entry at hand.
    texts: Vec<RawText<'a>>,
}

fn odd<T>() -> Result<T, BadXml> {
    Err("not in the plain form".into())
}

/// How long the text is that comes next, and whether entities are in it.
fn length_of_text(bytes: &[u8]) -> Result<(usize, bool), BadXml> {
    let Some(mut length) = memchr::memchr2(b'<', b'&', bytes) else { return odd() };
    let is_escaped = bytes[length] == b'&';
    if is_escaped {
        let Some(more) = memchr::memchr(b'<', &bytes[length..]) else { return odd() };
        length += more;
    }
    if length > TEXT_BYTES_MAX { odd() } else { Ok((length, is_escaped)) }
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
            text,
            rest: behind,
            root: name,
            open,
            depth: 1,
            is_empty: false,
            layouts: Vec::with_capacity(LAYOUTS_MAX),
            texts: Vec::new(),
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

impl<'a> PlainDocument<'a> {
    /// What was read since `from`, which began there.
    fn since(&self, from: usize) -> &'a [u8] {
        &self.text.as_bytes()[from..self.at()]
    }

    /// The name of the innermost open element with the `>` behind it; empty where none is open.
    fn name_of_open(&self) -> &'a [u8] {
        self.depth.checked_sub(1).and_then(|at| self.open.get(at)).map_or(b"", |name| name.as_bytes())
    }

    /// How many bytes were read.
    fn at(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// Reads the texts of the entry at hand, and its end, if it is laid out as one before: returns which
    /// layout it has. Reads nothing if it is not.
    fn read_by_layout(&mut self) -> Result<Option<usize>, BadXml> {
        if self.is_empty || self.depth != ENTRY_DEPTH {
            return Ok(None);
        }
        let (name, at) = (self.name_of_open(), self.at());
        for (index, layout) in self.layouts.iter().enumerate().filter(|(_, layout)| layout.name == name) {
            if let Some(end) = layout.read(self.text, at, &mut self.texts)? {
                let Some(rest) = self.text.get(end..) else { return odd() };
                self.rest = rest;
                self.depth -= 1;
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Reads the entry at hand element by element, and remembers how it is laid out.
    fn learn_layout(
        &mut self,
        wanted: impl Fn(&str) -> bool,
        mut each: impl FnMut(&str, RawText<'a>) -> Result<(), BadXml>,
    ) -> Result<(), BadXml> {
        let entry = self.depth;
        let mut layout = Layout { name: self.name_of_open(), ..Layout::default() };
        // An empty element has no place for a text.
        let mut has_layout = !self.is_empty;
        let mut from = self.at();
        while self.depth >= entry {
            let Some(name) = self.child()? else { continue };
            let is_wanted = self.depth == entry + 1 && wanted(name);
            has_layout &= !self.is_empty;
            // What is passed over is a text or elements, never both.
            if !is_wanted && !self.is_at_text() {
                continue;
            }
            let before = self.since(from);
            let text = self.raw_text()?;
            from = self.at() - "</>".len() - name.len();
            layout.leaves.push(Leaf { before, name, is_wanted });
            if is_wanted {
                each(name, text)?;
            } else {
                text.check()?;
            }
        }
        layout.end = self.since(from);
        if has_layout && entry == ENTRY_DEPTH {
            if self.layouts.len() == LAYOUTS_MAX {
                self.layouts.remove(0);
            }
            self.layouts.push(layout);
        }
        Ok(())
    }

    /// Whether the element just opened holds nothing but a text.
    fn is_at_text(&self) -> bool {
        let bytes = self.rest.as_bytes();
        self.is_empty || memchr::memchr(b'<', bytes).is_some_and(|end| bytes[end..].starts_with(b"</"))
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
        // Names are short: a look at each byte is quicker than a search.
        let length = tag.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let (name, behind) = tag.split_at(length);
        let (is_empty, behind) = behind.strip_prefix('/').map_or((false, behind), |rest| (true, rest));
        let Some(rest) = behind.strip_prefix('>').filter(|_| length > 0) else { return odd() };
        let Some(slot) = self.open.get_mut(self.depth) else { return odd() };
        // An empty element has no end tag, and is closed before one is looked for.
        *slot = &tag[..length + 1];
        self.depth += 1;
        self.rest = rest;
        self.is_empty = is_empty;
        Ok(Some(name))
    }

    fn raw_text(&mut self) -> Result<RawText<'a>, BadXml> {
        if self.close_empty() {
            return Ok(RawText { text: Cow::Borrowed(""), is_escaped: false });
        }
        let (length, is_escaped) = length_of_text(self.rest.as_bytes())?;
        let (text, behind) = self.rest.split_at(length);
        let Some(rest) = behind.strip_prefix("</") else { return odd() };
        self.rest = rest;
        self.close()?;
        Ok(RawText { text: Cow::Borrowed(text), is_escaped })
    }

    fn leaves(
        &mut self,
        wanted: impl Fn(&str) -> bool,
        mut each: impl FnMut(&str, RawText<'a>) -> Result<(), BadXml>,
    ) -> Result<(), BadXml> {
        let Some(layout) = self.read_by_layout()? else { return self.learn_layout(wanted, each) };
        for (leaf, text) in
            self.layouts[layout].leaves.iter().zip(self.texts.drain(..)).filter(|(leaf, _)| leaf.is_wanted)
        {
            each(leaf.name, text)?;
        }
        Ok(())
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

    /// The texts of a document's entries, without those of their ETags.
    fn entries<'a>(document: &mut impl Elements<'a>) -> Result<Vec<String>, BadXml> {
        let mut said = Vec::new();
        while let Some(name) = document.child()? {
            said.push(name.as_ref().to_owned());
            if name.as_ref().len() < "Version".len() {
                document.skip()?;
                continue;
            }
            let wanted = |name: &str| matches!(name, "Key" | "Size");
            document.leaves(wanted, |name, text| {
                said.push(format!("{name}={}", text.resolved()?));
                Ok(())
            })?;
        }
        Ok(said)
    }

    /// What [`walk`] and [`entries`] say of a body.
    type Said = [Result<Vec<String>, BadXml>; 2];

    fn plain(body: &[u8]) -> Said {
        let open = || PlainDocument::open(body);
        let walked = open().and_then(|mut document| Ok((walk(&mut document)?, document.end()?).0));
        let entries = open().and_then(|mut document| Ok((entries(&mut document)?, document.end()?).0));
        [walked, entries]
    }

    fn full(body: &[u8]) -> Said {
        let open = || Document::open(body);
        let walked = open().and_then(|mut document| Ok((walk(&mut document)?, document.end()?).0));
        let entries = open().and_then(|mut document| Ok((entries(&mut document)?, document.end()?).0));
        [walked, entries]
    }

    const PAGE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R xmlns=\"http://s3/doc/\"><Name>b</Name><Prefix/>\n\
        <Version><Key>a+%20 b</Key><ETag>&quot;x&amp;y&quot;</ETag><Owner><ID>1</ID><DisplayName></DisplayName></Owner>\
        <Size>7</Size></Version> <Version><Key>\u{fc}&#13;&#x9;</Key><Owner>text</Owner><Owner/></Version><Version/></R> \n";

    /// Entries that are laid out alike, and one in between that is not.
    const ALIKE: &str = "<R><Version><Key>a</Key> <ETag>&quot;1&quot;</ETag><Owner><ID>1</ID></Owner><Size>1</Size></Version>\n\
        <Version><Key>b&amp;</Key> <ETag>&lt;2</ETag><Owner><ID>&gt;</ID></Owner><Size></Size></Version>\n\
        <Version><Key>c</Key> <ETag/><Owner><ID>1</ID></Owner><Size>3</Size></Version>\
        <Deleted><Key>d</Key></Deleted><Deleted><Key>e</Key></Deleted><Version><Key>f</Key></Version>\
        <DeleteMarker><Key>g</Key></DeleteMarker><DeleteMarker><Key>h</Key></DeleteMarker></R>";

    #[test]
    fn both_readers_say_the_same_of_a_page() {
        let said = plain(PAGE.as_bytes());
        assert_eq!(said, full(PAGE.as_bytes()));
        let [Ok(walked), _] = said else { panic!("{said:?}") };
        assert!(walked.contains(&"ETag=\"x&y\"".to_owned()), "{walked:?}");
        assert!(walked.contains(&"Key=\u{fc}\r\t".to_owned()), "{walked:?}");
        let said = plain(ALIKE.as_bytes());
        assert_eq!(said[1], full(ALIKE.as_bytes())[1]);
        let [_, Ok(entries)] = said else { panic!("{said:?}") };
        assert_eq!(entries[..6], ["Version", "Key=a", "Size=1", "Version", "Key=b&", "Size="]);
    }

    #[test]
    fn a_cut_or_changed_page_is_never_read_otherwise_than_by_the_full_reader() {
        for page in [PAGE, ALIKE] {
            let page = page.as_bytes();
            let mut plain_ones = 0;
            let mut compare = |body: &[u8], what: &str| {
                for (plain, full) in plain(body).into_iter().zip(full(body)) {
                    plain_ones += usize::from(plain.is_ok());
                    assert!(plain.is_err() || plain == full, "{what}: {plain:?}, {full:?}");
                }
            };
            for at in 0..page.len() {
                compare(&page[..at], &format!("cut at {at}"));
                for change in *b"<>/&;! x\"?-\xff\0" {
                    let mut changed = page.to_vec();
                    changed[at] = change;
                    compare(&changed, &format!("{} at {at}", char::from(change)));
                }
            }
            assert!(plain_ones > page.len() / 2, "only {plain_ones} were plain");
        }
    }

    #[test]
    fn entries_laid_out_like_one_before_are_read_at_once() {
        let mut document = PlainDocument::open(ALIKE.as_bytes()).expect("opens");
        let mut at_once = Vec::new();
        while document.child().expect("a child").is_some() {
            let before = document.rest;
            at_once.push(document.read_by_layout().expect("is plain"));
            (document.rest, document.depth) = (before, ENTRY_DEPTH);
            document.leaves(|name| name == "Key", |_, _| Ok(())).expect("is plain");
        }
        assert_eq!(at_once, [None, Some(0), None, None, Some(1), None, None, Some(3)]);
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
            assert!(plain(odd.as_bytes()).iter().all(Result::is_err), "{odd}");
        }
        let deep = format!("<R>{}</R>", "<a>".repeat(40));
        let mut document = PlainDocument::open(deep.as_bytes()).expect("opens");
        while document.depth < DEPTH_MAX {
            document.child().expect("a child");
        }
        assert!(document.child().is_err());
    }
}
