//! Typed reading of the tree: each reader returns a value or notes a problem, and goes on.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::problem::Problem;
use super::units;
use super::yaml::{At, Node, Value};

const ENV_OPEN: &str = "${env:";
/// A word is proposed instead of another where they are at least this much alike (1 = equal).
const ALIKE_MIN: f64 = 0.7;

/// What reading a file needs and gathers.
pub(super) struct Reader<'a> {
    file: &'a str,
    env: &'a dyn Fn(&str) -> Option<String>,
    /// Values that came from the environment: they go into the fingerprint as hashes.
    pub(super) from_env: BTreeSet<String>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

/// A value with the name under which a user knows it.
#[derive(Clone)]
pub(super) struct Field<'n> {
    /// Such as `rules[0].match.state`.
    pub(super) path: String,
    pub(super) node: &'n Node,
}

/// A mapping whose keys are all known.
pub(super) struct Section<'n> {
    path: String,
    pub(super) at: At,
    fields: Vec<(&'n str, Field<'n>)>,
}

impl<'n> Section<'n> {
    /// The field, where it was given.
    pub(super) fn get(&self, key: &str) -> Option<Field<'n>> {
        self.fields.iter().find(|(name, _)| *name == key).map(|(_, field)| field.clone())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(super) fn inner(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a str, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { file, env, from_env: BTreeSet::new(), problems: Vec::new(), warnings: Vec::new() }
    }

