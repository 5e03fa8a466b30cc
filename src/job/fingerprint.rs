//! What makes a job this job.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The part of a job that decides which versions a run touches and how. Two jobs with the same
/// fingerprint may go on with each other's checkpoints; speed, budgets and reports are free to
/// change between.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fingerprint {
    /// SHA-256 of `semantic_json`, 64 hexadecimal digits.
    pub digest: String,
    /// The semantic part as JSON with sorted keys and no white space. What came from the
    /// environment is in it as a hash only.
    pub semantic_json: String,
}

impl Fingerprint {
    /// Of a semantic part.
    pub(super) fn of(semantic: &Value) -> Self {
        let semantic_json = semantic.to_string();
        Self { digest: sha256_hex(semantic_json.as_bytes()), semantic_json }
    }
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The fields in which two semantic parts differ, each as `path: old -> new`, in the order of
/// their paths. Text that is no semantic part differs as a whole.
pub fn differences(old_json: &str, new_json: &str) -> Vec<String> {
    let (Ok(old), Ok(new)) = (serde_json::from_str(old_json), serde_json::from_str(new_json)) else {
        return if old_json == new_json { Vec::new() } else { vec!["job: it cannot be read".into()] };
    };
    let mut found = Vec::new();
    compare("", Some(&old), Some(&new), &mut found);
    found
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<String>) {
    match (old, new) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(&inner, a.get(name), b.get(name), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for at in 0..a.len().max(b.len()) {
                compare(&format!("{path}[{at}]"), a.get(at), b.get(at), found);
            }
        }
        (old, new) if old == new => {}
        (old, new) => found.push(format!("{path}: {} -> {}", shown(old), shown(new))),
    }
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "(not given)".into(),
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_the_path_and_both_values() {
        let old = r#"{"bucket":{"name":"a"},"rules":[{"state":["any"]}],"scope":{"limit":null}}"#;
        let new = r#"{"bucket":{"name":"b"},"rules":[{"state":["any"]},{"name":"x"}],"scope":{"limit":5}}"#;
        assert_eq!(
            differences(old, new),
            [
                r#"bucket.name: "a" -> "b""#,
                r#"rules[1]: (not given) -> {"name":"x"}"#,
                "scope.limit: (not given) -> 5"
            ]
        );
        assert!(differences(old, old).is_empty());
        assert_eq!(differences("nonsense", new), ["job: it cannot be read"]);
    }
}
