//! The actions `copy` and `move` of a rule.
//!
//! Nothing here asks the environment: rules mean the same on every machine. Keys of customers are
//! named by where they lie and read by whoever sends them. The one exception is the token of a
//! second factor, as for `delete`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::{
    AclSource, CopySettings, DeleteOptions, Encryption, History, IfExists, Key, KeyPart, KeyTemplate,
    LockSource, MetadataSource, Requirement, Restore, RestoreTier, RetentionMode, Route, SecretPlace,
    TagSource, Verify,
};

use super::reader::{Field, Reader, Section, did_you_mean};
use super::rule_section::Around;
use super::spec::{Addressing, BucketSpec, Endpoint, Transfer};
use super::template;
use super::yaml::Value;

const KNOWN: &[&str] = &[
    "bucket",
    "region",
    "endpoint",
    "addressing",
    "profile",
    "expected_owner",
    "request_payer",
    "allow_http",
    "ca_bundle",
    "prefix",
    "key",
    "history",
    "if_exists",
    "storage_class",
    "metadata",
    "tags",
    "acl",
    "encryption",
    "source_customer_key",
    "lock",
    "checksum",
    "verify",
    "route",
    "multipart_above",
    "part_size",
    "restore",
    "require",
    "bypass_governance_retention",
    "mfa",
];
/// What only an action that deletes can have.
const OF_DELETION: [&str; 2] = ["bypass_governance_retention", "mfa"];
/// The headers beside user metadata that a version keeps.
const CONTENT_HEADERS: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
];
const USER_METADATA: &str = "x-amz-meta-";
/// AWS takes user metadata of 2 KB: names and values together.
const USER_METADATA_BYTES_MAX: usize = 2 << 10;
/// AWS takes 10 tags for a version, names of 128 characters and values of 256.
const TAGS_MAX: usize = 10;
const TAG_NAME_CHARS_MAX: usize = 128;
const TAG_VALUE_CHARS_MAX: usize = 256;
const CANNED_ACLS: &[&str] = &[
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
];
const MIB: u64 = 1 << 20;
/// AWS copies up to 5 GiB in one request, and in one part.
const COPY_BYTES_MAX: u64 = 5 << 30;
/// AWS refuses smaller parts, but for the last.
const PART_BYTES_MIN: u64 = 5 * MIB;