    /// Notes a problem.
    pub(super) fn problem(&mut self, at: At, what: impl Into<String>) -> &mut Problem {
        let problem = self.located(at, what.into());
        self.problems.push(problem);
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    /// Notes something that is allowed but probably not meant.
    pub(super) fn warning(&mut self, at: At, what: impl Into<String>, hint: Option<String>) {
        let mut warning = self.located(at, what.into());
        warning.hint = hint;
        self.warnings.push(warning);
    }

    fn located(&self, at: At, what: String) -> Problem {
        let (line, column) = (at.line, at.column);
        Problem { file: self.file.to_owned(), line, column, what, expected: None, hint: None }
    }

    /// Notes that a value is not what it should be. The value is shown as it was written, so that
    /// nothing from the environment is.
    pub(super) fn unfit(&mut self, field: &Field<'_>, expected: impl Display) -> &mut Problem {
        let what = match &field.node.value {
            _ if field.node.is_null() => format!("{} has no value", field.path),
            Value::Scalar { text, .. } => format!("{} cannot be {}", field.path, quoted(text)),
            Value::Seq(_) => format!("{} cannot be a list", field.path),
            Value::Map(_) => format!("{} cannot be a mapping", field.path),
        };
        let problem = self.problem(field.node.at, what);
        problem.expected = Some(expected.to_string());
        problem
    }

    pub(super) fn missing(&mut self, section: &Section<'_>, key: &str, expected: &str) {
        let what = format!("{} is missing", section.inner(key));
        self.problem(section.at, what).expected = Some(expected.to_owned());
    }

    /// Opens a mapping, and notes every key of it that is not among `known`.
    pub(super) fn section<'n>(&mut self, field: &Field<'n>, known: &[&str]) -> Option<Section<'n>> {
        let Value::Map(entries) = &field.node.value else {
            self.unfit(field, format_args!("a mapping with {}", listed(known)));
            return None;
        };
        let mut section = Section { path: field.path.clone(), at: field.node.at, fields: Vec::new() };
        for entry in entries {
            let path = section.inner(&entry.key);
            if known.contains(&&*entry.key) {
                section.fields.push((&entry.key, Field { path, node: &entry.value }));
            } else if !is_credential(&entry.key) {
                self.unknown_key(&section.path, &entry.key, entry.at, known);
            }
        }
        Some(section)
    }

    fn unknown_key(&mut self, path: &str, key: &str, at: At, known: &[&str]) {
        let place = if path.is_empty() { String::new() } else { format!(" in {path}") };
        let problem = self.problem(at, format!("unknown key {}{place}", quoted(key)));
        problem.expected = Some(format!("one of {}", known.join(", ")));
        problem.hint = did_you_mean(key, known);
    }

    /// A word or text as it stands in the file, nothing resolved.
    pub(super) fn raw<'n>(&mut self, field: &Field<'n>, expected: &str) -> Option<&'n str> {
        match &field.node.value {
            Value::Scalar { text, .. } if !field.node.is_null() => Some(text),
            _ => {
                self.unfit(field, expected);
                None
            }
        }
    }

    /// Text inside a rule: not empty, and the same on every machine.
    pub(super) fn literal<'n>(&mut self, field: &Field<'n>, expected: &str) -> Option<&'n str> {
        let text = self.raw(field, expected)?;
        if text.contains(ENV_OPEN) {
            let what = format!("{} depends on the environment", field.path);
            self.problem(field.node.at, what).hint =
                Some("rules select the same everywhere: write the value out".into());
            return None;
        }
        if text.is_empty() {
            self.unfit(field, expected);
            return None;
        }
        Some(text)
    }

    /// Text in which `${env:NAME}` stands for a variable of the environment. Not empty.
    pub(super) fn text(&mut self, field: &Field<'_>, expected: &str) -> Option<String> {
        let raw = self.raw(field, expected)?;
        let resolved = if raw.contains("${") { self.resolve(field, raw)? } else { raw.to_owned() };
        if resolved.is_empty() || resolved.contains(char::is_control) {
            self.unfit(field, expected);
            return None;
        }
        Some(resolved)
    }

    pub(super) fn resolve(&mut self, field: &Field<'_>, raw: &str) -> Option<String> {
        let mut out = String::new();
        let mut rest = raw;
        while let Some(start) = rest.find("${") {
            out.push_str(&rest[..start]);
            let Some((name, behind)) =
                rest[start..].strip_prefix(ENV_OPEN).and_then(|rest| rest.split_once('}'))
            else {
                self.unfit(field, "${env:NAME} where a variable of the environment is meant");
                return None;
            };
            if !is_variable_name(name) {
                self.unfit(field, "a variable's name of letters, digits and _ in ${env:NAME}");
                return None;
            }
            let Some(value) = (self.env)(name) else {
                let what = format!("{}: the environment has no variable {name}", field.path);
                self.problem(field.node.at, what).hint = Some(format!("set {name}, or write the value out"));
                return None;
            };
            out.push_str(&value);
            rest = behind;
        }
        out.push_str(rest);
        self.from_env.insert(out.clone());
        Some(out)
    }

    /// `true` or `false`, nothing else.
    pub(super) fn boolean(&mut self, field: &Field<'_>) -> Option<bool> {
        match &field.node.value {
            Value::Scalar { text, plain: true } if text == "true" => Some(true),
            Value::Scalar { text, plain: true } if text == "false" => Some(false),
            _ => {
                self.unfit(field, "true or false");
                None
            }
        }
    }

    /// A plain whole number.
    pub(super) fn count(&mut self, field: &Field<'_>, range: RangeInclusive<u64>) -> Option<u64> {
        let read = match &field.node.value {
            Value::Scalar { text, plain: true } => units::integer(text).filter(|n| range.contains(n)),
            _ => None,
        };
        if read.is_none() {
            let (low, high) = (range.start(), range.end());
            let bounds =
                if *high == u64::MAX { format!("{low} or more") } else { format!("{low} to {high}") };
            self.unfit(field, format_args!("a whole number, {bounds}, without separators"));
        }
        read
    }

    pub(super) fn duration(&mut self, field: &Field<'_>, min: Duration) -> Option<Duration> {
        const EXPECTED: &str = "a duration such as 30d, 4h, 90m, 10s or 2w";
        let text = self.raw(field, EXPECTED)?;
        let read = units::duration(text).filter(|duration| *duration >= min);
        if read.is_none() {
            let hint =
                units::integer(text).map(|_| format!("it needs a unit: {text}d is days, {text}h hours"));
            self.unfit(field, EXPECTED).hint = hint;
        }
        read
    }

    pub(super) fn size(&mut self, field: &Field<'_>) -> Option<u64> {
        const EXPECTED: &str = "a size such as 512B, 128KiB, 5MB or 1.5GiB";
        let text = self.raw(field, EXPECTED)?;
        let read = units::size_bytes(text);
        if read.is_none() {
            let hint = units::integer(text).map(|_| format!("it needs a unit: {text}B is bytes"));
            self.unfit(field, EXPECTED).hint = hint;
        }
        read
    }

    pub(super) fn share(&mut self, field: &Field<'_>, may_be_zero: bool) -> Option<f64> {
        let expected = if may_be_zero { "0% to 100%" } else { "more than 0% and at most 100%" };
        let text = self.raw(field, expected)?;
        let read = units::share(text).filter(|share| may_be_zero || *share > 0.0);
        if read.is_none() {
            self.unfit(field, format_args!("a percentage, {expected}"));
        }
        read
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(&mut self, field: &Field<'_>, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let expected = listed(&names);
        let text = self.raw(field, &expected)?;
        let hit = words.iter().find(|(word, _)| *word == text);
        if hit.is_none() {
            self.unfit(field, expected).hint = did_you_mean(text, &names);
        }
        hit.map(|(_, value)| *value)
    }

    /// The items of a list; a single value is a list of one.
    pub(super) fn items<'n>(&mut self, field: &Field<'n>, expected: &str) -> Vec<Field<'n>> {
        match &field.node.value {
            Value::Seq(items) if items.is_empty() => {
                self.problem(field.node.at, format!("{} is an empty list", field.path)).expected =
                    Some(expected.to_owned());
                Vec::new()
            }
            Value::Seq(items) => (0..)
                .zip(items)
                .map(|(at, node)| Field { path: format!("{}[{at}]", field.path), node })
                .collect(),
            _ => vec![field.clone()],
        }
    }

    /// Notes every key, at any depth, that would hold a credential.
    pub(super) fn refuse_credentials(&mut self, node: &Node) {
        match &node.value {
            Value::Scalar { .. } => {}
            Value::Seq(items) => items.iter().for_each(|item| self.refuse_credentials(item)),
            Value::Map(entries) => {
                for entry in entries {
                    if is_credential(&entry.key) {
                        let what = format!("{}: credentials do not belong in a job file", quoted(&entry.key));
                        self.problem(entry.at, what).hint = Some(
                            "leave them to the AWS credential chain (environment, profile, SSO, role); \
                             bucket.profile names a profile"
                                .into(),
                        );
                    } else {
                        self.refuse_credentials(&entry.value);
                    }
                }
            }
        }
    }
}

/// Whether a variable of the environment can have this name.
pub(super) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether a key of this name would hold a credential, however it is spelt.
fn is_credential(key: &str) -> bool {
    let bare: String =
        key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let bare = bare.strip_prefix("aws").unwrap_or(&bare);
    // These say where a credential is.
    if ["_env", "_file"].iter().any(|place| key.ends_with(place)) {
        return false;
    }
    bare.contains("secret")
        || bare.contains("password")
        || matches!(
            bare,
            "accesskey"
                | "accesskeyid"
                | "sessiontoken"
                | "securitytoken"
                | "credentials"
                | "passwd"
                | "apikey"
        )
}

/// The word that was probably meant.
pub(super) fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    let folded = word.to_ascii_lowercase().replace('-', "_");
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(&folded, &name.replace('-', "_")), name))
        .filter(|(alike, _)| *alike >= ALIKE_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| format!("did you mean {name:?}?"))
}

pub(super) fn listed(words: &[&str]) -> String {
    match words {
        [] => "nothing".into(),
        [only] => (*only).to_owned(),
        [head @ .., last] => format!("{} or {last}", head.join(", ")),
    }
}

/// Text in quotes, shortened where it is long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    format!("{shown:?}")
}
