//! Quantities as people write them: `30d`, `128KiB`, `60%`, `2024-01-31`.

use std::time::Duration;

use crate::model::Timestamp;

/// The longest duration that is taken: longer than S3 has existed, and far from any overflow.
const DURATION_DAYS_MAX: u64 = 36_500;
/// Digits behind a decimal point.
const FRACTION_DIGITS_MAX: usize = 6;

const DURATIONS: [(&str, u64); 5] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)];

const SIZES: [(&str, u128); 11] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
];

/// Whole seconds, minutes, hours, days or weeks.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text);
    let (_, unit_secs) = DURATIONS.iter().find(|(name, _)| *name == unit)?;
    let secs = integer(number)?.checked_mul(*unit_secs)?;
    (secs <= DURATION_DAYS_MAX * 86_400).then(|| Duration::from_secs(secs))
}

/// Bytes, decimal or binary; a fraction is cut off at whole bytes.
pub(super) fn size_bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(a, b)| (a, Some(b)));
    let mut bytes = u128::from(integer(whole)?).checked_mul(*factor)?;
    if let Some(digits) = fraction {
        let parts = u128::from(fraction_of_million(digits)?);
        bytes = bytes.checked_add(parts * factor / 1_000_000)?;
    }
    u64::try_from(bytes).ok()
}

/// A share from 0 to 1, written as per cent.
pub(super) fn share(text: &str) -> Option<f64> {
    let number = text.strip_suffix('%')?;
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(a, b)| (a, Some(b)));
    let whole = u32::try_from(integer(whole)?).ok()?;
    let parts = fraction.map_or(Some(0), fraction_of_million)?;
    let percent = f64::from(whole) + f64::from(parts) / 1e6;
    (percent <= 100.0).then_some(percent / 100.0)
}

/// A day (its first moment, UTC) or a point in time with its offset.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    let point = match text.parse::<jiff::Timestamp>() {
        Ok(point) => point,
        Err(_) if text.len() == "2024-01-31".len() => {
            let day: jiff::civil::Date = text.parse().ok()?;
            day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()
        }
        Err(_) => return None,
    };
    Some(Timestamp::from_millis(point.as_millisecond()))
}

/// Plain decimal digits: no sign, no separators, no exponent.
pub(super) fn integer(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { text.parse().ok() } else { None }
}

fn fraction_of_million(digits: &str) -> Option<u32> {
    if digits.len() > FRACTION_DIGITS_MAX {
        return None;
    }
    let value = u32::try_from(integer(digits)?).ok()?;
    Some(value * 10_u32.pow(u32::try_from(FRACTION_DIGITS_MAX - digits.len()).ok()?))
}

fn split(text: &str) -> (&str, &str) {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(unit_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_one_unit() {
        for (text, secs) in
            [("10s", 10), ("90m", 5_400), ("4h", 14_400), ("30d", 2_592_000), ("2w", 1_209_600)]
        {
            assert_eq!(duration(text), Some(Duration::from_secs(secs)), "{text}");
        }
        for bad in
            ["", "30", "d", "1.5h", "-1d", "30 d", "1y", "1h30m", "99999999999999999999d", "40000d", "+1d"]
        {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_decimal_or_binary() {
        for (text, bytes) in [
            ("0B", 0),
            ("5MB", 5_000_000),
            ("128KiB", 131_072),
            ("1.5GiB", 1_610_612_736),
            ("0.000001KB", 0),
            ("50TiB", 54_975_581_388_800),
        ] {
            assert_eq!(size_bytes(text), Some(bytes), "{text}");
        }
        for bad in
            ["", "5", "MB", "5mb", "5K", "1.2.3MB", "1.MB", ".5MB", "1e3B", "99999999PiB", "1.1234567KB"]
        {
            assert_eq!(size_bytes(bad), None, "{bad}");
        }
    }

    #[test]
    fn shares_are_per_cent() {
        for (text, value) in [("60%", 0.6), ("100%", 1.0), ("0%", 0.0), ("12.5%", 0.125)] {
            assert_eq!(share(text), Some(value), "{text}");
        }
        for bad in ["60", "0.6", "101%", "100.000001%", "-1%", "%", "1 %", "99999999999%"] {
            assert_eq!(share(bad), None, "{bad}");
        }
    }

    #[test]
    fn timestamps_are_days_or_points_with_their_offset() {
        for (text, shown) in [
            ("2024-01-31", "2024-01-31T00:00:00.000Z"),
            ("2024-01-31T12:30:00Z", "2024-01-31T12:30:00.000Z"),
            ("2024-01-31T12:30:00+02:00", "2024-01-31T10:30:00.000Z"),
        ] {
            assert_eq!(timestamp(text).map(|at| at.to_string()).as_deref(), Some(shown), "{text}");
        }
        for bad in ["", "2024-02-30", "2024-01-31T12:30:00", "31.01.2024", "20240131", "yesterday"] {
            assert_eq!(timestamp(bad), None, "{bad}");
        }
    }
}