impl Reader<'_> {
    /// Reads `copy: {...}` or, where `moves`, `move: {...}`.
    pub(super) fn transfer(
        &mut self,
        field: &Field<'_>,
        moves: bool,
        around: Around<'_>,
    ) -> Option<Transfer> {
        let is_empty = matches!(&field.node.value, Value::Map(entries) if entries.is_empty());
        if is_empty || field.node.is_null() {
            self.no_destination(field, &field.path);
            return None;
        }
        let problems_before = self.problems.len();
        let section = self.section(field, KNOWN)?;
        let to = self.destination(&section, around.own);
        let endpoint = to.as_ref().map(|to| &to.endpoint);
        let settings = self.copy_settings(&section, around.prefixes, endpoint);
        let removes_source = if moves { Some(self.removal(&section)) } else { None };
        if !moves {
            for key in OF_DELETION {
                if let Some(field) = section.get(key) {
                    self.problem(
                        field.node.at,
                        format!("{} is for move: a copy deletes nothing", field.path),
                    );
                }
            }
        }
        let (to, settings) = (to?, settings?);
        let removes_source = match removes_source {
            Some(read) => Some(read?),
            None => None,
        };
        (self.problems.len() == problems_before).then_some(Transfer { removes_source, to, settings })
    }

    /// Notes that a copy goes nowhere.
    pub(super) fn no_destination(&mut self, field: &Field<'_>, action: &str) {
        let problem = self.problem(field.node.at, format!("{action} needs a destination"));
        problem.expected =
            Some("a mapping with bucket, prefix, key or whatever else the copies change".into());
    }

    fn removal(&mut self, section: &Section<'_>) -> Option<DeleteOptions> {
        let bypass = section.get("bypass_governance_retention").map(|field| self.boolean(&field));
        let mfa = section.get("mfa").map(|field| self.mfa(&field));
        Some(DeleteOptions {
            bypass_governance_retention: bypass.unwrap_or(Some(false))?,
            mfa: match mfa {
                Some(read) => Some(read?),
                None => None,
            },
        })
    }

    /// The field, where it was given and is the same on every machine.
    fn settled<'n>(&mut self, section: &Section<'n>, key: &str, expected: &str) -> Option<Field<'n>> {
        let field = section.get(key)?;
        self.literal(&field, expected)?;
        Some(field)
    }

    fn settled_text(&mut self, section: &Section<'_>, key: &str, expected: &str) -> Option<String> {
        let field = self.settled(section, key, expected)?;
        self.text(&field, expected)
    }

    /// The destination; what is left out is the job's own. A region and an owner belong to a bucket,
    /// so another bucket does not take them over. `None` where the job's own bucket cannot be read.
    fn destination(&mut self, section: &Section<'_>, own: Option<&BucketSpec>) -> Option<BucketSpec> {
        let name = self.settled(section, "bucket", "a bucket name").and_then(|f| self.bucket_name(&f));
        let allow_http = section.get("allow_http").and_then(|field| self.boolean(&field));
        let allow_http = allow_http.unwrap_or_else(|| own.is_some_and(|own| own.allow_http));
        let endpoint = self.destination_endpoint(section, allow_http, own);
        let region = self.settled(section, "region", "a region").and_then(|field| self.region(&field));
        let addressing = section.get("addressing").and_then(|field| self.addressing(&field));
        let profile = self.settled_text(section, "profile", "the name of a profile");
        let owner = self.settled(section, "expected_owner", "an account id of 12 digits");
        let expected_owner = owner.and_then(|field| self.owner(&field));
        let request_payer = section.get("request_payer").and_then(|field| self.boolean(&field));
        let ca_bundle = self.settled_text(section, "ca_bundle", "the name of a file").map(PathBuf::from);
        let own = own?;
        let name = name.unwrap_or_else(|| own.name.clone());
        let endpoint = endpoint.unwrap_or_else(|| own.endpoint.clone());
        let same = (name == own.name && endpoint.is_same_server(&own.endpoint)).then_some(own);
        Some(BucketSpec {
            region: region.or_else(|| same?.region.clone()),
            addressing: addressing.unwrap_or(own.addressing),
            profile: profile.or_else(|| own.profile.clone()),
            expected_owner: expected_owner.or_else(|| same?.expected_owner.clone()),
            request_payer: request_payer.unwrap_or(own.request_payer),
            allow_http,
            ca_bundle: ca_bundle.or_else(|| own.ca_bundle.clone()),
            checksum: own.checksum,
            name,
            endpoint,
        })
    }

    /// Left out is the job's own, so AWS has a word here.
    fn destination_endpoint(
        &mut self,
        section: &Section<'_>,
        allow_http: bool,
        own: Option<&BucketSpec>,
    ) -> Option<Endpoint> {
        let field = self.settled(section, "endpoint", "aws, sandbox or a URL")?;
        if self.raw(&field, "aws, sandbox or a URL")? == "aws" {
            return Some(Endpoint::Aws);
        }
        let endpoint = self.endpoint(&field, allow_http)?;
        if endpoint == Endpoint::Sandbox && own.is_some_and(|own| own.endpoint != Endpoint::Sandbox) {
            let what = format!("{} is sandbox, but the job's bucket is elsewhere", field.path);
            self.problem(field.node.at, what).hint =
                Some("the embedded server ends with the run: say bucket.endpoint: sandbox too".into());
            return None;
        }
        Some(endpoint)
    }

    fn addressing(&mut self, field: &Field<'_>) -> Option<Addressing> {
        let words =
            [("auto", Addressing::Auto), ("path", Addressing::Path), ("virtual", Addressing::Virtual)];
        self.one_of(field, &words)
    }

    /// Reads every setting, so that every problem is noted; `None` where the key has one.
    fn copy_settings(
        &mut self,
        section: &Section<'_>,
        prefixes: &[Key],
        endpoint: Option<&Endpoint>,
    ) -> Option<CopySettings> {
        const HISTORIES: [(&str, History); 3] =
            [("selected", History::Selected), ("all", History::All), ("current", History::Current)];
        const IF_EXISTS: [(&str, IfExists); 3] =
            [("fail", IfExists::Fail), ("skip_same", IfExists::SkipSame), ("append", IfExists::Append)];
        const ROUTES: [(&str, Route); 3] =
            [("auto", Route::Auto), ("server", Route::Server), ("stream", Route::Stream)];
        const REQUIREMENTS: [(&str, Requirement); 6] = [
            ("acl", Requirement::Acl),
            ("tags", Requirement::Tags),
            ("lock", Requirement::Lock),
            ("metadata", Requirement::Metadata),
            ("etag", Requirement::Etag),
            ("redirect", Requirement::Redirect),
        ];
        let key = self.destination_key(section, prefixes);
        let verify = [("fingerprint", Verify::Fingerprint), ("bytes", Verify::Bytes)];
        let above = self.opt_size(section, "multipart_above", PART_BYTES_MIN..=COPY_BYTES_MAX);
        let settings = CopySettings {
            key: key.clone().unwrap_or_else(KeyTemplate::identity),
            history: self.word(section, "history", &HISTORIES).unwrap_or_default(),
            if_exists: self.word(section, "if_exists", &IF_EXISTS).unwrap_or_default(),
            storage_class: section.get("storage_class").and_then(|f| self.copies_class(&f, endpoint)),
            metadata: self.given(section, "metadata", Self::metadata),
            tags: self.given(section, "tags", Self::tags),
            acl: self.given(section, "acl", Self::acl),
            encryption: self.given(section, "encryption", Self::encryption),
            source_key: section.get("source_customer_key").and_then(|field| self.customer_key(&field)),
            lock: self.given(section, "lock", Self::lock),
            checksum: section.get("checksum").and_then(|field| self.checksum(&field)),
            verify: self.word(section, "verify", &verify).unwrap_or_default(),
            route: self.word(section, "route", &ROUTES).unwrap_or_default(),
            multipart_above_bytes: above.unwrap_or(COPY_BYTES_MAX),
            part_bytes: self.opt_size(section, "part_size", PART_BYTES_MIN..=COPY_BYTES_MAX),
            restore: section.get("restore").and_then(|field| self.restore(&field)),
            require: self.each(section, "require", |reader, item| reader.one_of(item, &REQUIREMENTS)),
        };
        key.map(|_| settings)
    }

    fn word<T: Copy>(&mut self, section: &Section<'_>, key: &str, words: &[(&str, T)]) -> Option<T> {
        section.get(key).and_then(|field| self.one_of(&field, words))
    }

    fn given<T: Default>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        read: impl FnOnce(&mut Self, &Field<'_>) -> Option<T>,
    ) -> T {
        section.get(key).and_then(|field| read(self, &field)).unwrap_or_default()
    }

    fn destination_key(&mut self, section: &Section<'_>, prefixes: &[Key]) -> Option<KeyTemplate> {
        let prefix = match section.get("prefix") {
            Some(field) => Some((self.copies_prefix(&field)?, field)),
            None => None,
        };
        let Some(field) = section.get("key") else {
            let literal = |(text, _): (&str, _)| KeyPart::Literal(text.as_bytes().to_vec());
            return Some(KeyTemplate(prefix.map(literal).into_iter().chain([KeyPart::Key]).collect()));
        };
        if prefix.is_some() {
            let what = format!("{} and prefix are both given", field.path);
            self.problem(field.node.at, what).hint =
                Some("prefix: p is short for key: p{key}: leave one of them out".into());
            return None;
        }
        let text = self.literal(&field, "a template such as old/{key}")?;
        let read =
            template::parse(text).and_then(|key| template::collision(&key, prefixes).map_or(Ok(key), Err));
        match read {
            Ok(key) => Some(template::plainest(key, prefixes)),
            Err(fault) => {
                let problem = self.problem(field.node.at, format!("{} {}", field.path, fault.what));
                (problem.expected, problem.hint) = (fault.expected, fault.hint);
                None
            }
        }
    }

    fn copies_prefix<'n>(&mut self, field: &Field<'n>) -> Option<&'n str> {
        let text = self.literal(field, "the bytes that the copies' keys begin with")?;
        if text.contains(['{', '}']) {
            let what = format!("{} stands for itself: braces mean nothing in it", field.path);
            self.problem(field.node.at, what).hint =
                Some("placeholders are for key; there {{ and }} are braces".into());
            return None;
        }
        Some(text)
    }

    /// `None` for `same`.
    fn copies_class(&mut self, field: &Field<'_>, endpoint: Option<&Endpoint>) -> Option<String> {
        const EXPECTED: &str = "same, or a storage class such as GLACIER_IR";
        let text = self.literal(field, EXPECTED)?;
        if text == "same" {
            return None;
        }
        let is_word = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        };
        if !is_word(text) {
            let upper = text.to_ascii_uppercase().replace('-', "_");
            let hint = is_word(&upper).then(|| format!("did you mean {upper:?}?"));
            self.unfit(field, EXPECTED).hint = hint;
            return None;
        }
        self.warn_of_class(field, text, endpoint);
        Some(text.to_owned())
    }

    /// The names and texts of a mapping; texts may be empty where they stand in quotes. Not at all
    /// where one of them is unfit.
    fn texts<'n>(&mut self, field: &Field<'n>, expected: &str) -> Option<Vec<(&'n str, &'n str, Field<'n>)>> {
        let Value::Map(entries) = &field.node.value else {
            self.unfit(field, expected);
            return None;
        };
        let mut found = Vec::new();
        for entry in entries {
            let inner = Field { path: format!("{}.{}", field.path, entry.key), node: &entry.value };
            let text = match &entry.value.value {
                Value::Scalar { text, plain: false } if text.is_empty() => Some(&**text),
                _ => self.literal(&inner, "text"),
            };
            found.push((&*entry.key, text?, inner));
        }
        Some(found)
    }

    fn metadata(&mut self, field: &Field<'_>) -> Option<MetadataSource> {
        const EXPECTED: &str = "copy, or a mapping of header names";
        if matches!(&field.node.value, Value::Scalar { text, .. } if text == "copy") {
            return Some(MetadataSource::Copy);
        }
        let mut headers = BTreeMap::new();
        let mut user_bytes = 0;
        for (name, value, inner) in self.texts(field, EXPECTED)? {
            let lower = name.to_ascii_lowercase();
            let user_name = lower.strip_prefix(USER_METADATA);
            let is_token = |name: &str| {
                !name.is_empty()
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
            };
            if !CONTENT_HEADERS.contains(&&*lower) && !user_name.is_some_and(is_token) {
                let hint = did_you_mean(&lower, CONTENT_HEADERS);
                let problem =
                    self.problem(inner.node.at, format!("{} is no header that a version keeps", inner.path));
                problem.expected =
                    Some(format!("one of {}, or {USER_METADATA}...", CONTENT_HEADERS.join(", ")));
                problem.hint = hint;
            } else if !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
                self.unfit(&inner, "printable ASCII, as headers carry nothing else");
            } else {
                user_bytes += user_name.map_or(0, |name| name.len() + value.len());
                if headers.insert(lower, value.to_owned()).is_some() {
                    self.problem(inner.node.at, format!("{} is given twice", inner.path)).hint =
                        Some("names of headers are the same in upper and lower case".into());
                }
            }
        }
        if user_bytes > USER_METADATA_BYTES_MAX {
            let what = format!("{} has {user_bytes} bytes of user metadata", field.path);
            self.problem(field.node.at, what).expected = Some(format!("at most {USER_METADATA_BYTES_MAX}"));
        }
        Some(MetadataSource::Replace(headers))
    }

    fn tags(&mut self, field: &Field<'_>) -> Option<TagSource> {
        match &field.node.value {
            Value::Scalar { text, .. } if text == "copy" => return Some(TagSource::Copy),
            Value::Scalar { text, .. } if text == "none" => return Some(TagSource::Replace(BTreeMap::new())),
            _ => {}
        }
        let mut tags = BTreeMap::new();
        for (name, value, inner) in self.texts(field, "copy, none, or a mapping of tags")? {
            let fits =
                |text: &str, max: usize| text.chars().count() <= max && !text.contains(char::is_control);
            if name.is_empty() || !fits(name, TAG_NAME_CHARS_MAX) || name.starts_with("aws:") {
                self.problem(inner.node.at, format!("{} is no name for a tag", inner.path)).expected =
                    Some(format!("1 to {TAG_NAME_CHARS_MAX} characters, not beginning with aws:"));
            } else if !fits(value, TAG_VALUE_CHARS_MAX) {
                self.unfit(&inner, format_args!("at most {TAG_VALUE_CHARS_MAX} characters"));
            }
            tags.insert(name.to_owned(), value.to_owned());
        }
        if tags.len() > TAGS_MAX {
            let what = format!("{} has {} tags", field.path, tags.len());
            self.problem(field.node.at, what).expected = Some(format!("at most {TAGS_MAX}"));
        }
        Some(TagSource::Replace(tags))
    }

    fn acl(&mut self, field: &Field<'_>) -> Option<AclSource> {
        let mut words = vec![("default", None), ("copy", None)];
        words.extend(CANNED_ACLS.iter().map(|word| (*word, Some(*word))));
        let canned = self.one_of(field, &words)?;
        Some(match canned {
            Some(word) => AclSource::Canned(word.to_owned()),
            None if self.raw(field, "a word")? == "copy" => AclSource::Copy,
            None => AclSource::Default,
        })
    }

    fn encryption(&mut self, field: &Field<'_>) -> Option<Encryption> {
        const EXPECTED: &str = "default, AES256, or a mapping with kms or customer_key";
        match &field.node.value {
            Value::Scalar { text, .. } if text == "default" => return Some(Encryption::Default),
            Value::Scalar { text, .. } if text == "AES256" => return Some(Encryption::S3),
            Value::Map(_) => {}
            _ => {
                self.unfit(field, EXPECTED);
                return None;
            }
        }
        let section = self.section(field, &["kms", "customer_key"])?;
        match (section.get("kms"), section.get("customer_key")) {
            (Some(kms), None) => self.kms(&kms),
            (None, Some(key)) => self.customer_key(&key).map(Encryption::Customer),
            (Some(_), Some(key)) => {
                self.problem(key.node.at, format!("{} and kms are both given", key.path));
                None
            }
            (None, None) => {
                if section.is_empty() {
                    self.unfit(field, EXPECTED);
                }
                None
            }
        }
    }

    fn kms(&mut self, field: &Field<'_>) -> Option<Encryption> {
        let section = self.section(field, &["key_id", "context", "bucket_key", "two_layers"])?;
        let key_id = self.settled_text(&section, "key_id", "a key id, an alias or an ARN");
        let mut context = BTreeMap::new();
        if let Some(field) = section.get("context") {
            let texts = self.texts(&field, "a mapping of names and texts")?;
            context.extend(texts.into_iter().map(|(name, value, _)| (name.to_owned(), value.to_owned())));
        }
        let bucket_key = section.get("bucket_key").and_then(|field| self.boolean(&field));
        let two_layers = section.get("two_layers").and_then(|field| self.boolean(&field)) == Some(true);
        if let (true, Some(true), Some(field)) = (two_layers, bucket_key, section.get("bucket_key")) {
            let what = format!("{}: encryption in two layers knows no bucket keys", field.path);
            self.problem(field.node.at, what).hint = Some("leave bucket_key or two_layers out".into());
        }
        Some(Encryption::Kms { two_layers, key_id, context, bucket_key })
    }

    fn customer_key(&mut self, field: &Field<'_>) -> Option<SecretPlace> {
        let section = self.section(field, &["env", "file"])?;
        match (section.get("env"), section.get("file")) {
            (Some(env), None) => self.variable(&env),
            (None, Some(_)) => {
                let name = self.settled_text(&section, "file", "the name of a file")?;
                Some(SecretPlace::File(PathBuf::from(name)))
            }
            (given, _) => {
                let what = if given.is_some() { "has both env and file" } else { "names no key" };
                self.problem(section.at, format!("{} {what}", field.path)).expected =
                    Some("{ env: NAME } or { file: NAME }".into());
                None
            }
        }
    }

    fn lock(&mut self, field: &Field<'_>) -> Option<LockSource> {
        match &field.node.value {
            Value::Scalar { text, .. } if text == "default" => return Some(LockSource::Default),
            Value::Scalar { text, .. } if text == "copy" => return Some(LockSource::Copy),
            Value::Map(_) => {}
            _ => {
                self.unfit(field, "default, copy, or a mapping with mode, for and legal_hold");
                return None;
            }
        }
        let section = self.section(field, &["mode", "for", "legal_hold"])?;
        let modes = [("governance", RetentionMode::Governance), ("compliance", RetentionMode::Compliance)];
        let mode = self.word(&section, "mode", &modes);
        let day = std::time::Duration::from_secs(86_400);
        let until = section.get("for").and_then(|field| self.duration(&field, day));
        let legal_hold = section.get("legal_hold").and_then(|field| self.boolean(&field)) == Some(true);
        match (section.get("mode"), section.get("for")) {
            (Some(_), None) => self.missing(&section, "for", "how long the copies are locked, at least 1d"),
            (None, Some(_)) => self.missing(&section, "mode", "governance or compliance"),
            (None, None) if !legal_hold => {
                self.problem(section.at, format!("{} locks nothing", field.path)).expected =
                    Some("mode and for, legal_hold: true, or both".into());
            }
            _ => {}
        }
        Some(LockSource::Set { retention: mode.zip(until), legal_hold })
    }

    fn restore(&mut self, field: &Field<'_>) -> Option<Restore> {
        let section = self.section(field, &["days", "tier"])?;
        let tiers = [
            ("expedited", RestoreTier::Expedited),
            ("standard", RestoreTier::Standard),
            ("bulk", RestoreTier::Bulk),
        ];
        let tier = self.word(&section, "tier", &tiers).unwrap_or(RestoreTier::Standard);
        let Some(field) = section.get("days") else {
            self.missing(&section, "days", "how many days the restored copies stay");
            return None;
        };
        let days = self.count(&field, 1..=u64::from(u32::MAX))?;
        Some(Restore { days: u32::try_from(days).ok()?, tier })
    }
}
