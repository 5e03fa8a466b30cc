//! GetObjectTagging.

use std::collections::BTreeMap;

use reqwest::Method;

use crate::model::{Key, VersionId};
use crate::s3::client::Client;
use crate::s3::codes::Scope;
use crate::s3::error::{Operation, S3Error};
use crate::s3::xml::{BadXml, Document, Elements as _, once, read_document};

impl Client {
    /// The tags of a version.
    ///
    /// # Errors
    /// Those of the attempt; [`S3Error::is_absent`] where the version is not there.
    pub async fn tags(&self, key: &Key, version_id: &VersionId) -> Result<BTreeMap<String, String>, S3Error> {
        let operation = Operation::GetObjectTagging;
        let version = (key, version_id);
        let call = self.version_call(operation, Scope::Read, Method::GET, version, "tagging=&");
        match self.attempt(&call).await {
            Ok(answer) => {
                answer.check_version(&call)?;
                parse(&answer.body).map_err(|why| answer.malformed(&call, &why))
            }
            // Some servers say so where AWS answers an empty set.
            Err(error) if &*error.code == "NoSuchTagSet" => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }
}

fn parse(body: &[u8]) -> Result<BTreeMap<String, String>, BadXml> {
    let mut tags = BTreeMap::new();
    read_document(body, "Tagging", |document| {
        while let Some(start) = document.child()? {
            if start.as_ref() != "TagSet" {
                document.skip()?;
                continue;
            }
            while let Some(start) = document.child()? {
                if start.as_ref() != "Tag" {
                    document.skip()?;
                    continue;
                }
                let (name, value) = parse_tag(document)?;
                if tags.insert(name, value).is_some() {
                    return Err("a tag twice".into());
                }
            }
        }
        Ok(())
    })?;
    Ok(tags)
}

fn parse_tag(document: &mut Document<'_>) -> Result<(String, String), BadXml> {
    let (mut name, mut value) = (None, None);
    while let Some(start) = document.child()? {
        match start.as_ref() {
            "Key" => once(&mut name, document)?,
            "Value" => once(&mut value, document)?,
            _ => document.skip()?,
        }
    }
    let name = name.ok_or(BadXml::from("a tag without a key"))?;
    Ok((name.into_owned(), value.unwrap_or_default().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_whole_or_not_at_all() {
        let whole = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Tagging xmlns=\"u\"><TagSet>\
            <Tag><Key>a&amp;b</Key><Value> x </Value></Tag><Tag><Key>c</Key><Value/></Tag></TagSet></Tagging>";
        let tags = parse(whole.as_bytes()).expect("tags");
        let pairs: Vec<(&str, &str)> =
            tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("a&b", " x "), ("c", "")]);
        for cut in 0..whole.len() {
            assert!(parse(&whole.as_bytes()[..cut]).is_err(), "{cut}");
        }
        assert_eq!(parse(b"<Tagging><TagSet/></Tagging>"), Ok(BTreeMap::new()));
        let twice = "<Tagging><TagSet><Tag><Key>a</Key></Tag><Tag><Key>a</Key></Tag></TagSet></Tagging>";
        assert!(parse(twice.as_bytes()).is_err());
        assert!(parse(b"<TagSet/>").is_err());
    }
}
