//! The order of keys in a listing: that of their bytes, as S3 documents, or that of their UTF-16 code
//! units, as on servers written in languages whose strings are made of these.
//!
//! The two differ only for characters from U+E000 on: those above U+FFFF come before those below in
//! UTF-16, behind them in bytes.

use std::cmp::Ordering;

use crate::model::{Key, Version};

use super::OrderFault;

/// How keys follow one another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KeyOrder {
    /// By their bytes.
    #[default]
    Bytes,
    /// By their UTF-16 code units.
    Utf16,
}

impl KeyOrder {
    /// Compares two keys.
    pub fn compare(self, a: &Key, b: &Key) -> Ordering {
        match self {
            Self::Bytes => a.cmp(b),
            Self::Utf16 => a.as_bytes().iter().map(rank).cmp(b.as_bytes().iter().map(rank)),
        }
    }
}

/// The first bytes of U+E000 to U+FFFF are EE and EF, those of all above F0 to F4.
fn rank(byte: &u8) -> u8 {
    if matches!(byte, 0xee | 0xef) { byte + 8 } else { *byte }
}

/// Whether every key compares with this one alike in both orders. Only then does a listing whose order
/// is not known end with the first key behind it.
pub fn ends_alike(key: &Key) -> bool {
    key.as_bytes().iter().all(|byte| *byte < 0xee)
}

/// Whether every key that is behind this one in bytes is behind it in UTF-16 too. Only then may a listing
/// whose order is not known begin behind it.
pub fn begins_alike(key: &Key) -> bool {
    key.as_bytes().iter().all(|byte| !matches!(byte, 0xee | 0xef))
}

/// The orders that the pages of a server have not contradicted yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyOrders {
    bytes: bool,
    utf16: bool,
}

impl KeyOrders {
    /// Only the order of bytes will do.
    pub const BYTES: Self = Self { bytes: true, utf16: false };
    /// Either will do, as long as it is one of them.
    pub const EITHER: Self = Self { bytes: true, utf16: true };

    /// The order to go by.
    pub const fn in_force(self) -> KeyOrder {
        if self.bytes { KeyOrder::Bytes } else { KeyOrder::Utf16 }
    }

    /// What is left after a page, in document order, that was asked for from the key `from`. A page may
    /// hold all entries of one kind and then all of the other.
    ///
    /// # Errors
    /// Its keys go back in every order that was left.
    pub fn after_page(self, from: Option<&Key>, page: &[Version]) -> Result<Self, OrderFault> {
        let in_bytes = if self.bytes { falls(KeyOrder::Bytes, from, page) } else { None };
        let in_utf16 = if self.utf16 { falls(KeyOrder::Utf16, from, page) } else { None };
        let left = Self { bytes: self.bytes && in_bytes.is_none(), utf16: self.utf16 && in_utf16.is_none() };
        match in_bytes.or(in_utf16) {
            Some((after, key)) if !left.bytes && !left.utf16 => {
                Err(OrderFault::KeyWentBack { key: key.clone(), after: after.clone() })
            }
            _ => Ok(left),
        }
    }

    /// What two groups of pages have left.
    ///
    /// # Errors
    /// Nothing is left; `key` names the place in the message.
    pub fn join(&mut self, other: Self, key: &Key) -> Result<(), OrderFault> {
        let both = Self { bytes: self.bytes && other.bytes, utf16: self.utf16 && other.utf16 };
        if !both.bytes && !both.utf16 {
            return Err(OrderFault::PageOrderChanged { key: key.clone() });
        }
        *self = both;
        Ok(())
    }
}

/// The first pair of keys, one behind the other within a kind, that goes back.
fn falls<'a>(order: KeyOrder, from: Option<&'a Key>, page: &'a [Version]) -> Option<(&'a Key, &'a Key)> {
    let is_back = |a: &Key, b: &Key| order.compare(b, a) == Ordering::Less;
    let changes: Vec<usize> =
        (1..page.len()).filter(|at| page[at - 1].kind != page[*at].kind).take(2).collect();
    let (front, behind) = match changes[..] {
        [change] => page.split_at(change),
        _ => (page, &page[..0]),
    };
    [front, behind].into_iter().find_map(|group| {
        let keys = group.iter().map(|entry| &entry.key);
        let mut pairs = from.into_iter().chain(keys.clone()).zip(keys.skip(usize::from(from.is_none())));
        pairs.find(|(a, b)| is_back(a, b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, Timestamp, VersionId};

    fn page(keys: &[&str]) -> Vec<Version> {
        let entry = |key: &&str| Version {
            key: Key::from(*key),
            id: VersionId::new("v").unwrap(),
            kind: if key.ends_with('!') { Kind::DeleteMarker } else { Kind::Version },
            is_latest: false,
            last_modified: Timestamp::from_millis(0),
            size: 0,
            etag: None,
            storage_class: None,
        };
        keys.iter().map(entry).collect()
    }

    #[test]
    fn utf16_order_is_that_of_code_units() {
        let keys =
            ["", "a", "z", "é", "\u{d7ff}", "\u{e000}", "\u{ff5e}", "\u{10000}", "\u{1f600}b", "a\u{ffff}"];
        for a in keys {
            for b in keys {
                let wanted = a.encode_utf16().cmp(b.encode_utf16());
                assert_eq!(KeyOrder::Utf16.compare(&a.into(), &b.into()), wanted, "{a:?} {b:?}");
                if ends_alike(&a.into()) {
                    assert_eq!(a.as_bytes().cmp(b.as_bytes()), wanted, "{a:?} {b:?}");
                }
                if begins_alike(&a.into()) && b.as_bytes() > a.as_bytes() {
                    assert_eq!(wanted, Ordering::Less, "{a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn an_order_that_a_page_contradicts_is_out() {
        let (bytes, utf16) = (page(&["a", "\u{ff5e}", "\u{1f600}"]), page(&["a", "\u{1f600}", "\u{ff5e}"]));
        assert_eq!(KeyOrders::EITHER.after_page(None, &bytes), Ok(KeyOrders::BYTES));
        let left = KeyOrders::EITHER.after_page(None, &utf16).unwrap();
        assert_eq!(left.in_force(), KeyOrder::Utf16);
        assert!(left.after_page(None, &bytes).is_err());
        assert!(KeyOrders::BYTES.after_page(None, &utf16).is_err());
        assert!(KeyOrders::EITHER.after_page(None, &page(&["b", "a"])).is_err());
        assert_eq!(KeyOrders::EITHER.after_page(None, &page(&["a", "b"])), Ok(KeyOrders::EITHER));
        assert!(KeyOrders::EITHER.clone().join(left, &Key::default()).is_ok());
        assert!(KeyOrders::BYTES.clone().join(left, &Key::default()).is_err());
    }

    #[test]
    fn a_page_goes_back_behind_its_marker_too() {
        let from = Key::from("b");
        assert!(KeyOrders::BYTES.after_page(Some(&from), &page(&["a", "c"])).is_err());
        assert!(KeyOrders::BYTES.after_page(Some(&from), &page(&["b", "c"])).is_ok());
        let from = Key::from("\u{1f600}");
        let left = KeyOrders::EITHER.after_page(Some(&from), &page(&["\u{ff5e}"])).unwrap();
        assert_eq!(left.in_force(), KeyOrder::Utf16);
    }

    #[test]
    fn kinds_that_are_listed_apart_ascend_apart() {
        assert!(KeyOrders::BYTES.after_page(None, &page(&["a", "c", "b!", "d!"])).is_ok());
        assert!(KeyOrders::BYTES.after_page(None, &page(&["a", "c", "b!", "d"])).is_err());
    }
}
