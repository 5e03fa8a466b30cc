//! What an expression of PromQL asks for: metrics with their label matchers, and the labels it groups by.

use std::collections::BTreeSet;

/// A condition on a label, `code=~"SlowDown|Throttling"`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    pub(crate) operator: String,
    pub(crate) value: String,
}

/// One metric of an expression, with the conditions on its labels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    pub(crate) matchers: Vec<Matcher>,
}

/// Everything that an expression names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Named {
    pub(crate) selectors: Vec<Selector>,
    /// In `by`, `without`, `on`, `ignoring`, `group_left` and `group_right`.
    pub(crate) grouped_by: BTreeSet<String>,
    /// Labels that `label_replace` makes.
    pub(crate) made: BTreeSet<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    Word(String),
    Text(String),
    Sign(String),
}

const WORDS: &[&str] = &["and", "or", "unless", "bool", "offset", "atan2", "inf", "nan"];
const GROUPINGS: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];

/// Reads an expression.
///
/// # Errors
/// What could not be read: nothing of an expression is passed over in silence.
pub(crate) fn named(expression: &str) -> Result<Named, String> {
    let tokens = tokens(expression)?;
    let mut named = Named::default();
    let mut at = 0;
    while at < tokens.len() {
        at = match &tokens[at] {
            Token::Word(word) if GROUPINGS.contains(&word.as_str()) => {
                grouping(&tokens, at + 1, &mut named.grouped_by)?
            }
            Token::Word(word) if WORDS.contains(&word.to_ascii_lowercase().as_str()) => at + 1,
            Token::Word(word) if follows(&tokens, at, "(") || is_aggregation(&tokens, at) => {
                if word == "label_replace" {
                    named.made.insert(made_label(&tokens, at)?);
                }
                at + 1
            }
            Token::Word(word) => {
                let (matchers, next) = matchers(&tokens, at + 1)?;
                named.selectors.push(Selector { metric: word.clone(), matchers });
                next
            }
            Token::Sign(sign) if sign == "{" => {
                let (mut matchers, next) = matchers(&tokens, at)?;
                let name = matchers.iter().position(|matcher| matcher.label == "__name__");
                let name = matchers.remove(name.ok_or("a selector without a name")?);
                for metric in name.value.split('|') {
                    named.selectors.push(Selector { metric: metric.to_owned(), matchers: matchers.clone() });
                }
                next
            }
            Token::Text(_) | Token::Sign(_) => at + 1,
        };
    }
    Ok(named)
}

fn follows(tokens: &[Token], at: usize, sign: &str) -> bool {
    tokens.get(at + 1) == Some(&Token::Sign(sign.to_owned()))
}

/// `sum by (x) (...)`: the grouping stands before the parenthesis.
fn is_aggregation(tokens: &[Token], at: usize) -> bool {
    matches!(tokens.get(at + 1), Some(Token::Word(word)) if word == "by" || word == "without")
}

/// The second argument of `label_replace` that begins at `at`: the first text behind a comma on its own floor.
fn made_label(tokens: &[Token], at: usize) -> Result<String, String> {
    let mut depth = 0;
    for pair in tokens[at + 1..].windows(2) {
        match &pair[0] {
            Token::Sign(sign) if "([{".contains(sign.as_str()) => depth += 1,
            Token::Sign(sign) if ")]}".contains(sign.as_str()) => depth -= 1,
            Token::Sign(sign) if sign == "," && depth == 1 => {
                return match &pair[1] {
                    Token::Text(label) => Ok(label.clone()),
                    other => Err(format!("label_replace into {other:?}")),
                };
            }
            _ => {}
        }
    }
    Err("label_replace without a label".into())
}

/// The labels between parentheses, where there are any, and where it goes on.
fn grouping(tokens: &[Token], from: usize, labels: &mut BTreeSet<String>) -> Result<usize, String> {
    if tokens.get(from) != Some(&Token::Sign("(".into())) {
        return Ok(from);
    }
    for (at, token) in tokens.iter().enumerate().skip(from + 1) {
        match token {
            Token::Word(label) => drop(labels.insert(label.clone())),
            Token::Sign(sign) if sign == ")" => return Ok(at + 1),
            Token::Sign(sign) if sign == "," => {}
            other => return Err(format!("{other:?} among labels")),
        }
    }
    Err("labels without an end".into())
}

