//! From YAML text to a tree of located nodes: the one place that knows the YAML library.
//!
//! The tree is built from the parser's events and not by deserialising into types, because that
//! stops at the first thing that does not fit; a user wants to hear of all. Scalars keep their
//! text, so that an account id keeps its leading zeros. What makes YAML dangerous or surprising is
//! refused: anchors and aliases (a few lines of them unfold to gigabytes), tags, merge keys,
//! directives, a second document.

use std::collections::HashMap;

use serde_yaml::granit_parser::{self, Event, Marker, Parser, ScalarStyle, Span};

/// Collections within one another. A job file needs 5.
const DEPTH_MAX: usize = 16;
/// Scalars and collections of a file.
const NODES_MAX: usize = 20_000;

/// A place in the file, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct At {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl At {
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

impl From<&Marker> for At {
    fn from(marker: &Marker) -> Self {
        let bounded = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self { line: bounded(marker.line()).max(1), column: bounded(marker.col()).saturating_add(1) }
    }
}

/// A value with the place where it begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) value: Value,
}

/// A value as it was written, without a type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    /// Text; `plain` where it stands without quotes and is no block, so that `true` and `12` may
    /// be meant as something else.
    Scalar { text: String, plain: bool },
    /// A list.
    Seq(Vec<Node>),
    /// Keys and values in the order of the file, each key once.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: At,
    pub(super) value: Node,
}

impl Node {
    /// Whether nothing was written, or `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(&**text, "" | "~" | "null"))
    }
}

/// Something about the text that YAML or this program does not allow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    pub(super) at: At,
    pub(super) what: String,
    pub(super) hint: Option<&'static str>,
}

impl Fault {
    fn new(at: At, what: impl Into<String>) -> Self {
        Self { at, what: what.into(), hint: None }
    }
}

/// Parses one document. The tree is what could be read, without the parts at fault; `None` where
/// that is nothing. The faults are complete as far as the text can be parsed at all.
pub(super) fn parse(text: &str) -> (Option<Node>, Vec<Fault>) {
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let goes_on = match event {
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => {
                let message = error.kind().to_string();
                builder.faults.push(Fault::new(error.marker().into(), format!("YAML: {message}")));
                false
            }
        };
        if !goes_on {
            return (None, builder.faults);
        }
    }
    (builder.root, builder.faults)
}

/// A collection that is not closed yet.
enum Open {
    Seq { at: At, items: Vec<Node> },
    Map { at: At, entries: Vec<Entry>, lines: HashMap<String, u32>, key: Option<(String, At)> },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
    faults: Vec<Fault>,
}

