//! Figures as people read them.

use std::time::Duration;

/// Bytes in binary units: `1.5 GiB`.
pub fn bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// A count with separators: `1,234,567`.
pub fn count(n: u64) -> String {
    indicatif::HumanCount(n).to_string()
}

/// A duration in words: `3 minutes`.
pub fn duration(duration: Duration) -> String {
    indicatif::HumanDuration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!(bytes(1_610_612_736), "1.50 GiB");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(duration(Duration::from_secs(180)), "3 minutes");
    }
}
