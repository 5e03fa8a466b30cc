//! Templates for the keys of copies: from text to a [`KeyTemplate`], and whether it may be used.

use crate::model::{Key, KeyPart, KeyTemplate, TimePart};

use super::reader::{did_you_mean, quoted};

const PLACEHOLDERS: &[&str] = &["key", "key_without_prefix", "version_id", "last_modified"];
const TIME: &str = "{last_modified:%Y/%m/%d}, of %Y %m %d %H %M %S and %% for a per cent sign";
/// Bytes that no known server puts into a version id: AWS and Ceph take letters, digits, `.`, `_` and
/// `-`, MinIO a UUID, others add `~`, `+`, `=` and `*`.
const SEPARATORS: &[u8] = b"/@:#,;|! ";

/// What is wrong with a template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TemplateFault {
    pub(super) what: String,
    pub(super) expected: Option<String>,
    pub(super) hint: Option<String>,
}

fn fault(what: impl Into<String>, expected: Option<&str>, hint: Option<&str>) -> TemplateFault {
    TemplateFault { what: what.into(), expected: expected.map(Into::into), hint: hint.map(Into::into) }
}

/// Reads a template: `{...}` stands for something, `{{` and `}}` for braces, all else for itself.
///
/// # Errors
/// The first thing that is no template.
pub(super) fn parse(text: &str) -> Result<KeyTemplate, TemplateFault> {
    const BRACES: &str = "write {{ and }} for braces that keys have";
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        literal.extend_from_slice(&rest.as_bytes()[..at]);
        let opens = rest[at..].starts_with('{');
        let behind = &rest[at + 1..];
        if behind.starts_with(if opens { '{' } else { '}' }) {
            literal.push(rest.as_bytes()[at]);
            rest = &behind[1..];
            continue;
        }
        if !opens {
            return Err(fault("has a } that closes nothing", None, Some(BRACES)));
        }
        let Some((inside, after)) = behind.split_once('}') else {
            return Err(fault("has a { that nothing closes", None, Some(BRACES)));
        };
        if !literal.is_empty() {
            parts.push(KeyPart::Literal(std::mem::take(&mut literal)));
        }
        parts.push(placeholder(inside)?);
        rest = after;
    }
    literal.extend_from_slice(rest.as_bytes());
    if !literal.is_empty() {
        parts.push(KeyPart::Literal(literal));
    }
    Ok(KeyTemplate(parts))
}

fn placeholder(inside: &str) -> Result<KeyPart, TemplateFault> {
    let (name, format) = inside.split_once(':').map_or((inside, None), |(name, f)| (name, Some(f)));
    match (name, format) {
        ("key", None) => Ok(KeyPart::Key),
        ("key_without_prefix", None) => Ok(KeyPart::KeyWithoutPrefix),
        ("version_id", None) => Ok(KeyPart::VersionId),
        ("last_modified", Some(format)) => Ok(KeyPart::LastModified(time_parts(format)?)),
        ("last_modified", None) => Err(fault("has {last_modified} without a format", Some(TIME), None)),
        (known, Some(_)) if PLACEHOLDERS.contains(&known) => {
            Err(fault(format!("has {{{known}:...}}, which takes no format"), None, None))
        }
        (unknown, _) => Err(TemplateFault {
            what: format!("has the unknown placeholder {}", quoted(unknown)),
            expected: Some("{key}, {key_without_prefix}, {version_id} or {last_modified:%Y/%m/%d}".into()),
            hint: did_you_mean(unknown, PLACEHOLDERS),
        }),
    }
}

fn time_parts(format: &str) -> Result<Vec<TimePart>, TemplateFault> {
    let unfit = |what: String| fault(what, Some(TIME), None);
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut chars = format.chars();
    while let Some(char) = chars.next() {
        if char == '{' {
            return Err(unfit(format!("has a brace in the time format {}", quoted(format))));
        }
        if char != '%' {
            literal.push(char);
            continue;
        }
        let part = match chars.next() {
            Some('Y') => TimePart::Year,
            Some('m') => TimePart::Month,
            Some('d') => TimePart::Day,
            Some('H') => TimePart::Hour,
            Some('M') => TimePart::Minute,
            Some('S') => TimePart::Second,
            Some('%') => {
                literal.push('%');
                continue;
            }
            other => {
                let code = other.map_or_else(|| "%".to_owned(), |code| format!("%{code}"));
                return Err(unfit(format!("has {} in its time format", quoted(&code))));
            }
        };
        if !literal.is_empty() {
            parts.push(TimePart::Literal(std::mem::take(&mut literal).into_bytes()));
        }
        parts.push(part);
    }
    if !literal.is_empty() {
        parts.push(TimePart::Literal(literal.into_bytes()));
    }
    if parts.is_empty() {
        return Err(unfit("has an empty time format".into()));
    }
    Ok(parts)
}

/// Why two source keys could come to one destination key, where they could. `prefixes` are those of
/// the scope.
///
/// Without version ids everything but the key has a fixed width, so the length of a rendered key
/// tells that of its source key and where it stands. A version id has no fixed width: it must be
/// found by a separator that it cannot have itself.
pub(super) fn collision(template: &KeyTemplate, prefixes: &[Key]) -> Option<TemplateFault> {
    let is_key = |part: &KeyPart| matches!(part, KeyPart::Key | KeyPart::KeyWithoutPrefix);
    let parts = &template.0;
    let keys: Vec<usize> = (0..parts.len()).filter(|at| is_key(&parts[*at])).collect();
    let ids: Vec<usize> = (0..parts.len()).filter(|at| parts[*at] == KeyPart::VersionId).collect();
    if keys.is_empty() {
        let what = "names no key: the copies of all keys would come to one";
        return Some(fault(what, Some("a template with {key} or {key_without_prefix}"), None));
    }
    if prefixes.len() > 1 && parts.contains(&KeyPart::KeyWithoutPrefix) {
        return Some(fault(
            "has {key_without_prefix}, but scope.prefixes has several: two keys could come to one",
            None,
            Some("use {key}, or a job for each prefix"),
        ));
    }
    if ids.is_empty() {
        return None;
    }
    let ([key], [id]) = (&keys[..], &ids[..]) else {
        return Some(fault("has {version_id} beside more than one key or version id", None, None));
    };
    let between = &parts[key.min(id) + 1..*key.max(id)];
    (!between.iter().any(separates)).then(|| {
        fault(
            "has {version_id} next to the key: two keys could come to one",
            None,
            Some("put a character between them that version ids do not have, such as / or @"),
        )
    })
}

fn separates(part: &KeyPart) -> bool {
    let has = |bytes: &[u8]| bytes.iter().any(|byte| SEPARATORS.contains(byte));
    match part {
        KeyPart::Literal(bytes) => has(bytes),
        KeyPart::LastModified(parts) => {
            parts.iter().any(|part| matches!(part, TimePart::Literal(bytes) if has(bytes)))
        }
        _ => false,
    }
}

/// The same template in its plainest form: one that comes to the source key is the identity.
pub(super) fn plainest(template: KeyTemplate, prefixes: &[Key]) -> KeyTemplate {
    let ([prefix], parts) = (prefixes, &template.0[..]) else { return template };
    let puts_prefix_back = match parts {
        [KeyPart::KeyWithoutPrefix] => prefix.as_bytes().is_empty(),
        [KeyPart::Literal(bytes), KeyPart::KeyWithoutPrefix] => bytes == prefix.as_bytes(),
        _ => false,
    };
    if puts_prefix_back { KeyTemplate::identity() } else { template }
}

#[cfg(test)]
mod tests;
