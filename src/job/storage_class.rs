//! Storage classes: those of AWS are known, and other servers have names of their own. So a word that is
//! none of AWS's is allowed, and warned of where it is probably a slip.

use crate::model::STORAGE_CLASSES;

use super::reader::{Field, Reader, quoted};
use super::spec::Endpoint;

/// Letters that are wrong, left out, added or exchanged at most, for a word to be taken for a slip. The
/// names of AWS differ from each other by more.
const SLIPS_MAX: usize = 2;

/// The storage class of AWS that was probably meant by a word that is none.
fn meant(word: &str) -> Option<&'static str> {
    let folded = word.to_ascii_uppercase().replace(['-', ' '], "_");
    let slips = |name: &&str| strsim::damerau_levenshtein(&folded, name);
    STORAGE_CLASSES.into_iter().min_by_key(slips).filter(|name| slips(name) <= SLIPS_MAX)
}

impl Reader<'_> {
    /// Warns of a word that is no storage class of AWS where the server is AWS, or where one of these is
    /// nearly spelt so.
    pub(super) fn warn_of_class(&mut self, field: &Field<'_>, word: &str, endpoint: Option<&Endpoint>) {
        if STORAGE_CLASSES.contains(&word) {
            return;
        }
        let hint = match meant(word) {
            Some(name) => format!("did you mean {name:?}?"),
            None if endpoint == Some(&Endpoint::Aws) => format!("AWS has {}", STORAGE_CLASSES.join(", ")),
            None => return,
        };
        let what = format!("{}: {} is no storage class of AWS", field.path, quoted(word));
        self.warning(field.node.at, what, Some(hint));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_name_of_its_own_is_not_one() {
        for (word, wanted) in [
            ("GLACER_IR", Some("GLACIER_IR")),
            ("STANDRAD", Some("STANDARD")),
            ("standard-ia", Some("STANDARD_IA")),
            ("DEEP_ARCHIV", Some("DEEP_ARCHIVE")),
            ("COLD", None),
            ("LUKEWARM", None),
            ("NVME_POOL", None),
        ] {
            assert_eq!(meant(word), wanted, "{word}");
        }
    }

    #[test]
    fn no_class_of_aws_is_taken_for_another() {
        for (at, name) in STORAGE_CLASSES.iter().enumerate() {
            for other in &STORAGE_CLASSES[at + 1..] {
                assert!(strsim::damerau_levenshtein(name, other) > SLIPS_MAX, "{name} {other}");
            }
        }
    }
}
