//! The parts of a job file that are not rules.

use std::path::PathBuf;
use std::time::Duration;

use crate::http::is_loopback;
use crate::model::{ChecksumKind, Key};
use crate::rules::{Place, within};

use super::reader::{Field, Reader, Section};
use super::spec::{
    Addressing, Audit, BucketSpec, Budget, Endpoint, KeyShape, Limits, ListingMode, Report, Retry,
    SandboxFaults, SandboxSpec, Scope, StopOnFailures,
};
use super::yaml::At;

const CONCURRENCY_MAX: u64 = 1_024;
const CONCURRENCY_DEFAULT: u16 = 32;
const LIST_CONCURRENCY_DEFAULT: u16 = 8;
/// AWS answers at most 1,000 entries a page, whatever is asked for.
const PAGE_SIZE_MAX: u64 = 1_000;
/// Parts of the usual size for tens of copies at once.
const STREAM_MEMORY_BYTES_DEFAULT: u64 = 256 << 20;
/// Room for the smallest parts that S3 takes, with one more on its way.
const STREAM_MEMORY_BYTES_MIN: u64 = 16 << 20;
const GIVE_UP_AFTER_DEFAULT: Duration = Duration::from_secs(6 * 3_600);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
/// Entries that the embedded server holds in the memory of a workstation.
const SANDBOX_ENTRIES_MAX: u64 = 100_000_000;

