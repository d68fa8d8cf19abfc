//! The number types of arrays.

use half::{bf16, f16};

/// How a number is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// 0 or 1.
    Bool,
    Unsigned,
    Signed,
    /// IEEE 754.
    Float,
    /// `bfloat16`.
    Brain,
}

/// A number type: kind, bytes of a number (1, 2, 4 or 8) and their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) kind: Kind,
    pub(super) bytes: usize,
    pub(super) big_endian: bool,
}

impl Number {
    /// NumPy's description: `<f4`, `|u1`, `>i8`.
    pub(super) fn from_npy(description: &str) -> Option<Self> {
        let mut characters = description.chars();
        let big_endian = match characters.next()? {
            '<' | '|' => false,
            '>' => true,
            _ => return None,
        };
        let kind = match characters.next()? {
            'b' => Kind::Bool,
            'u' => Kind::Unsigned,
            'i' => Kind::Signed,
            'f' => Kind::Float,
            _ => return None,
        };
        let bytes = characters.as_str().parse().ok()?;
        let allowed = match kind {
            Kind::Bool => bytes == 1,
            Kind::Unsigned | Kind::Signed => matches!(bytes, 1 | 2 | 4 | 8),
            Kind::Float | Kind::Brain => matches!(bytes, 2 | 4 | 8),
        };
        allowed.then_some(Self {
            kind,
            bytes,
            big_endian,
        })
    }

    /// The number that is written down in [`Self::bytes`] bytes. Integers beyond 2^53 are rounded.
    pub(super) fn value(self, raw: &[u8]) -> f64 {
        let mut bytes = [0; 8];
        let used = &mut bytes[..self.bytes];
        used.copy_from_slice(raw);
        if self.big_endian {
            used.reverse();
        }
        let bits = u64::from_le_bytes(bytes);
        match (self.kind, self.bytes) {
            (Kind::Bool, _) => f64::from(bits != 0),
            (Kind::Unsigned, _) => bits as f64,
            (Kind::Signed, bytes) => {
                let unused = 64 - 8 * bytes;
                ((bits << unused) as i64 >> unused) as f64
            }
            (Kind::Float, 2) => f16::from_bits(bits as u16).to_f64(),
            (Kind::Float, 4) => f32::from_bits(bits as u32).into(),
            (Kind::Float, _) => f64::from_bits(bits),
            (Kind::Brain, _) => bf16::from_bits(bits as u16).to_f64(),
        }
    }
}
