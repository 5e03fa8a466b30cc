//! What a procedural bucket is made of: a few numbers, from which its listing is computed.

use serde::Deserialize;

/// What the keys of a procedural bucket look like. Key by key they ascend in byte order, so that the
/// place of any text among them is found by halving.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderedShape {
    /// `logs/tenant=0042/year=2024/month=07/day=13/part-00001.parquet`: 16 parts a day, 28 days a
    /// month, three years a tenant, as many tenants as it takes.
    #[default]
    Hive,
    /// 24 hexadecimal digits, evenly spread, without any delimiter.
    Flat,
    /// Numbers of 12 digits, from zero.
    Sequence,
}

/// A bucket whose listing is computed from an index. It needs one bit of memory for each entry, and
/// no time to be filled. Versions can be listed, read and deleted; uploads and new delete markers are
/// refused with NotImplemented. The same numbers give the same keys, version ids and ages.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Procedural {
    /// The bucket. It has versioning enabled.
    pub bucket: String,
    /// Number of keys.
    pub keys: u64,
    /// Entries of a key in the mean, delete markers included. Keys have from 1 to twice as many less
    /// one, each number equally often.
    pub versions_per_key: u32,
    /// Share of entries that are delete markers, 0 to 1.
    pub marker_share: f64,
    /// What keys look like.
    pub shape: OrderedShape,
    /// All keys begin so.
    pub prefix: String,
    /// What all chance follows from.
    pub seed: u64,
    /// Age of the oldest entry, in days before the start.
    pub oldest_days: f64,
    /// Age of the newest entry, in days before the start.
    pub newest_days: f64,
    /// Size of a version in the mean; each has from half to one and a half times as much.
    pub size_bytes: u64,
}

impl Default for Procedural {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            keys: 0,
            versions_per_key: 1,
            marker_share: 0.0,
            shape: OrderedShape::default(),
            prefix: String::new(),
            seed: 0,
            oldest_days: 365.0,
            newest_days: 0.0,
            size_bytes: 64 * 1024,
        }
    }
}

/// The first digits of a flat key tell so many keys apart.
const KEYS_MAX: u64 = 1 << 32;
/// A page that begins in a key looks at all entries of that key.
const VERSIONS_PER_KEY_MAX: u32 = 10_000;
/// At one bit each half a gibibyte.
const ENTRIES_MAX: u64 = 1 << 32;
/// Leaves room for every shape in the 1,024 bytes of a key.
const PREFIX_BYTES_MAX: usize = 900;
/// The largest object of S3 today: 50 TiB.
const SIZE_BYTES_MAX: u64 = 50 << 40;
/// Longer than S3 exists, and far from the ends of what a timestamp can hold.
const DAYS_MAX: f64 = 20_000.0;

impl Procedural {
    /// Everything that is wrong with it, each with the field, what is expected, and what is there;
    /// empty where nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut expect = |holds: bool, problem: String| {
            if !holds {
                problems.push(problem);
            }
        };
        expect(
            super::op_bucket::is_bucket_name(&self.bucket),
            format!(
                "bucket: expected the name of a bucket (3 to 63 lower-case letters, digits, dots and dashes, the \
                 first and the last a letter or digit), got {:?}",
                self.bucket
            ),
        );
        expect(
            (1..=KEYS_MAX).contains(&self.keys),
            format!("keys: expected 1 to {KEYS_MAX}, got {}", self.keys),
        );
        expect(
            (1..=VERSIONS_PER_KEY_MAX).contains(&self.versions_per_key),
            format!("versions_per_key: expected 1 to {VERSIONS_PER_KEY_MAX}, got {}", self.versions_per_key),
        );
        let entries = self.keys.saturating_mul(u64::from(self.versions_per_key));
        expect(
            entries <= ENTRIES_MAX,
            format!("keys x versions_per_key: expected at most {ENTRIES_MAX}, got {entries}"),
        );
        expect(
            (0.0..=1.0).contains(&self.marker_share),
            format!("marker_share: expected 0 to 1, got {}", self.marker_share),
        );
        expect(
            self.prefix.len() <= PREFIX_BYTES_MAX,
            format!("prefix: expected at most {PREFIX_BYTES_MAX} bytes, got {}", self.prefix.len()),
        );
        expect(
            (0.0..=DAYS_MAX).contains(&self.newest_days),
            format!("newest_days: expected 0 to {DAYS_MAX}, got {}", self.newest_days),
        );
        expect(
            (self.newest_days..=DAYS_MAX).contains(&self.oldest_days),
            format!(
                "oldest_days: expected from newest_days ({}) to {DAYS_MAX}, got {}",
                self.newest_days, self.oldest_days
            ),
        );
        expect(
            self.size_bytes <= SIZE_BYTES_MAX,
            format!("size_bytes: expected at most {SIZE_BYTES_MAX}, got {}", self.size_bytes),
        );
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_at_once() {
        let bad = Procedural {
            bucket: "No".into(),
            keys: 1 << 40,
            versions_per_key: 0,
            marker_share: 1.5,
            prefix: "p".repeat(1000),
            oldest_days: 1.0,
            newest_days: f64::NAN,
            size_bytes: u64::MAX,
            ..Procedural::default()
        };
        let told = bad.problems();
        let fields: Vec<&str> = told.iter().map(|problem| problem.split(':').next().unwrap()).collect();
        assert_eq!(
            fields,
            [
                "bucket",
                "keys",
                "versions_per_key",
                "marker_share",
                "prefix",
                "newest_days",
                "oldest_days",
                "size_bytes"
            ]
        );
        assert!(told[0].contains("3 to 63 lower-case letters"), "{told:?}");
        let many =
            Procedural { bucket: "big".into(), keys: 1 << 30, versions_per_key: 5, ..Procedural::default() };
        assert_eq!(many.problems().len(), 1, "{:?}", many.problems());
        let good = Procedural { versions_per_key: 4, ..many };
        assert!(good.problems().is_empty());
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        let text = r#"{"bucket": "big", "keys": 5, "size": 7}"#;
        assert!(serde_json::from_str::<Procedural>(text).unwrap_err().to_string().contains("`size`"));
        let text = r#"{"bucket": "big", "keys": 5, "shape": "flat"}"#;
        assert_eq!(serde_json::from_str::<Procedural>(text).unwrap().shape, OrderedShape::Flat);
    }
}
