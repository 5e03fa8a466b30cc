//! The lock across hosts.
//!
//! It is no part of the fingerprint: it decides who works, not on what.

use std::time::Duration;

use crate::model::Key;
use crate::rules::LOCKS_PREFIX;

use super::BucketSpec;
use super::reader::{Field, Reader};
use super::spec::LockSpec;

const TTL_DEFAULT: Duration = Duration::from_secs(120);
/// Long enough for an answer that comes late to be waited for, and another try.
const TTL_MIN: Duration = Duration::from_secs(10);
/// A holder that died keeps the job from running for so long.
const TTL_MAX: Duration = Duration::from_secs(3600);
/// S3's own bound.
const KEY_BYTES_MAX: usize = 1024;

impl Reader<'_> {
    pub(super) fn host_lock(&mut self, field: &Field<'_>, job: &str, own: &BucketSpec) -> Option<LockSpec> {
        let section = self.section(field, &["object", "bucket", "ttl"])?;
        let key = match section.get("object") {
            Some(field) => self.lock_key(&field)?,
            None => Key::from(format!("{LOCKS_PREFIX}{job}.json")),
        };
        let mut bucket = own.clone();
        if let Some(field) = section.get("bucket") {
            let name = self.bucket_name(&field)?;
            if name != bucket.name {
                // Another bucket has a region and an owner of its own.
                (bucket.region, bucket.expected_owner) = (None, None);
                bucket.name = name;
            }
        }
        let ttl = match section.get("ttl") {
            Some(field) => {
                let ttl = self.duration(&field, Duration::ZERO)?;
                if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
                    self.unfit(&field, "a duration of 10s to 1h");
                    return None;
                }
                ttl
            }
            None => TTL_DEFAULT,
        };
        Some(LockSpec { bucket, key, ttl })
    }

    /// A key that no URL library changes on the way.
    fn lock_key(&mut self, field: &Field<'_>) -> Option<Key> {
        const EXPECTED: &str = "a key such as s3sweep/locks/nightly.json: letters, digits and -._/";
        let text = self.text(field, EXPECTED)?;
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte));
        let parts_fit = text.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !(plain && parts_fit && text.len() <= KEY_BYTES_MAX) {
            self.unfit(field, EXPECTED);
            return None;
        }
        Some(Key::from(text))
    }
}

#[cfg(test)]
mod tests {
    use crate::job::{Job, Problems, load};
    use crate::model::Key;

    fn job(lock: &str) -> Result<Job, Problems> {
        let text = format!(
            "version: 1\nname: nightly\nbucket: {{ name: logs, region: eu-west-1, expected_owner: '123456789012' }}\n\
             rules: [{{ name: r, match: {{ state: noncurrent }}, action: delete }}]\n{lock}\n"
        );
        load(&text, "job.yaml", &|_| None)
    }

    #[test]
    fn what_is_left_out_follows_from_the_job() {
        let plain = job("").unwrap();
        assert_eq!(plain.lock, None);
        let locked = job("lock: {}").unwrap();
        assert_eq!(locked.fingerprint, plain.fingerprint, "a lock decides who works, not on what");
        let lock = locked.lock.unwrap();
        assert_eq!((lock.key.as_str(), lock.ttl.as_secs()), (Some("s3sweep/locks/nightly.json"), 120));
        assert_eq!(lock.bucket, plain.bucket);
        assert_eq!(lock.key_in(&plain.bucket), Some(&Key::from("s3sweep/locks/nightly.json".to_owned())));
    }

    #[test]
    fn another_bucket_has_a_region_and_an_owner_of_its_own() {
        let job = job("lock: { bucket: locks, object: a/b.json, ttl: 30s }").unwrap();
        let lock = job.lock.as_ref().unwrap();
        assert_eq!((lock.bucket.name.as_str(), &lock.bucket.region), ("locks", &None));
        assert_eq!((&lock.bucket.expected_owner, lock.ttl.as_secs()), (&None, 30));
        assert_eq!(lock.key_in(&job.bucket), None, "no key of the job's own bucket is the lock's");
    }

    #[test]
    fn what_cannot_be_a_lock_is_told_where_it_stands() {
        for (lock, words) in [
            ("lock: { ttl: 5s }", "lock.ttl"),
            ("lock: { ttl: 2h }", "lock.ttl"),
            ("lock: { object: 'a//b' }", "lock.object"),
            ("lock: { object: a/../b }", "lock.object"),
            ("lock: { object: 'a b' }", "lock.object"),
            ("lock: { bucket: 's3://x' }", "lock.bucket"),
            ("lock: { objekt: a }", "object"),
            ("lock: yes", "lock"),
        ] {
            let told = job(lock).unwrap_err().to_string();
            assert!(told.contains("job.yaml:5:") && told.contains(words), "{lock}: {told}");
        }
    }
}
