//! Templates: a receiver's own words around the figures of a notice.
//!
//! `{name}` stands for a value; every other brace stands for itself, so that JSON needs no escapes of its own.

use std::time::Duration;

use super::{Bytes, Notice, Versions};

/// What a placeholder stands for.
enum Value {
    Text(String),
    Number(u64),
}

/// How a placeholder is worked out.
type Read = fn(&Notice, &str) -> Value;

/// The closed list of placeholders.
const PLACEHOLDERS: &[(&str, Read)] = &[
    ("event", |notice, _| text(notice.event.as_str())),
    ("job", |notice, _| text(&notice.job)),
    ("command", |notice, _| text(notice.command)),
    ("bucket", |notice, _| text(&notice.bucket)),
    ("endpoint", |notice, _| text(&notice.endpoint)),
    ("run", |notice, _| text(notice.run.as_deref().unwrap_or("none"))),
    ("ending", |notice, _| text(notice.ending)),
    ("exit_code", |notice, _| Value::Number(notice.exit_code.into())),
    ("sentence", |notice, _| text(&notice.sentence)),
    ("began", |notice, _| text(notice.began.as_deref().unwrap_or("never"))),
    ("ended", |notice, _| text(&notice.ended)),
    ("duration", |notice, _| text(&indicatif::HumanDuration(lasted(notice)).to_string())),
    ("seconds", |notice, _| Value::Number(lasted(notice).as_secs())),
    ("listed", |notice, _| Value::Number(versions(notice).listed)),
    ("kept", |notice, _| Value::Number(versions(notice).kept)),
    ("planned", |notice, _| Value::Number(versions(notice).planned)),
    ("done", |notice, _| Value::Number(versions(notice).done)),
    ("gone", |notice, _| Value::Number(versions(notice).gone)),
    ("failed", |notice, _| Value::Number(versions(notice).failed)),
    ("skipped", |notice, _| Value::Number(versions(notice).skipped)),
    ("pending", |notice, _| Value::Number(versions(notice).pending)),
    ("freed", |notice, _| text(&indicatif::HumanBytes(bytes(notice).freed).to_string())),
    ("freed_bytes", |notice, _| Value::Number(bytes(notice).freed)),
    ("planned_bytes", |notice, _| Value::Number(bytes(notice).planned)),
    ("done_bytes", |notice, _| Value::Number(bytes(notice).done)),
    ("failures", |notice, _| text(&failures(notice))),
    ("host", |notice, _| text(&notice.host)),
    ("delivery", |_, delivery| text(delivery)),
];

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn lasted(notice: &Notice) -> Duration {
    Duration::try_from_secs_f64(notice.seconds.unwrap_or_default()).unwrap_or_default()
}

fn versions(notice: &Notice) -> Versions {
    notice.versions.unwrap_or_default()
}

fn bytes(notice: &Notice) -> Bytes {
    notice.bytes.unwrap_or_default()
}

/// Such as `AccessDenied 12, elder-remains 3`.
fn failures(notice: &Notice) -> String {
    let codes: Vec<String> =
        notice.failures.iter().map(|code| format!("{} {}", code.code, code.versions)).collect();
    if codes.is_empty() { "none".into() } else { codes.join(", ") }
}

/// The names of all placeholders.
pub fn placeholder_names() -> Vec<&'static str> {
    PLACEHOLDERS.iter().map(|(name, _)| *name).collect()
}

/// What is wrong with a template.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TemplateFault {
    /// A name in braces that stands for nothing.
    #[error("knows no placeholder {{{0}}}")]
    Unknown(String),
    /// Filled, it is no JSON.
    #[error("is no JSON once it is filled: {0}")]
    NotJson(String),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Literal(String),
    /// An index into the list of placeholders.
    Placeholder(usize),
}

/// A template whose placeholders are all known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
    /// Whether texts are escaped as inside a JSON string.
    is_json: bool,
}

impl Template {
    /// A template of JSON. Placeholders of texts stand inside strings, those of numbers anywhere.
    ///
    /// # Errors
    /// Every unknown placeholder; where there is none, that it is no JSON once filled.
    pub fn json(text: &str) -> Result<Self, Vec<TemplateFault>> {
        let template = Self { pieces: pieces(text)?, is_json: true };
        // Bare words are no JSON: a text that stands outside a string is found here.
        let sample = template.join(|at| match PLACEHOLDERS[at].1(&sample_notice(), "sample") {
            Value::Text(_) => "sample".into(),
            Value::Number(_) => "1".into(),
        });
        match serde_json::from_str::<serde_json::Value>(&sample) {
            Ok(_) => Ok(template),
            Err(error) => Err(vec![TemplateFault::NotJson(error.to_string())]),
        }
    }

    /// A template of plain text.
    ///
    /// # Errors
    /// Every unknown placeholder.
    pub fn plain(text: &str) -> Result<Self, Vec<TemplateFault>> {
        Ok(Self { pieces: pieces(text)?, is_json: false })
    }

    /// The template with a notice's values.
    pub fn fill(&self, notice: &Notice, delivery: &str) -> String {
        self.join(|at| match PLACEHOLDERS[at].1(notice, delivery) {
            Value::Text(text) if self.is_json => escaped(&text),
            Value::Text(text) => text,
            Value::Number(number) => number.to_string(),
        })
    }

    fn join(&self, value: impl Fn(usize) -> String) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Placeholder(at) => out.push_str(&value(*at)),
            }
        }
        out
    }
}

/// Text as it stands inside a JSON string.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn pieces(text: &str) -> Result<Vec<Piece>, Vec<TemplateFault>> {
    let (mut pieces, mut unknown) = (Vec::new(), Vec::new());
    let mut rest = text;
    let mut literal = String::new();
    while let Some(open) = rest.find('{') {
        let (before, after) = (&rest[..open], &rest[open + 1..]);
        literal.push_str(before);
        let end = after.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(after.len());
        let (name, behind) = after.split_at(end);
        match behind.strip_prefix('}').filter(|_| !name.is_empty()) {
            None => {
                literal.push('{');
                rest = after;
            }
            Some(behind) => {
                match PLACEHOLDERS.iter().position(|(known, _)| *known == name) {
                    Some(at) => {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                        pieces.push(Piece::Placeholder(at));
                    }
                    None => unknown.push(TemplateFault::Unknown(name.to_owned())),
                }
                rest = behind;
            }
        }
    }
    literal.push_str(rest);
    pieces.push(Piece::Literal(literal));
    pieces.retain(|piece| !matches!(piece, Piece::Literal(text) if text.is_empty()));
    if unknown.is_empty() { Ok(pieces) } else { Err(unknown) }
}

/// A notice that says nothing, to tell numbers from texts.
fn sample_notice() -> Notice {
    Notice {
        event: super::Event::End,
        job: String::new(),
        command: "run",
        bucket: String::new(),
        endpoint: String::new(),
        run: None,
        ending: "",
        exit_code: 0,
        sentence: String::new(),
        began: None,
        ended: String::new(),
        seconds: None,
        versions: None,
        bytes: None,
        rules: Vec::new(),
        failures: Vec::new(),
        host: String::new(),
    }
}