impl Reader<'_> {
    pub(super) fn flag(&mut self, section: &Section<'_>, key: &str, default: bool) -> bool {
        section.get(key).and_then(|field| self.boolean(&field)).unwrap_or(default)
    }

    pub(super) fn opt_count(&mut self, section: &Section<'_>, key: &str, max: u64) -> Option<u64> {
        section.get(key).and_then(|field| self.count(&field, 1..=max))
    }

    pub(super) fn opt_size(
        &mut self,
        section: &Section<'_>,
        key: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let field = section.get(key)?;
        let bytes = self.size(&field)?;
        if !range.contains(&bytes) {
            let (low, high) = (shown_size(*range.start()), shown_size(*range.end()));
            let expected = match *range.end() {
                u64::MAX => format!("a size of {low} or more"),
                _ => format!("a size of {low} to {high}"),
            };
            self.unfit(&field, expected);
            return None;
        }
        Some(bytes)
    }

    pub(super) fn opt_text(&mut self, section: &Section<'_>, key: &str, expected: &str) -> Option<String> {
        section.get(key).and_then(|field| self.text(&field, expected))
    }

    pub(super) fn opt_path(&mut self, section: &Section<'_>, key: &str) -> Option<PathBuf> {
        self.opt_text(section, key, "the name of a file").map(PathBuf::from)
    }

    /// A name that is safe as a label, a directory and a word of a report.
    pub(super) fn name(&mut self, field: &Field<'_>) -> Option<String> {
        const EXPECTED: &str = "1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit";
        let text = self.text(field, EXPECTED)?;
        let fits = super::is_name(&text);
        if !fits {
            self.unfit(field, EXPECTED);
        }
        fits.then_some(text)
    }

    pub(super) fn bucket(&mut self, field: &Field<'_>) -> Option<BucketSpec> {
        const KNOWN: &[&str] = &[
            "name",
            "region",
            "endpoint",
            "addressing",
            "profile",
            "expected_owner",
            "request_payer",
            "allow_http",
            "ca_bundle",
            "checksum",
        ];
        let section = self.section(field, KNOWN)?;
        let name = match section.get("name") {
            Some(field) => self.bucket_name(&field),
            None => {
                self.missing(&section, "name", "the bucket's name");
                None
            }
        };
        let allow_http = self.flag(&section, "allow_http", false);
        let endpoint = match section.get("endpoint") {
            Some(field) => self.endpoint(&field, allow_http),
            None => Some(Endpoint::Aws),
        };
        let addressing = section.get("addressing").and_then(|field| {
            let words =
                [("auto", Addressing::Auto), ("path", Addressing::Path), ("virtual", Addressing::Virtual)];
            self.one_of(&field, &words)
        });
        let spec = BucketSpec {
            name: name.unwrap_or_default(),
            region: section.get("region").and_then(|field| self.region(&field)),
            endpoint: endpoint.unwrap_or(Endpoint::Aws),
            addressing: addressing.unwrap_or_default(),
            profile: self.opt_text(&section, "profile", "the name of a profile"),
            expected_owner: section.get("expected_owner").and_then(|field| self.owner(&field)),
            request_payer: self.flag(&section, "request_payer", false),
            allow_http,
            ca_bundle: self.opt_path(&section, "ca_bundle"),
            checksum: section.get("checksum").and_then(|field| self.checksum(&field)),
        };
        Some(spec)
    }

    /// Names of buckets, of access points (also as ARN) and of tenants' buckets differ from server
    /// to server: refused is only what no server has.
    pub(super) fn bucket_name(&mut self, field: &Field<'_>) -> Option<String> {
        const EXPECTED: &str =
            "a bucket name of 3 to 63 characters, an access point ARN or an access point alias";
        let text = self.text(field, EXPECTED)?;
        let fits = (3..=255).contains(&text.len())
            && !text.contains("//")
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte));
        if !fits {
            let hint = text.starts_with("s3://").then(|| "leave s3:// out".to_owned());
            self.unfit(field, EXPECTED).hint = hint;
        }
        fits.then_some(text)
    }

    pub(super) fn region(&mut self, field: &Field<'_>) -> Option<String> {
        const EXPECTED: &str = "a region such as eu-central-1";
        let text = self.text(field, EXPECTED)?;
        let fits = text.len() <= 64
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !fits {
            self.unfit(field, EXPECTED);
        }
        fits.then_some(text)
    }

    pub(super) fn owner(&mut self, field: &Field<'_>) -> Option<String> {
        const EXPECTED: &str = "an account id of 12 digits";
        let text = self.text(field, EXPECTED)?;
        let fits = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        if !fits {
            self.unfit(field, EXPECTED);
        }
        fits.then_some(text)
    }

    /// A checksum algorithm, spelt alike wherever a job names one.
    pub(super) fn checksum(&mut self, field: &Field<'_>) -> Option<ChecksumKind> {
        let words = [
            ("crc32", ChecksumKind::Crc32),
            ("crc32c", ChecksumKind::Crc32c),
            ("crc64nvme", ChecksumKind::Crc64Nvme),
            ("sha1", ChecksumKind::Sha1),
            ("sha256", ChecksumKind::Sha256),
        ];
        self.one_of(field, &words)
    }

    pub(super) fn endpoint(&mut self, field: &Field<'_>, allow_http: bool) -> Option<Endpoint> {
        const EXPECTED: &str = "sandbox, or a URL such as https://s3.example.com";
        let text = self.text(field, EXPECTED)?;
        if text == "sandbox" {
            return Some(Endpoint::Sandbox);
        }
        let Some(url) = Url::parse(&text) else {
            let hint = text.eq_ignore_ascii_case("aws").then(|| "leave endpoint out for AWS".to_owned());
            self.unfit(field, EXPECTED).hint = hint;
            return None;
        };
        if url.has_user {
            let what = format!("{}: credentials do not belong in a URL", field.path);
            self.problem(field.node.at, what).hint =
                Some("leave them to the AWS credential chain; bucket.profile names a profile".into());
            return None;
        }
        if !url.is_tls && !url.is_loopback && !allow_http {
            let what =
                format!("{} is not encrypted: keys and signatures could be read and changed", field.path);
            let place = field.path.trim_end_matches(".endpoint");
            self.problem(field.node.at, what).hint =
                Some(format!("use https://, or say {place}.allow_http: true"));
            return None;
        }
        Some(Endpoint::Url(text.trim_end_matches('/').to_owned()))
    }

    pub(super) fn scope(&mut self, field: &Field<'_>) -> Option<Scope> {
        const KNOWN: &[&str] = &["prefixes", "from_key", "to_key", "page_size", "limit", "listing"];
        let section = self.section(field, KNOWN)?;
        let mut prefixes = Vec::new();
        if let Some(list) = section.get("prefixes") {
            for item in self.items(&list, "prefixes, or leave the key out for the whole bucket") {
                if let Some(text) = self.text(&item, "a prefix; leave prefixes out for the whole bucket") {
                    prefixes.push((Key::from(text), item.node.at));
                }
            }
        }
        let from_key = self.opt_text(&section, "from_key", "a key").map(Key::from);
        let to_key = self.opt_text(&section, "to_key", "a key").map(Key::from);
        if let (Some(from), Some(to)) = (&from_key, &to_key)
            && from >= to
        {
            let at = section.get("to_key").map_or(section.at, |field| field.node.at);
            self.problem(at, "scope.to_key does not come after scope.from_key: no key lies between");
        }
        let prefixes = self.disjoint(prefixes, from_key.as_ref(), to_key.as_ref());
        let page_size = self.opt_count(&section, "page_size", PAGE_SIZE_MAX).unwrap_or(PAGE_SIZE_MAX);
        let limit = self.opt_count(&section, "limit", u64::MAX);
        let modes = [("auto", ListingMode::Auto), ("sequential", ListingMode::Sequential)];
        let listing =
            section.get("listing").and_then(|field| self.one_of(&field, &modes)).unwrap_or_default();
        Some(Scope { prefixes, from_key, to_key, page_size: narrow(page_size), limit, listing })
    }

    /// Sorts the prefixes and drops those that another one covers, which would list keys twice.
    fn disjoint(&mut self, mut all: Vec<(Key, At)>, from: Option<&Key>, to: Option<&Key>) -> Vec<Key> {
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let mut kept: Vec<Key> = Vec::new();
        for (prefix, at) in all {
            if let Some(covering) = kept.last().filter(|last| prefix.starts_with(last.as_bytes())) {
                let what = format!("scope.prefixes: {prefix:?} lies within {covering:?} and adds nothing");
                self.warning(at, what, None);
                continue;
            }
            let is_before = from.is_some_and(|from| *from > prefix && !from.starts_with(prefix.as_bytes()));
            if is_before || within(&prefix, &Key::default(), None, to) == Place::Beyond {
                let what = format!("scope.prefixes: no key with {prefix:?} lies between from_key and to_key");
                self.warning(at, what, None);
            }
            kept.push(prefix);
        }
        if kept.is_empty() { Scope::default().prefixes } else { kept }
    }

    pub(super) fn limits(&mut self, field: &Field<'_>) -> Option<Limits> {
        const KNOWN: &[&str] = &[
            "versions_per_second",
            "requests_per_second",
            "concurrency",
            "list_concurrency",
            "adaptive",
            "share",
            "bytes_per_second",
            "stream_memory",
        ];
        let section = self.section(field, KNOWN)?;
        let adaptive = self.flag(&section, "adaptive", true);
        let share = section.get("share").and_then(|field| self.share(&field, false));
        if let (false, Some(field)) = (adaptive, section.get("share")) {
            self.problem(field.node.at, "limits.share has no meaning with limits.adaptive: false").hint =
                Some(
                    "a share is taken of the limit that the adaptive pace finds: leave one of them out"
                        .into(),
                );
        }
        let bytes = |least: u64| least..=u64::MAX;
        let bytes_per_second = self.opt_size(&section, "bytes_per_second", bytes(1));
        let stream_memory = self.opt_size(&section, "stream_memory", bytes(STREAM_MEMORY_BYTES_MIN));
        let rate_max = u64::from(u32::MAX);
        let rate = |count: Option<u64>| count.and_then(|count| u32::try_from(count).ok());
        Some(Limits {
            versions_per_second: rate(self.opt_count(&section, "versions_per_second", rate_max)),
            requests_per_second: rate(self.opt_count(&section, "requests_per_second", rate_max)),
            concurrency: self
                .opt_count(&section, "concurrency", CONCURRENCY_MAX)
                .map_or(CONCURRENCY_DEFAULT, narrow),
            list_concurrency: self
                .opt_count(&section, "list_concurrency", CONCURRENCY_MAX)
                .map_or(LIST_CONCURRENCY_DEFAULT, narrow),
            adaptive,
            share: share.unwrap_or(1.0),
            bytes_per_second,
            stream_memory_bytes: stream_memory.unwrap_or(STREAM_MEMORY_BYTES_DEFAULT),
        })
    }

    pub(super) fn budget(&mut self, field: &Field<'_>) -> Option<Budget> {
        const KNOWN: &[&str] = &["max_versions", "max_bytes", "max_share", "deadline", "stop_on_failures"];
        let section = self.section(field, KNOWN)?;
        Some(Budget {
            max_versions: self.opt_count(&section, "max_versions", u64::MAX),
            max_bytes: section.get("max_bytes").and_then(|field| self.size(&field)),
            max_share: section.get("max_share").and_then(|field| self.share(&field, false)),
            deadline: section.get("deadline").and_then(|field| self.duration(&field, SECOND)),
            stop_on_failures: section.get("stop_on_failures").and_then(|field| self.stop_on_failures(&field)),
        })
    }

    fn stop_on_failures(&mut self, field: &Field<'_>) -> Option<StopOnFailures> {
        let section = self.section(field, &["after", "share"])?;
        let after = section.get("after").map(|field| self.count(&field, 0..=u64::MAX));
        let share = section.get("share").map(|field| self.share(&field, false));
        if after.is_none() {
            self.missing(&section, "after", "a number of settled versions");
        }
        if share.is_none() {
            self.missing(&section, "share", "a percentage of failures");
        }
        Some(StopOnFailures { after: after??, share: share?? })
    }

    pub(super) fn retry(&mut self, field: &Field<'_>) -> Option<Retry> {
        let section = self.section(field, &["give_up_after"])?;
        let given = section.get("give_up_after").and_then(|field| self.duration(&field, SECOND));
        Some(Retry { give_up_after: given.unwrap_or(GIVE_UP_AFTER_DEFAULT) })
    }

    pub(super) fn report(&mut self, field: &Field<'_>) -> Option<Report> {
        let section = self.section(field, &["audit"])?;
        let words = [
            ("full", Audit::Full),
            ("changes", Audit::Changes),
            ("failures", Audit::Failures),
            ("none", Audit::None),
        ];
        let audit = section.get("audit").and_then(|field| self.one_of(&field, &words));
        Some(Report { audit: audit.unwrap_or_default() })
    }

    pub(super) fn sandbox(&mut self, field: &Field<'_>) -> Option<SandboxSpec> {
        const KNOWN: &[&str] = &[
            "keys",
            "versions_per_key",
            "marker_share",
            "key_shape",
            "prefixes",
            "oldest",
            "newest",
            "size",
            "seed",
            "faults",
        ];
        let section = self.section(field, KNOWN)?;
        let shapes = [
            ("hive", KeyShape::Hive),
            ("flat", KeyShape::Flat),
            ("unicode", KeyShape::Unicode),
            ("odd", KeyShape::Odd),
        ];
        let unset = SandboxSpec::default();
        let keys = self.opt_count(&section, "keys", SANDBOX_ENTRIES_MAX).unwrap_or(unset.keys);
        let each = self.opt_count(&section, "versions_per_key", u64::from(u32::MAX));
        let versions_per_key =
            each.and_then(|each| u32::try_from(each).ok()).unwrap_or(unset.versions_per_key);
        if keys.saturating_mul(u64::from(versions_per_key)) > SANDBOX_ENTRIES_MAX {
            let what = format!("sandbox: {keys} keys of {versions_per_key} versions do not fit in memory");
            self.problem(section.at, what).expected = Some(format!("at most {SANDBOX_ENTRIES_MAX} in all"));
        }
        let mut prefixes = Vec::new();
        if let Some(list) = section.get("prefixes") {
            let items = self.items(&list, "prefixes, or leave the key out");
            prefixes.extend(items.iter().filter_map(|item| self.text(item, "a prefix")));
        }
        let spec = SandboxSpec {
            keys,
            versions_per_key,
            marker_share: self.opt_share(&section, "marker_share", unset.marker_share),
            key_shape: section
                .get("key_shape")
                .and_then(|field| self.one_of(&field, &shapes))
                .unwrap_or_default(),
            prefixes,
            oldest: self.opt_duration(&section, "oldest", unset.oldest),
            newest: self.opt_duration(&section, "newest", unset.newest),
            size_bytes: section.get("size").and_then(|field| self.size(&field)).unwrap_or(unset.size_bytes),
            seed: section
                .get("seed")
                .and_then(|field| self.count(&field, 0..=u64::MAX))
                .unwrap_or(unset.seed),
            faults: section.get("faults").and_then(|field| self.faults(&field)).unwrap_or_default(),
        };
        if spec.newest >= spec.oldest {
            let at =
                section.get("newest").or_else(|| section.get("oldest")).map_or(section.at, |f| f.node.at);
            self.problem(at, "sandbox.newest is not less than sandbox.oldest");
        }
        Some(spec)
    }

    fn opt_share(&mut self, section: &Section<'_>, key: &str, default: f64) -> f64 {
        section.get(key).and_then(|field| self.share(&field, true)).unwrap_or(default)
    }

    fn opt_duration(&mut self, section: &Section<'_>, key: &str, default: Duration) -> Duration {
        section.get(key).and_then(|field| self.duration(&field, Duration::ZERO)).unwrap_or(default)
    }

    fn faults(&mut self, field: &Field<'_>) -> Option<SandboxFaults> {
        let section = self.section(field, &["key_error_share", "reset_share", "truncated_share"])?;
        Some(SandboxFaults {
            key_error_share: self.opt_share(&section, "key_error_share", 0.0),
            reset_share: self.opt_share(&section, "reset_share", 0.0),
            truncated_share: self.opt_share(&section, "truncated_share", 0.0),
        })
    }
}

