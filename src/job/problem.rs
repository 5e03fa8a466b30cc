//! What is wrong with a job file, and where.

use std::fmt;

/// One thing that is wrong with a job file, or probably not meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The file as the user named it.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// What was found, and in which key.
    pub what: String,
    /// What could stand there instead.
    pub expected: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// What was found, what could stand there and what to do, without the place.
    pub fn message(&self) -> String {
        let expected = self.expected.as_ref().map(|expected| format!("; expected {expected}"));
        let hint = self.hint.as_ref().map(|hint| format!("; {hint}"));
        format!("{}{}{}", self.what, expected.unwrap_or_default(), hint.unwrap_or_default())
    }
}

/// One line for people, in the form that editors jump to: `file:line:column: what; expected ...;
/// hint`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message())
    }
}

/// Everything that is wrong with a job file, in the order of the file. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problems(pub Vec<Problem>);

/// A line for each.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
