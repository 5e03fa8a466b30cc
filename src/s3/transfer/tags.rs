//! GetObjectTagging and PutObjectTagging.

use std::collections::BTreeMap;

use bytes::Bytes;
use quick_xml::escape::escape;
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
                // Ceph RGW's word for an empty set.
                if answer.body.is_empty() && answer.header("content-length") == Some("0") {
                    return Ok(BTreeMap::new());
                }
                parse(&answer.body).map_err(|why| answer.malformed(&call, &why))
            }
            // Some servers say so where AWS answers an empty set.
            Err(error) if &*error.code == "NoSuchTagSet" => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    /// Gives a version these tags instead of those it has. Doing it twice does no harm.
    ///
    /// # Errors
    /// Those of the attempt; [`S3Error::is_absent`] where the version is not there.
    pub async fn put_tags(
        &self,
        key: &Key,
        version_id: &VersionId,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), S3Error> {
        let operation = Operation::PutObjectTagging;
        let mut call =
            self.version_call(operation, Scope::Write, Method::PUT, (key, version_id), "tagging=&");
        call.headers.push(("content-type", "application/xml".to_owned()));
        call.carry(Bytes::from(body_of(tags)), None).await;
        let answer = self.attempt(&call).await?;
        answer.check_version(&call)
    }
}

fn body_of(tags: &BTreeMap<String, String>) -> String {
    let mut body = String::from("<Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><TagSet>");
    for (name, value) in tags {
        body += &format!("<Tag><Key>{}</Key><Value>{}</Value></Tag>", escape(name), escape(value));
    }
    body + "</TagSet></Tagging>"
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
    fn what_is_written_is_read_again() {
        let tags = [("a&b<", " x\"'"), ("ä", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let tags = BTreeMap::from(tags);
        assert_eq!(parse(body_of(&tags).as_bytes()), Ok(tags));
    }

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