impl Builder {
    /// Takes one event; `false` where reading on makes no sense.
    fn take(&mut self, event: Event<'_>, span: &Span) -> bool {
        let at = At::from(&span.start);
        let tag = span.tag_start.as_ref().map(At::from);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.faults.push(Fault::new(at, "a second YAML document: a job file holds one"));
                    return false;
                }
                true
            }
            Event::Scalar(text, style, anchor, _) => {
                self.check_extras(at, anchor, tag);
                let plain = style == ScalarStyle::Plain;
                self.place(Node { at, value: Value::Scalar { text: text.into_owned(), plain } })
            }
            Event::SequenceStart(_, anchor, _) => {
                self.check_extras(at, anchor, tag);
                self.enter(Open::Seq { at, items: Vec::new() })
            }
            Event::MappingStart(_, anchor, _) => {
                self.check_extras(at, anchor, tag);
                self.enter(Open::Map { at, entries: Vec::new(), lines: HashMap::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::Seq { at, items }) => self.place(Node { at, value: Value::Seq(items) }),
                Some(Open::Map { at, entries, .. }) => self.place(Node { at, value: Value::Map(entries) }),
                None => true,
            },
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.faults.push(Fault {
                    hint: Some("write the value out"),
                    ..Fault::new(at, "a YAML alias, which a job file cannot have")
                });
                self.place(Node { at, value: Value::Scalar { text: String::new(), plain: true } })
            }
            _ => true,
        }
    }

    fn check_extras(&mut self, at: At, anchor: usize, tag: Option<At>) {
        if anchor != 0 {
            self.faults.push(Fault::new(at, "a YAML anchor, which a job file cannot have"));
        }
        if let Some(at) = tag {
            self.faults.push(Fault::new(at, "a YAML tag, which a job file cannot have"));
        }
    }

    fn enter(&mut self, collection: Open) -> bool {
        if self.open.len() >= DEPTH_MAX {
            let (Open::Seq { at, .. } | Open::Map { at, .. }) = collection;
            self.faults.push(Fault::new(at, format!("more than {DEPTH_MAX} collections within one another")));
            return false;
        }
        self.open.push(collection);
        true
    }

    fn place(&mut self, node: Node) -> bool {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            self.faults.push(Fault::new(node.at, format!("more than {NODES_MAX} values in one file")));
            return false;
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::Seq { items, .. }) => items.push(node),
            Some(Open::Map { entries, lines, key, .. }) => match key.take() {
                // A key at fault itself was told already; its value goes nowhere.
                Some((name, _)) if name.is_empty() => {}
                Some((name, at)) => match lines.get(&name) {
                    Some(line) => {
                        let what = format!("key {name:?} was given before, in line {line}");
                        self.faults.push(Fault::new(at, what));
                    }
                    None => {
                        lines.insert(name.clone(), at.line);
                        entries.push(Entry { key: name, at, value: node });
                    }
                },
                None => match node.value {
                    Value::Scalar { text, .. } => {
                        if text.is_empty() {
                            self.faults.push(Fault::new(node.at, "an empty key"));
                        }
                        *key = Some((text, node.at));
                    }
                    Value::Seq(_) | Value::Map(_) => {
                        self.faults
                            .push(Fault::new(node.at, "a key must be a word, not a list or a mapping"));
                        *key = Some((String::new(), node.at));
                    }
                },
            },
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::time::{Duration, Instant};

    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let faults = parse(text).1;
        faults.iter().map(|fault| format!("{}:{}: {}", fault.at.line, fault.at.column, fault.what)).collect()
    }

    #[test]
    fn scalars_keep_their_text_and_their_place() {
        let (root, faults) = parse("a: 007\nlist:\n  - \"x: y\"\n  - { b: ~ }\n");
        assert!(faults.is_empty());
        let Value::Map(entries) = root.unwrap().value else { panic!() };
        let scalar = |text: &str, plain| Value::Scalar { text: text.into(), plain };
        assert_eq!(entries[0].value, Node { at: At { line: 1, column: 4 }, value: scalar("007", true) });
        let Value::Seq(items) = &entries[1].value.value else { panic!() };
        assert_eq!(items[0], Node { at: At { line: 3, column: 5 }, value: scalar("x: y", false) });
        let Value::Map(inner) = &items[1].value else { panic!() };
        assert_eq!((inner[0].at, inner[0].value.is_null()), (At { line: 4, column: 7 }, true));
    }

    #[test]
    fn what_a_job_file_cannot_have_is_told_all_at_once() {
        assert_eq!(
            faults("a: &x 1\nb: *x\nc: !!int 3\na: 2\nd: *nowhere\n? [k]\n: v\n\"\": 1\n"),
            [
                "1:7: a YAML anchor, which a job file cannot have",
                "2:4: a YAML alias, which a job file cannot have",
                "3:4: a YAML tag, which a job file cannot have",
                "4:1: key \"a\" was given before, in line 1",
                "5:4: a YAML alias, which a job file cannot have",
                "6:3: a key must be a word, not a list or a mapping",
                "8:1: an empty key",
            ]
        );
    }

    #[test]
    fn a_second_document_and_a_directive_are_refused_where_they_stand() {
        assert_eq!(faults("a: 1\n---\nb: 2\n"), ["2:1: a second YAML document: a job file holds one"]);
        assert!(faults("%YAML 1.2\n---\na: 1\n")[0].starts_with("1:1: YAML: "));
    }

    #[test]
    fn broken_text_is_located() {
        for text in ["a: [1, 2", "a: \"x", "a: b: c", "\t- x: 1\n  y", "a\0: 1", "{]}", "@x: 1"] {
            let found = faults(text);
            assert_eq!(found.len(), 1, "{text:?}: {found:?}");
            assert!(found[0].contains(": YAML: ") && found[0].len() > 14, "{found:?}");
        }
    }

    #[test]
    fn bombs_go_off_harmlessly() {
        let mut block = String::new();
        for depth in 0..300 {
            writeln!(block, "{}a:", " ".repeat(depth)).unwrap();
        }
        let mut laughs = String::from("a: &a [x, x, x, x, x, x, x, x, x, x]\n");
        for (name, from) in "bcdefghij".chars().zip("abcdefghi".chars()) {
            let list = vec![format!("*{from}"); 10].join(", ");
            writeln!(laughs, "{name}: &{name} [{list}]").unwrap();
        }
        let bombs = [
            "[".repeat(100_000),
            "{a: ".repeat(60_000),
            "- ".repeat(100_000),
            "? ".repeat(100_000),
            block,
            laughs,
            "- x\n".repeat(60_000),
            (0..40_000).map(|at| format!("{at:x}:\n")).collect(),
            "a".repeat(250_000),
            "&a ".repeat(80_000),
            "!a ".repeat(80_000),
        ];
        for bomb in bombs {
            let start = Instant::now();
            let (root, faults) = parse(&bomb);
            let is_harmless_text = root.is_some_and(|root| matches!(root.value, Value::Scalar { .. }));
            assert!(!faults.is_empty() || is_harmless_text, "{}", &bomb[..20]);
            // Generous: an unoptimised build on a busy machine; the worst known parser needs 20 s.
            assert!(start.elapsed() < Duration::from_secs(2), "{} {:?}", &bomb[..20], start.elapsed());
        }
    }
}
