//! Choices that the user makes instead of the planner.

use super::literals::{LEAST_PRIME_BITS, MOST_DIGITS, RINGS, WORD_BITS};
use he_layers::{Grid, Packing};
use std::ops::RangeInclusive;
use std::str::FromStr;
use thiserror::Error;

/// Logarithms of scales that leave precision to the values and to the weights.
pub(crate) const LOG_SCALES: RangeInclusive<u32> = 20..=40;
/// Most channel blocks taken at a time; more than any network has are all of them.
pub(crate) const MOST_BLOCKS: u32 = 1 << 16;
/// Longest side of a grid; what fits is known when the ring is.
const LONGEST_SIDE: usize = 1 << 16;

/// Choices of the planner that the user has made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pins {
    /// Base-2 logarithm of the ring degree, 13 to 17.
    pub log_n: Option<u32>,
    /// Whether slots hold pixels of one image, or of two.
    pub packing: Option<Packing>,
    /// Rows and columns of cells, both powers of two.
    pub grid: Option<Grid>,
    /// Bits of the ciphertext primes, 36 to 50.
    pub prime_bits: Option<u32>,
    /// Digits of a key switch, 1 to 6.
    pub digits: Option<usize>,
    /// Base-2 logarithm of the nominal scale, 20 to 40.
    pub log_scale: Option<u32>,
    /// Channel blocks taken at a time, in every step, 1 to 65536; more than there are means all.
    pub blocks: Option<usize>,
    /// Whether values are refreshed.
    pub bootstrap: Bootstrap,
    /// Whether all groups of images have the same layout, a last one with few images too.
    pub equal_groups: bool,
}

/// Whether values may be refreshed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bootstrap {
    /// Never.
    Never,
    /// Where it pays, or where the network is too deep without.
    #[default]
    Allowed,
    /// Exactly so many tensors.
    Exactly(usize),
}

/// One pinned choice: `KEY=VALUE`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pin {
    /// `log_n=`
    LogN(u32),
    /// `packing=`
    Packing(Packing),
    /// `grid=`
    Grid(Grid),
    /// `prime_bits=`
    PrimeBits(u32),
    /// `digits=`
    Digits(usize),
    /// `log_scale=`
    LogScale(u32),
    /// `blocks=`
    Blocks(usize),
    /// `bootstrap=`
    Bootstrap(Bootstrap),
    /// `groups=`: whether they are equal.
    Groups(bool),
}

/// A pin that is not understood, and what would be.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("expected {expected}")]
pub struct PinError {
    expected: String,
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(s: &str) -> Result<Self, PinError> {
        let (key, value) = s.split_once('=').unwrap_or((s, ""));
        let number = |range: RangeInclusive<u32>| {
            let parsed = value.parse().ok().filter(|v| range.contains(v));
            parsed.ok_or_else(|| PinError {
                expected: format!("{key}={} to {key}={}", range.start(), range.end()),
            })
        };
        let one_of = |expected: &str| PinError {
            expected: expected.to_owned(),
        };
        match key {
            "log_n" => number(RINGS).map(Self::LogN),
            "packing" => match value {
                "real" => Ok(Self::Packing(Packing::Real)),
                "complex" => Ok(Self::Packing(Packing::Complex)),
                _ => Err(one_of("packing=real or packing=complex")),
            },
            "grid" => grid(value)
                .map(Self::Grid)
                .ok_or_else(|| one_of("grid=ROWSxCOLUMNS, both powers of two")),
            "prime_bits" => number(LEAST_PRIME_BITS..=WORD_BITS).map(Self::PrimeBits),
            "digits" => number(1..=MOST_DIGITS as u32).map(|d| Self::Digits(d as usize)),
            "log_scale" => number(LOG_SCALES).map(Self::LogScale),
            "blocks" => number(1..=MOST_BLOCKS).map(|g| Self::Blocks(g as usize)),
            "bootstrap" => match (value, value.parse()) {
                ("never", _) => Ok(Self::Bootstrap(Bootstrap::Never)),
                ("allowed", _) => Ok(Self::Bootstrap(Bootstrap::Allowed)),
                (_, Ok(count)) if count > 0 => Ok(Self::Bootstrap(Bootstrap::Exactly(count))),
                _ => Err(one_of(
                    "bootstrap=never, bootstrap=allowed or bootstrap=N, the number of tensors to refresh",
                )),
            },
            "groups" => match value {
                "equal" => Ok(Self::Groups(true)),
                "any" => Ok(Self::Groups(false)),
                _ => Err(one_of("groups=equal or groups=any")),
            },
            _ => Err(one_of(
                "KEY=VALUE with one of the keys log_n, packing, grid, prime_bits, digits, log_scale, blocks, bootstrap, groups",
            )),
        }
    }
}

fn grid(value: &str) -> Option<Grid> {
    let (rows, cols) = value.split_once('x')?;
    let side = |text: &str| -> Option<usize> {
        let side: usize = text.parse().ok()?;
        (side.is_power_of_two() && side <= LONGEST_SIDE).then_some(side)
    };
    Some(Grid::new(side(rows)?, side(cols)?))
}

impl Extend<Pin> for Pins {
    fn extend<T: IntoIterator<Item = Pin>>(&mut self, pins: T) {
        for pin in pins {
            match pin {
                Pin::LogN(v) => self.log_n = Some(v),
                Pin::Packing(v) => self.packing = Some(v),
                Pin::Grid(v) => self.grid = Some(v),
                Pin::PrimeBits(v) => self.prime_bits = Some(v),
                Pin::Digits(v) => self.digits = Some(v),
                Pin::LogScale(v) => self.log_scale = Some(v),
                Pin::Blocks(v) => self.blocks = Some(v),
                Pin::Bootstrap(v) => self.bootstrap = v,
                Pin::Groups(equal) => self.equal_groups = equal,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_parsed() {
        let mut pins = Pins::default();
        let given = ["log_n=16", "packing=real", "grid=8x16", "blocks=3"];
        pins.extend(given.map(|s| s.parse::<Pin>().unwrap()));
        let expected = Pins {
            log_n: Some(16),
            packing: Some(Packing::Real),
            grid: Some(Grid::new(8, 16)),
            blocks: Some(3),
            ..Pins::default()
        };
        assert_eq!(pins, expected);
    }

    #[test]
    fn pins_that_are_not_understood_say_what_would_be() {
        let says = |s: &str| s.parse::<Pin>().unwrap_err().to_string();
        assert_eq!(says("log_n=40"), "expected log_n=13 to log_n=17");
        assert_eq!(says("blocks=0"), "expected blocks=1 to blocks=65536");
        assert_eq!(says("packing"), "expected packing=real or packing=complex");
        for grid in ["0x0", "3x4", "8", "8x", "8x16x2", "-8x8", "131072x1"] {
            let error = says(&format!("grid={grid}"));
            assert_eq!(error, "expected grid=ROWSxCOLUMNS, both powers of two");
        }
        for pin in ["size=3", "", "=", "grid 8x8"] {
            assert!(says(pin).starts_with("expected KEY=VALUE with one of the keys log_n, "));
        }
    }
}
