//! Tags of versions: read from headers and documents, and checked as AWS checks them.

use std::collections::BTreeSet;

use super::refusal::Refusal;
use super::request::parse_query;
use super::xml_in::Element;
use super::xml_out::Xml;

/// The most tags of one version.
const TAGS_MAX: usize = 10;
const KEY_CHARACTERS_MAX: usize = 128;
const VALUE_CHARACTERS_MAX: usize = 256;

/// Tags in their order.
pub(super) type Tags = Vec<(String, String)>;

/// Reads `x-amz-tagging`, whose form is that of a query.
pub(super) fn of_header(text: &str) -> Result<Tags, Refusal> {
    let tags = parse_query(text).map_err(|_| {
        Refusal::argument(
            "x-amz-tagging",
            text,
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters \
             without tag name duplicates.",
        )
    })?;
    check(tags)
}

/// Reads a `Tagging` document.
pub(super) fn of_document(root: &Element<'_>) -> Result<Tags, Refusal> {
    let malformed = || Refusal::of("MalformedXML");
    let set = root.children.iter().find(|child| child.name == "TagSet").filter(|_| root.name == "Tagging");
    let tags = set.ok_or_else(malformed)?.children.iter().map(|tag| {
        let key = tag.child_text("Key").filter(|_| tag.name == "Tag");
        Some((key?.to_owned(), tag.child_text("Value")?.to_owned()))
    });
    check(tags.collect::<Option<Tags>>().ok_or_else(malformed)?)
}

fn check(tags: Tags) -> Result<Tags, Refusal> {
    let invalid = |message: &'static str| Err(Refusal::of("InvalidTag").saying(message));
    if tags.len() > TAGS_MAX {
        return Err(Refusal::of("BadRequest").saying("Object tags cannot be greater than 10"));
    }
    let mut seen = BTreeSet::new();
    for (key, value) in &tags {
        if key.is_empty() || key.chars().count() > KEY_CHARACTERS_MAX || key.starts_with("aws:") {
            return invalid("The TagKey you have provided is invalid");
        }
        if value.chars().count() > VALUE_CHARACTERS_MAX {
            return invalid("The TagValue you have provided is invalid");
        }
        if !seen.insert(key) {
            return invalid("Cannot provide multiple Tags with the same key");
        }
    }
    Ok(tags)
}

/// The document that GetObjectTagging answers with.
pub(super) fn document(tags: &[(String, String)]) -> Vec<u8> {
    let mut xml = Xml::root("Tagging");
    xml.open("TagSet");
    for (key, value) in tags {
        xml.open("Tag");
        xml.leaf("Key", key);
        xml.leaf("Value", value);
        xml.close();
    }
    xml.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_aws_takes_for_no_tags_is_refused() {
        assert_eq!(
            of_header("a=1&b+c=%2B&empty=").unwrap(),
            [("a".into(), "1".into()), ("b c".into(), "+".into()), ("empty".into(), String::new())]
        );
        let eleven: Vec<String> = (0..11).map(|n| format!("k{n}=v")).collect();
        for (text, code) in [
            (eleven.join("&"), "BadRequest"),
            ("a=1&a=2".into(), "InvalidTag"),
            ("aws:x=1".into(), "InvalidTag"),
            (format!("{}=1", "k".repeat(129)), "InvalidTag"),
            (format!("k={}", "v".repeat(257)), "InvalidTag"),
            ("a=%zz".into(), "InvalidArgument"),
        ] {
            assert_eq!(of_header(&text).unwrap_err().code, code, "{text}");
        }
    }
}
