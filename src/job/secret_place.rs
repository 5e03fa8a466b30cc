//! Where a job file says that a secret is: `NAME_env` or `NAME_file`, never the secret itself.

use std::path::PathBuf;

use crate::model::SecretPlace;

use super::reader::{Field, Reader, Section, is_variable_name};

impl Reader<'_> {
    /// The place that a section names by `{name}_env` or `{name}_file`; `Some(None)` where it names none, and
    /// `None` where what it says was noted as a problem.
    pub(super) fn secret_place(&mut self, section: &Section<'_>, name: &str) -> Option<Option<SecretPlace>> {
        let env = format!("{name}_env");
        match (section.get(&env), section.get(&format!("{name}_file"))) {
            (None, None) => Some(None),
            (Some(field), None) => self.variable(&field).map(Some),
            (None, Some(field)) => self.secret_file(&field).map(Some),
            (Some(_), Some(field)) => {
                self.problem(field.node.at, format!("{}: {env} is given too", field.path)).hint =
                    Some("leave one of them out".into());
                None
            }
        }
    }

    /// The name of a variable that holds a secret. What stands here by mistake may be the secret itself, and is
    /// not repeated.
    pub(super) fn variable(&mut self, field: &Field<'_>) -> Option<SecretPlace> {
        const EXPECTED: &str = "the name of a variable of the environment, without ${env:}";
        let name = self.raw(field, EXPECTED)?;
        if !is_variable_name(name) {
            self.problem(field.node.at, format!("{} is no name of a variable", field.path)).expected =
                Some(EXPECTED.into());
            return None;
        }
        Some(SecretPlace::Environment(name.to_owned()))
    }

    /// The name of a file that holds a secret.
    pub(super) fn secret_file(&mut self, field: &Field<'_>) -> Option<SecretPlace> {
        self.text(field, "the name of a file").map(|name| SecretPlace::File(PathBuf::from(name)))
    }
}
