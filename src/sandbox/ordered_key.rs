//! Keys that ascend with their index, and the way back from any text to an index.

use super::chance::mix;
use super::digits::{push_hex, push_padded};
use super::procedural::{OrderedShape, Procedural};
use super::version_id::scramble;

const PARTS_A_DAY: u64 = 16;
const DAYS_A_MONTH: u64 = 28;
const MONTHS_A_YEAR: u64 = 12;
const YEARS_A_TENANT: u64 = 3;
const FIRST_YEAR: u64 = 2022;
const KEYS_A_TENANT: u64 = PARTS_A_DAY * DAYS_A_MONTH * MONTHS_A_YEAR * YEARS_A_TENANT;

/// The keys of a procedural bucket.
#[derive(Debug)]
pub(super) struct KeySpace {
    shape: OrderedShape,
    prefix: Vec<u8>,
    keys: u64,
    salt: u64,
    /// The same for all tenants, so that their numbers ascend as text too.
    tenant_digits: usize,
}

impl KeySpace {
    pub(super) fn of(spec: &Procedural) -> Self {
        let tenants = spec.keys.div_ceil(KEYS_A_TENANT);
        let tenant_digits = tenants.max(1).ilog10() as usize + 1;
        Self {
            shape: spec.shape,
            prefix: spec.prefix.as_bytes().to_vec(),
            keys: spec.keys,
            salt: mix(&[spec.seed, 1]),
            tenant_digits: tenant_digits.max(4),
        }
    }

    /// Number of keys.
    pub(super) fn count(&self) -> u64 {
        self.keys
    }

    /// The key with this index.
    pub(super) fn key(&self, index: u64) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.prefix.len() + 72);
        self.write(index, &mut key);
        key
    }

    /// Adds the key with this index.
    pub(super) fn write(&self, index: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        match self.shape {
            OrderedShape::Hive => self.write_hive(index, out),
            OrderedShape::Flat => {
                // The first digits ascend in even steps of at least one; the others are anything.
                let first = (u128::from(index) << 32) / u128::from(self.keys.max(1));
                push_hex(out, first as u64, 8);
                push_hex(out, scramble(index ^ self.salt), 16);
            }
            OrderedShape::Sequence => push_padded(out, index, 12),
        }
    }

    fn write_hive(&self, index: u64, out: &mut Vec<u8>) {
        let (day_index, part) = (index / PARTS_A_DAY, index % PARTS_A_DAY);
        let (month_index, day) = (day_index / DAYS_A_MONTH, day_index % DAYS_A_MONTH);
        let (year_index, month) = (month_index / MONTHS_A_YEAR, month_index % MONTHS_A_YEAR);
        let (tenant, year) = (year_index / YEARS_A_TENANT, year_index % YEARS_A_TENANT);
        out.extend_from_slice(b"logs/tenant=");
        push_padded(out, tenant, self.tenant_digits);
        out.extend_from_slice(b"/year=");
        push_padded(out, FIRST_YEAR + year, 4);
        out.extend_from_slice(b"/month=");
        push_padded(out, month + 1, 2);
        out.extend_from_slice(b"/day=");
        push_padded(out, day + 1, 2);
        out.extend_from_slice(b"/part-");
        push_padded(out, part, 5);
        out.extend_from_slice(b".parquet");
    }

    /// The number of keys before this text; with `and_equal` a key that equals it counts too.
    pub(super) fn before(&self, text: &[u8], and_equal: bool) -> u64 {
        let (mut low, mut high) = (0, self.keys);
        let mut key = Vec::with_capacity(self.prefix.len() + 72);
        while low < high {
            let middle = low + (high - low) / 2;
            key.clear();
            self.write(middle, &mut key);
            let comes_before = if and_equal { key.as_slice() <= text } else { key.as_slice() < text };
            if comes_before { low = middle + 1 } else { high = middle }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(shape: OrderedShape, keys: u64) -> KeySpace {
        KeySpace::of(&Procedural { shape, keys, prefix: "p/".into(), seed: 5, ..Procedural::default() })
    }

    fn text(space: &KeySpace, index: u64) -> String {
        String::from_utf8(space.key(index)).unwrap()
    }

    #[test]
    fn keys_ascend_and_each_is_found_again() {
        for shape in [OrderedShape::Hive, OrderedShape::Flat, OrderedShape::Sequence] {
            for keys in [1, 2, 50_000, 1 << 32] {
                let space = space(shape, keys);
                let step = (keys / 3000).max(1);
                let mut last = Vec::new();
                for index in (0..keys).step_by(usize::try_from(step).unwrap()).chain([keys - 1]) {
                    let key = space.key(index);
                    assert!(key > last || index == keys - 1 && key == last, "{shape:?} {index}");
                    assert_eq!((space.before(&key, false), space.before(&key, true)), (index, index + 1));
                    last = key;
                }
                if let Some(first) = keys.checked_sub(2) {
                    assert!(space.key(first) < space.key(first + 1), "{shape:?} {keys}");
                }
            }
        }
    }

    #[test]
    fn keys_look_as_they_should() {
        let hive = space(OrderedShape::Hive, 1_000_000);
        assert_eq!(text(&hive, 0), "p/logs/tenant=0000/year=2022/month=01/day=01/part-00000.parquet");
        assert_eq!(
            text(&hive, KEYS_A_TENANT * 42 + PARTS_A_DAY * (28 * 12 + 28 + 1) + 3),
            "p/logs/tenant=0042/year=2023/month=02/day=02/part-00003.parquet"
        );
        assert_eq!(text(&space(OrderedShape::Sequence, 1000), 77), "p/000000000077");
        assert!(text(&space(OrderedShape::Flat, 16), 5).starts_with("p/50000000"));
        assert_eq!(text(&space(OrderedShape::Flat, 16), 5).len(), 2 + 24);
    }
}
