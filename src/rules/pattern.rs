//! Patterns over the bytes of a key.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

/// Bytes that one compiled pattern may take. Generous for anything a person writes, and a bound on
/// what a hostile repetition can make of a few characters.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// A glob or a regular expression over keys.
#[derive(Clone)]
pub struct KeyPattern {
    source: Box<str>,
    regex: Regex,
}

/// Why a pattern is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

impl KeyPattern {
    /// A shell-like pattern for the whole key: `*` stands for any bytes but `/`, `**` for any
    /// bytes as a whole component, `?` for one character but `/`, `[a-z]` and `[!a-z]` for one
    /// character of a set of ASCII characters (never `/`), `{a,b}` for either, `\` takes the next
    /// character as it is.
    ///
    /// # Errors
    /// A pattern that is not well formed, or too large once compiled.
    pub fn glob(source: &str) -> Result<Self, PatternError> {
        let glob = globset::GlobBuilder::new(source)
            .literal_separator(true)
            .backslash_escape(true)
            .empty_alternates(true)
            .build()
            .map_err(|error| PatternError(error.kind().to_string()))?;
        Self::compile(source, &by_character(glob.regex())?)
    }

    /// A regular expression in the syntax of the `regex` crate. It may match anywhere in the key:
    /// `^` and `$` tie it to the ends.
    ///
    /// # Errors
    /// An expression that is not well formed, or too large once compiled.
    pub fn regex(source: &str) -> Result<Self, PatternError> {
        Self::compile(source, source)
    }

    fn compile(source: &str, regex: &str) -> Result<Self, PatternError> {
        let regex = RegexBuilder::new(regex)
            .size_limit(COMPILED_BYTES_MAX)
            .dot_matches_new_line(true)
            .build()
            .map_err(|error| PatternError(one_line(&error)))?;
        Ok(Self { source: source.into(), regex })
    }

    /// Whether the key matches.
    pub fn is_match(&self, key: &[u8]) -> bool {
        self.regex.is_match(key)
    }

    /// The pattern as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// Two patterns are equal where they were written alike and mean the same.
impl PartialEq for KeyPattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.regex.as_str() == other.regex.as_str()
    }
}

impl fmt::Debug for KeyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPattern({:?})", self.source)
    }
}

/// The expression that globset makes of a glob works on bytes: its `?` and its classes would take
/// a part of a character outside ASCII, and its classes would cross `/`. Here they take one whole
/// character other than `/`. Runs (`[^/]*`) mean the same either way.
fn by_character(bytewise: &str) -> Result<String, PatternError> {
    let mut out = String::with_capacity(bytewise.len() + 16);
    let mut rest = bytewise;
    while let Some(c) = rest.chars().next() {
        if c == '\\' {
            let escaped: String = rest.chars().take(2).collect();
            rest = &rest[escaped.len()..];
            out.push_str(&escaped);
        } else if c == '[' {
            let class = &rest[..class_length(rest)];
            rest = &rest[class.len()..];
            if class.contains("\\x") {
                return Err(PatternError("a character class can hold ASCII characters only".into()));
            }
            if rest.starts_with('*') {
                out.push_str(class);
            } else {
                out.push_str("(?u:[");
                out.push_str(class);
                out.push_str("&&[^/]])");
            }
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    Ok(out)
}

/// Bytes of the class that `text` begins with, both brackets included.
fn class_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The `regex` crate draws its errors over several lines; the last says what is wrong.
fn one_line(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => format!("it takes more than {limit} bytes once compiled"),
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(pattern: &str, key: &str) -> bool {
        KeyPattern::glob(pattern).unwrap().is_match(key.as_bytes())
    }

    #[test]
    fn a_star_stays_within_a_component_and_two_cross() {
        assert!(glob("logs/*.gz", "logs/a.gz"));
        assert!(!glob("logs/*.gz", "logs/a/b.gz"));
        assert!(glob("logs/**/*.gz", "logs/a/b/c.gz"));
        assert!(glob("logs/**/*.gz", "logs/c.gz"));
        assert!(glob("**/*.parquet", "x.parquet"));
        assert!(glob("**/*.parquet", "a//b/x.parquet"));
        assert!(glob("tmp/**", "tmp/a\nb/c"));
        assert!(!glob("tmp/**", "tmp"));
        assert!(glob("**", "any/thing"));
    }

    #[test]
    fn a_glob_is_for_the_whole_key_and_its_letters_are_letters() {
        assert!(!glob("*.gz", "a.gz.bak"));
        assert!(!glob("a.c", "abc"));
        assert!(glob("a+(b)|$", "a+(b)|$"));
        assert!(glob(r"\*\[x", "*[x"));
        assert!(!glob(r"\*", "a"));
        assert!(glob("{a,b,}.txt", "b.txt"));
        assert!(glob("{a,b,}.txt", ".txt"));
    }

    #[test]
    fn one_character_is_a_whole_one_and_never_a_slash() {
        assert!(glob("gr?n", "grün"));
        assert!(!glob("gr??n", "grün"));
        assert!(glob("日?語", "日本語"));
        assert!(!glob("a?b", "a/b"));
        assert!(glob("[!x]b", "äb"));
        assert!(!glob("a[!x]b", "a/b"));
        assert!(!glob("a[+-9]b", "a/b"));
        assert!(glob("a[+-9]b", "a5b"));
        assert!(glob("a[]]b", "a]b"));
        assert!(glob("*", "\u{1f600}"));
    }

    #[test]
    fn bytes_that_are_no_text_are_matched_by_runs() {
        assert!(KeyPattern::glob("a*b").unwrap().is_match(b"a\xff\xfeb"));
        assert!(KeyPattern::regex("(?-u)\\xff").unwrap().is_match(b"a\xffb"));
    }

    #[test]
    fn bad_patterns_say_what_is_wrong_in_one_line() {
        for (result, part) in [
            (KeyPattern::glob("[a"), "unclosed character class"),
            (KeyPattern::glob("{a"), "unclosed alternate group"),
            (KeyPattern::glob("[ä]"), "ASCII characters only"),
            (KeyPattern::regex("a("), "unclosed group"),
            (KeyPattern::regex("(?:a{1000}){1000}"), "once compiled"),
        ] {
            let text = result.unwrap_err().to_string();
            assert!(text.contains(part) && !text.contains('\n'), "{text}");
        }
    }
}