/// The conditions between braces, where there are any, and where it goes on.
fn matchers(tokens: &[Token], from: usize) -> Result<(Vec<Matcher>, usize), String> {
    let mut found = Vec::new();
    if tokens.get(from) != Some(&Token::Sign("{".into())) {
        return Ok((found, from));
    }
    let mut at = from + 1;
    loop {
        match tokens.get(at..).unwrap_or_default() {
            [Token::Sign(sign), ..] if sign == "}" => return Ok((found, at + 1)),
            [Token::Sign(sign), ..] if sign == "," => at += 1,
            [Token::Word(label), Token::Sign(operator), Token::Text(value), ..] => {
                found.push(Matcher {
                    label: label.clone(),
                    operator: operator.clone(),
                    value: value.clone(),
                });
                at += 3;
            }
            rest => return Err(format!("not a condition: {:?}", rest.first())),
        }
    }
}

fn tokens(expression: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' | '\'' | '`' => {
                let end = text_end(rest, first)?;
                found.push(Token::Text(rest[1..end - 1].to_owned()));
                end
            }
            // A range or a subquery: durations, and Grafana's variables for them.
            '[' => rest.find(']').ok_or("a range without an end")? + 1,
            '#' => rest.find('\n').unwrap_or(rest.len()),
            'a'..='z' | 'A'..='Z' | '_' | ':' => {
                let end = length(rest, |c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
                found.push(Token::Word(rest[..end].to_owned()));
                end
            }
            // Numbers, also 1e9, 0x1f and durations behind `offset`.
            '0'..='9' | '.' => length(rest, |c| c.is_ascii_alphanumeric() || c == '.'),
            '=' | '!' | '<' | '>' | '~' => {
                let end = length(rest, |c| "=!<>~".contains(c));
                found.push(Token::Sign(rest[..end].to_owned()));
                end
            }
            '(' | ')' | '{' | '}' | ',' | '+' | '-' | '*' | '/' | '%' | '^' | '@' => {
                found.push(Token::Sign(first.to_string()));
                1
            }
            other => return Err(format!("unexpected {other:?} before {rest:?}")),
        };
        rest = rest[end..].trim_start();
    }
    Ok(found)
}

fn length(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// Behind the closing quote.
fn text_end(rest: &str, quote: char) -> Result<usize, String> {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if quote != '`' => is_escaped = true,
            _ if c == quote => return Ok(at + 1),
            _ => {}
        }
    }
    Err(format!("a text without an end: {rest}"))
}

#[test]
fn expressions_are_read() {
    let read = named(
        "sum by (sweep_job, le) (max without (instance) (rate(a_bucket{op=~\"x|y\", s!='{b}'}[$__rate_interval])))\n\
         / on (sweep_job) group_left () (c:d:e > bool 0) or label_replace(f{}, \"of\", \"$1\", \"g\", \"(.*)\") * 1e9",
    )
    .unwrap();
    let metrics: Vec<_> = read.selectors.iter().map(|selector| selector.metric.as_str()).collect();
    assert_eq!(metrics, ["a_bucket", "c:d:e", "f"]);
    let conditions: Vec<_> =
        read.selectors[0].matchers.iter().map(|m| (&*m.label, &*m.operator, &*m.value)).collect();
    assert_eq!(conditions, [("op", "=~", "x|y"), ("s", "!=", "{b}")]);
    assert_eq!(
        read.grouped_by.iter().map(String::as_str).collect::<Vec<_>>(),
        ["instance", "le", "sweep_job"]
    );
    assert_eq!(read.made.iter().map(String::as_str).collect::<Vec<_>>(), ["of"]);

    let read = named("max(last_over_time({__name__=~\"a|b\", c=\"d\"}[7d]) offset 5m)").unwrap();
    let metrics: Vec<_> = read.selectors.iter().map(|selector| selector.metric.as_str()).collect();
    assert_eq!(metrics, ["a", "b"]);
    assert_eq!(read.selectors[1].matchers.len(), 1);
}

#[test]
fn what_cannot_be_read_is_said() {
    for bad in ["{a=\"b\"}", "a{b}", "a{b=\"c", "a[5m", "a ; b", "sum by (a", "sum by (1 + \"x\") (a)"] {
        assert!(named(bad).is_err(), "{bad}");
    }
}
