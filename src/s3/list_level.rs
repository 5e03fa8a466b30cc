//! ListObjectVersions with a delimiter: the names directly below a prefix, each rolled up into one row
//! whatever lies beneath it.
//!
//! What it tells serves to divide the work and nothing else, so an answer is read less strictly than a
//! page: names that cannot be read, or do not begin with the prefix, are left out.

use reqwest::Method;

use crate::model::Key;

use super::client::Client;
use super::codes::Scope;
use super::encoding::{Plus, decode, query_value};
use super::error::{Operation, S3Error};
use super::send::Call;
use super::xml::{BadXml, Document, Elements as _, once};

/// Names below a prefix.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LevelNames {
    /// The common prefixes, in the order of their bytes; each ends in the delimiter.
    pub prefixes: Vec<Key>,
    /// Whether these are all.
    pub is_whole: bool,
}

impl Client {
    /// Fetches the first 1,000 rows of the level below `prefix`, with the delimiter `/`.
    ///
    /// # Errors
    /// Those of the attempt. A body that is cut, or is no page, is transient.
    pub async fn list_level(&self, prefix: &[u8]) -> Result<LevelNames, S3Error> {
        let mut query = String::from("delimiter=%2F&encoding-type=url&max-keys=1000");
        if !prefix.is_empty() {
            query.push_str("&prefix=");
            query.push_str(&query_value(prefix));
        }
        query.push_str("&versions=");
        let mut call = Call::ask(self.context(Operation::ListObjectVersions), Method::GET, &query);
        call.scope = Scope::Listing;
        call.headers = self.common_headers();
        let answer = self.attempt(&call).await?;
        let plus = self.plus.get().copied().unwrap_or(Plus::Space);
        parse(&answer.body, prefix, plus).map_err(|why| answer.malformed(&call, &why))
    }
}

fn parse(body: &[u8], prefix: &[u8], plus: Plus) -> Result<LevelNames, BadXml> {
    let mut document = Document::open(body)?;
    if document.root() != "ListVersionsResult" {
        return Err("the root element is not ListVersionsResult".into());
    }
    let (mut truncated, mut encoding, mut names) = (None, None, Vec::new());
    while let Some(start) = document.child()? {
        match start.as_ref() {
            "CommonPrefixes" => {
                let mut name = None;
                while let Some(start) = document.child()? {
                    match start.as_ref() {
                        "Prefix" => once(&mut name, &mut document)?,
                        _ => document.skip()?,
                    }
                }
                names.extend(name);
            }
            "IsTruncated" => once(&mut truncated, &mut document)?,
            "EncodingType" => once(&mut encoding, &mut document)?,
            _ => document.skip()?,
        }
    }
    document.end()?;
    let is_encoded = encoding.as_deref() == Some("url");
    let bytes =
        names.iter().map(|name| if is_encoded { decode(name, plus) } else { name.as_bytes().to_vec() });
    let mut prefixes: Vec<Key> =
        bytes.filter(|name| name.len() > prefix.len() && name.starts_with(prefix)).map(Key::new).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    Ok(LevelNames { prefixes, is_whole: truncated.as_deref() == Some("false") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(inside: &str) -> String {
        format!("<ListVersionsResult><EncodingType>url</EncodingType>{inside}</ListVersionsResult>")
    }

    #[test]
    fn names_are_decoded_and_what_does_not_begin_with_the_prefix_is_left_out() {
        let text = body(
            "<IsTruncated>false</IsTruncated><Version><Key>a/x</Key></Version>\
             <CommonPrefixes><Prefix>a/%C3%A9/</Prefix></CommonPrefixes>\
             <CommonPrefixes><Prefix>a/b+c/</Prefix></CommonPrefixes>\
             <CommonPrefixes><Prefix>other/</Prefix></CommonPrefixes>",
        );
        let names = parse(text.as_bytes(), b"a/", Plus::Space).unwrap();
        assert_eq!(names.prefixes, [Key::from("a/b c/"), Key::from("a/é/")]);
        assert!(names.is_whole);
    }

    #[test]
    fn a_level_that_goes_on_is_not_whole_and_one_that_is_cut_is_none() {
        let text = body("<IsTruncated>true</IsTruncated>");
        assert!(!parse(text.as_bytes(), b"", Plus::Space).unwrap().is_whole);
        assert!(!parse(body("").as_bytes(), b"", Plus::Space).unwrap().is_whole);
        for end in 0..text.len() {
            assert!(parse(&text.as_bytes()[..end], b"", Plus::Space).is_err(), "cut at {end}");
        }
    }
}
