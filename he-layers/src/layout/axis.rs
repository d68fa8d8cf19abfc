//! One axis of a layout.

/// One axis of a layout: a map of `map` pixels on a grid axis.
///
/// Pixel `y = i * phases + a` is in the ciphertext of phase `a`, at cell `i * gaps`. The cells after it, its *sub-positions*
/// `0..gaps`, belong to other channels. So the pixels that two maps have at the same place of the picture meet at the same
/// cell if `gaps / phases` grows with the stride: see [`Self::strided`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub map: usize,
    pub phases: usize,
    pub gaps: usize,
}

impl Axis {
    /// As few phases as hold the map, as many gaps as fit. `map` and `cells` are at least 1.
    pub(super) fn new(map: usize, cells: usize) -> Self {
        Self {
            map,
            phases: map.div_ceil(cells),
            gaps: (cells / map).max(1),
        }
    }

    /// The axis of a map of `map` pixels that reads this one with stride `stride`, such that every output pixel has the cell
    /// of the input pixel where its window starts. If `cells` do not hold that, as [`Self::new`].
    pub(super) fn strided(&self, map: usize, stride: usize, cells: usize) -> Self {
        let common = gcd(self.gaps * stride, self.phases);
        let aligned = Self {
            map,
            phases: self.phases / common,
            gaps: self.gaps * stride / common,
        };
        if aligned.fits(cells) {
            aligned
        } else {
            Self::new(map, cells)
        }
    }

    /// Whether `cells` cells hold the pixels with their gaps.
    pub(super) fn fits(&self, cells: usize) -> bool {
        let length = self.map.div_ceil(self.phases).checked_mul(self.gaps);
        length.is_some_and(|length| length <= cells)
    }

    /// Ciphertexts along the axis: phases that hold a pixel.
    pub(crate) fn ciphertexts(&self) -> usize {
        self.phases.min(self.map)
    }

    /// Phase and cell of pixel `y` at sub-position `sub`.
    pub(crate) fn place(&self, y: usize, sub: usize) -> (usize, usize) {
        (y % self.phases, (y / self.phases) * self.gaps + sub)
    }

    /// The pixel at cell `cell` of phase `phase`; `None` beyond the map.
    pub(crate) fn pixel(&self, phase: usize, cell: usize) -> Option<usize> {
        let y = cell / self.gaps * self.phases + phase;
        (y < self.map).then_some(y)
    }
}

/// The greatest common divisor.
pub(crate) fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
