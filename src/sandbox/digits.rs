//! Numbers, times and digests as text, written straight into a document: a page of a listing holds
//! thousands of them.

use crate::model::Timestamp;

/// Adds a number with zeros in front, to so many digits; further digits are left out.
pub(super) fn push_padded(out: &mut Vec<u8>, mut number: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Adds a number.
pub(super) fn push_number(out: &mut Vec<u8>, number: u64) {
    let width = number.checked_ilog10().map_or(1, |log| log as usize + 1);
    push_padded(out, number, width);
}

/// Adds a number in hexadecimal with zeros in front, to so many digits; further digits are left out.
pub(super) fn push_hex(out: &mut Vec<u8>, mut number: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

/// Adds a time as listings tell it: RFC 3339 in UTC, cut to the second, `.000Z` at the end.
pub(super) fn push_time(out: &mut Vec<u8>, at: Timestamp) {
    let second = at.floor_to_second();
    let civil = jiff::Timestamp::from_millisecond(second.as_millis())
        .map(|at| jiff::tz::Offset::UTC.to_datetime(at))
        .ok()
        .filter(|civil| civil.year() >= 0);
    let Some(civil) = civil else {
        out.extend_from_slice(second.to_string().as_bytes());
        return;
    };
    let parts = [
        (i64::from(civil.year()), 4, b'-'),
        (i64::from(civil.month()), 2, b'-'),
        (i64::from(civil.day()), 2, b'T'),
        (i64::from(civil.hour()), 2, b':'),
        (i64::from(civil.minute()), 2, b':'),
        (i64::from(civil.second()), 2, b'.'),
    ];
    for (number, width, behind) in parts {
        push_padded(out, number.unsigned_abs(), width);
        out.push(behind);
    }
    out.extend_from_slice(b"000Z");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b">".to_vec();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_as_the_standard_library_writes_them() {
        for number in [0, 9, 10, 99, 100, 12_345, u64::MAX] {
            assert_eq!(text(|out| push_number(out, number)), format!(">{number}"));
            assert_eq!(text(|out| push_padded(out, number, 20)), format!(">{number:020}"));
            assert_eq!(text(|out| push_hex(out, number, 16)), format!(">{number:016x}"));
        }
    }

    #[test]
    fn times_are_as_the_model_writes_them() {
        for millis in [0, 951_782_400_123, 1_795_212_267_999, -1, -62_200_000_000_000, 300_000_000_000_000] {
            let at = Timestamp::from_millis(millis);
            assert_eq!(text(|out| push_time(out, at)), format!(">{}", at.floor_to_second()));
        }
    }
}