/// A bound of a size in its largest whole unit.
fn shown_size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = units.iter().find(|(_, shift)| bytes >> shift > 0 && bytes.trailing_zeros() >= *shift);
    whole.map_or_else(|| format!("{bytes}B"), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}

/// A count that was read with a bound that fits.
fn narrow(count: u64) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// As much of a URL as tells whether it may be used. Who sends requests parses it in full.
pub(super) struct Url {
    pub(super) is_tls: bool,
    pub(super) is_loopback: bool,
    pub(super) has_user: bool,
}

impl Url {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = rest.split('/').next().unwrap_or_default();
        if text.contains(['?', '#', '\\']) || text.contains(char::is_whitespace) {
            return None;
        }
        let (user, host_port) = authority.rsplit_once('@').map_or((None, authority), |(u, h)| (Some(u), h));
        let (host, port) = match host_port.strip_prefix('[') {
            Some(inside) => inside.split_once(']').map(|(host, port)| (host, port.strip_prefix(':')))?,
            None => host_port.split_once(':').map_or((host_port, None), |(host, port)| (host, Some(port))),
        };
        let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        let is_loopback = is_loopback(host);
        (!host.is_empty() && port_fits).then_some(Self { is_tls, is_loopback, has_user: user.is_some() })
    }
}

