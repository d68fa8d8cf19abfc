//! Memory for people: everything that is printed is in GB, 10^9 bytes, and everything in files in bytes. Only the flag
//! `--memory-gib` counts in 2^30 bytes, as its name says.

/// Bytes as GB.
#[must_use]
pub fn gb(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

/// Bytes as GB, rounded up to hundredths.
#[must_use]
pub fn gb_up(bytes: u64) -> f64 {
    up(gb(bytes))
}

/// The number for `--memory-gib` that allows so many bytes, rounded up to hundredths.
#[must_use]
pub fn flag_up(bytes: u64) -> f64 {
    up(bytes as f64 / f64::from(1 << 30))
}

/// Hundredths that are more by less than a hundredth: what is asked for is enough, whatever was rounded before.
fn up(x: f64) -> f64 {
    (x * 100.0 + 1e-6).ceil() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_for_the_flag_allows_what_is_asked_for() {
        for bytes in [1, 5 << 30, (5 << 30) + 1, 15_220_000_000, u64::MAX] {
            let flag: f64 = format!("{:.2}", flag_up(bytes)).parse().expect("a number");
            assert!((flag * f64::from(1 << 30)) as u64 >= bytes, "{bytes}");
            assert!(flag <= bytes as f64 / f64::from(1 << 30) + 0.02 || bytes == u64::MAX);
        }
        assert_eq!(format!("{:.2}", gb_up(5_650_000_001)), "5.66");
        assert_eq!(format!("{:.2}", gb(5_650_000_001)), "5.65");
    }
}