impl Default for Scope {
    /// The whole bucket.
    fn default() -> Self {
        let prefixes = vec![Key::default()];
        Self {
            prefixes,
            from_key: None,
            to_key: None,
            page_size: narrow(PAGE_SIZE_MAX),
            limit: None,
            listing: ListingMode::Auto,
        }
    }
}

impl Default for Limits {
    /// No ceiling but the number of requests in flight and what the server grants.
    fn default() -> Self {
        Self {
            versions_per_second: None,
            requests_per_second: None,
            concurrency: CONCURRENCY_DEFAULT,
            list_concurrency: LIST_CONCURRENCY_DEFAULT,
            adaptive: true,
            share: 1.0,
            bytes_per_second: None,
            stream_memory_bytes: STREAM_MEMORY_BYTES_DEFAULT,
        }
    }
}

impl Default for Retry {
    /// Six hours: longer than most outages.
    fn default() -> Self {
        Self { give_up_after: GIVE_UP_AFTER_DEFAULT }
    }
}

impl Default for SandboxSpec {
    /// A bucket that is seeded in a moment.
    fn default() -> Self {
        Self {
            keys: 10_000,
            versions_per_key: 4,
            marker_share: 0.1,
            key_shape: KeyShape::Hive,
            prefixes: Vec::new(),
            oldest: 90 * DAY,
            newest: DAY,
            size_bytes: 64 << 10,
            seed: 1,
            faults: SandboxFaults::default(),
        }
    }
}
