//! Where a number of a batch of feature maps lives: ciphertext and slot.

use std::fmt;

use num_complex::Complex64;
use serde::{Deserialize, Serialize};

use crate::error::LayerError;
use crate::tensor::{Chw, PlainTensor};

/// Whether a slot holds one image's number or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Packing {
    /// One image in the real parts; imaginary parts are zero.
    Real,
    /// One image in the real parts, another in the imaginary parts.
    Complex,
}

impl Packing {
    /// A real number for every image of a slot: `1`, or `1 + i`.
    pub fn unit(self) -> Complex64 {
        match self {
            Packing::Real => Complex64::new(1.0, 0.0),
            Packing::Complex => Complex64::new(1.0, 1.0),
        }
    }

    /// Modulus of a slot all of whose images hold `value`.
    pub(crate) fn modulus(self, value: f64) -> f64 {
        value * self.unit().norm()
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Packing::Real => "real",
            Packing::Complex => "complex",
        })
    }
}

/// The cells that one image occupies in a ciphertext: `rows * cols`, powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grid {
    /// Rows of cells.
    pub rows: usize,
    /// Columns of cells.
    pub cols: usize,
}

impl Grid {
    /// A grid of `rows` times `cols` cells.
    pub const fn new(rows: usize, cols: usize) -> Self {
        Self { rows, cols }
    }

    /// Cells: the period of masks and bias planes.
    pub const fn cells(&self) -> usize {
        self.rows * self.cols
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.rows, self.cols)
    }
}

/// One axis of a layout: a map of `map` pixels on `cells` cells.
///
/// With more pixels than cells there are `phases = map / cells` of them: pixel `y = i * phases + a` is cell `i` of the
/// ciphertext of phase `a`. With fewer there are gaps: pixel `y` is cell `y * gaps`, and the cells after it, its
/// *sub-positions* `0..gaps`, belong to other channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub phases: usize,
    pub gaps: usize,
}

impl Axis {
    fn new(map: usize, cells: usize) -> Result<Self, LayerError> {
        if map == 0 || !(map.is_multiple_of(cells) || cells.is_multiple_of(map)) {
            return Err(LayerError::Indivisible { map, grid: cells });
        }
        Ok(Self {
            phases: (map / cells).max(1),
            gaps: (cells / map).max(1),
        })
    }

    /// Phase and cell of pixel `y` at sub-position `sub`.
    pub(crate) fn place(&self, y: usize, sub: usize) -> (usize, usize) {
        (y % self.phases, (y / self.phases) * self.gaps + sub)
    }
}

/// A place: ciphertext, and cell of the image's grid in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Index of the ciphertext.
    pub ciphertext: usize,
    /// Cell, `row * grid.cols + column`.
    pub cell: usize,
}

/// A bijection between the numbers of a batch and slots: polyphase packing.
///
/// * Along each axis a map larger than the grid is split into phases (one ciphertext each); a map smaller than the grid
///   leaves gaps, whose cells hold further channels.
/// * `channels_per_ct` channels share a ciphertext; channel `c` is in channel block `c / channels_per_ct` at sub-position
///   `c % channels_per_ct = sy * gap_cols + sx`.
/// * Ciphertext `(block * phase_rows + a) * phase_cols + d` holds phase `(a, d)` of a block.
/// * Slot `image * cells + cell`; `slots / cells` images in the real parts and, packed complex, as many again in the
///   imaginary parts (image `k` there is in slot `k - slots / cells`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "LayoutLiteral", into = "LayoutLiteral")]
pub struct Layout {
    shape: Chw,
    grid: Grid,
    packing: Packing,
    slots: usize,
    channels_per_ct: usize,
    rows: Axis,
    cols: Axis,
}

/// A layout as written to files: unchecked.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Layout")]
struct LayoutLiteral {
    shape: Chw,
    grid: Grid,
    packing: Packing,
    slots: usize,
    channels_per_ct: usize,
}

impl TryFrom<LayoutLiteral> for Layout {
    type Error = LayerError;

    fn try_from(l: LayoutLiteral) -> Result<Self, LayerError> {
        Layout::new(l.shape, l.grid, l.packing, l.slots)?.with_channels_per_ct(l.channels_per_ct)
    }
}

impl From<Layout> for LayoutLiteral {
    fn from(l: Layout) -> Self {
        LayoutLiteral {
            shape: l.shape,
            grid: l.grid,
            packing: l.packing,
            slots: l.slots,
            channels_per_ct: l.channels_per_ct,
        }
    }
}

impl Layout {
    /// The layout of maps of shape `shape` on `grid`, in ciphertexts of `slots` complex slots (half the ring degree), with
    /// as many channels a ciphertext as the gaps hold.
    ///
    /// # Errors
    /// [`LayerError::Grid`] if the grid's sizes are not powers of two or exceed the slots, [`LayerError::Indivisible`] if a
    /// map axis and a grid axis do not divide one another.
    pub fn new(shape: Chw, grid: Grid, packing: Packing, slots: usize) -> Result<Self, LayerError> {
        let fits = grid.rows.is_power_of_two()
            && grid.cols.is_power_of_two()
            && slots.is_power_of_two()
            && grid
                .rows
                .checked_mul(grid.cols)
                .is_some_and(|cells| cells <= slots);
        if !fits {
            return Err(LayerError::Grid { grid, slots });
        }
        let rows = Axis::new(shape.height, grid.rows)?;
        let cols = Axis::new(shape.width, grid.cols)?;
        Ok(Self {
            shape,
            grid,
            packing,
            slots,
            channels_per_ct: rows.gaps * cols.gaps,
            rows,
            cols,
        })
    }

    /// The same with fewer channels a ciphertext: sub-positions from `channels` on stay empty.
    ///
    /// # Errors
    /// [`LayerError::ChannelsPerCiphertext`] if that is zero or more than the gaps hold.
    pub fn with_channels_per_ct(mut self, channels: usize) -> Result<Self, LayerError> {
        let room = self.rows.gaps * self.cols.gaps;
        if channels == 0 || channels > room {
            return Err(LayerError::ChannelsPerCiphertext {
                found: channels,
                room,
            });
        }
        self.channels_per_ct = channels;
        Ok(self)
    }

    /// A layout of another shape on the same grid, packing and slots, as many channels a ciphertext as fit.
    ///
    /// # Errors
    /// [`LayerError::Indivisible`].
    pub fn with_shape(&self, shape: Chw) -> Result<Self, LayerError> {
        Layout::new(shape, self.grid, self.packing, self.slots)
    }

    /// Shape of one image's maps.
    pub fn shape(&self) -> Chw {
        self.shape
    }

    /// The grid.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// The packing.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// Complex slots of a ciphertext.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Channels that share a ciphertext.
    pub fn channels_per_ct(&self) -> usize {
        self.channels_per_ct
    }

    /// Phases along rows and columns.
    pub fn phases(&self) -> (usize, usize) {
        (self.rows.phases, self.cols.phases)
    }

    /// Gap cells a pixel along rows and columns.
    pub fn gaps(&self) -> (usize, usize) {
        (self.rows.gaps, self.cols.gaps)
    }

    /// Channel blocks: `ceil(channels / channels_per_ct)`.
    pub fn blocks(&self) -> usize {
        self.shape.channels.div_ceil(self.channels_per_ct)
    }

    /// Ciphertexts of one channel block: its phases.
    pub fn ciphertexts_per_block(&self) -> usize {
        self.rows.phases * self.cols.phases
    }

    /// Ciphertexts of the whole tensor.
    pub fn ciphertexts(&self) -> usize {
        self.blocks() * self.ciphertexts_per_block()
    }

    /// Images that the layout holds.
    pub fn images(&self) -> usize {
        let halves = match self.packing {
            Packing::Real => 1,
            Packing::Complex => 2,
        };
        self.slots / self.grid.cells() * halves
    }

    /// Where channel `c`, row `y`, column `x` of an image lives.
    ///
    /// # Panics
    /// If the position lies outside the shape.
    pub fn place(&self, c: usize, y: usize, x: usize) -> Place {
        assert!(
            c < self.shape.channels && y < self.shape.height && x < self.shape.width,
            "position outside the layout's shape"
        );
        let (block, sub) = (c / self.channels_per_ct, c % self.channels_per_ct);
        let (a, row) = self.rows.place(y, sub / self.cols.gaps);
        let (d, col) = self.cols.place(x, sub % self.cols.gaps);
        Place {
            ciphertext: (block * self.rows.phases + a) * self.cols.phases + d,
            cell: row * self.grid.cols + col,
        }
    }

    /// Ciphertext, slot and whether the imaginary part, of image `n`, channel `c`, row `y`, column `x`.
    ///
    /// # Panics
    /// If the position lies outside the shape or the batch that fits.
    pub fn slot_of(&self, n: usize, c: usize, y: usize, x: usize) -> (usize, usize, bool) {
        assert!(n < self.images(), "image outside the layout's batch");
        let per_part = self.slots / self.grid.cells();
        let place = self.place(c, y, x);
        (
            place.ciphertext,
            (n % per_part) * self.grid.cells() + place.cell,
            n >= per_part,
        )
    }

    /// The channel whose number cell `cell` of ciphertexts of block `block` holds; `None` for an unused gap.
    pub fn channel_at(&self, block: usize, cell: usize) -> Option<usize> {
        self.channel_of(block, self.sub_position(cell)?)
    }

    /// The sub-position of a cell; `None` if no channel ever uses it.
    pub(crate) fn sub_position(&self, cell: usize) -> Option<usize> {
        let (row, col) = (cell / self.grid.cols, cell % self.grid.cols);
        let sub = row % self.rows.gaps * self.cols.gaps + col % self.cols.gaps;
        (sub < self.channels_per_ct).then_some(sub)
    }

    /// The channel at a sub-position of a block, if there is one.
    pub(crate) fn channel_of(&self, block: usize, sub: usize) -> Option<usize> {
        let channel = block * self.channels_per_ct + sub;
        (channel < self.shape.channels).then_some(channel)
    }

    /// A per-channel value as it lies in the cells of block `block`: `cells()` numbers, zero in unused gaps.
    ///
    /// # Panics
    /// If there are fewer values than channels.
    pub fn channel_plane(&self, block: usize, values: &[f64]) -> Vec<f64> {
        (0..self.grid.cells())
            .map(|cell| self.channel_at(block, cell).map_or(0.0, |c| values[c]))
            .collect()
    }

    /// Images to slots: one vector of `slots` complex numbers for each ciphertext. A batch smaller than [`Self::images`]
    /// leaves zeros.
    ///
    /// # Errors
    /// [`LayerError::Batch`] if there are too many images, [`LayerError::Shape`] if they have another shape.
    pub fn pack(&self, x: &PlainTensor) -> Result<Vec<Vec<Complex64>>, LayerError> {
        if x.shape != self.shape {
            return Err(LayerError::Shape {
                layer: "pack".to_owned(),
                found: x.shape,
                expected: self.shape,
            });
        }
        if x.n > self.images() {
            return Err(LayerError::Batch {
                found: x.n,
                capacity: self.images(),
            });
        }
        let mut cts = vec![vec![Complex64::default(); self.slots]; self.ciphertexts()];
        self.visit(x.n, |index, (ct, slot, imaginary)| {
            let value = &mut cts[ct][slot];
            if imaginary {
                value.im = x.data[index];
            } else {
                value.re = x.data[index];
            }
        });
        Ok(cts)
    }

    /// Slots back to the first `n` images.
    ///
    /// # Errors
    /// [`LayerError::Batch`] if the layout does not hold `n` images, [`LayerError::Count`] if vectors or their lengths are
    /// not those of the layout.
    pub fn unpack(&self, cts: &[Vec<Complex64>], n: usize) -> Result<PlainTensor, LayerError> {
        if n > self.images() {
            return Err(LayerError::Batch {
                found: n,
                capacity: self.images(),
            });
        }
        self.check_slots(cts)?;
        let mut x = PlainTensor::zeros(n, self.shape);
        self.visit(n, |index, (ct, slot, imaginary)| {
            let value = cts[ct][slot];
            x.data[index] = if imaginary { value.im } else { value.re };
        });
        Ok(x)
    }

    /// Checks that `cts` are slot vectors of this layout.
    pub(crate) fn check_slots(&self, cts: &[Vec<Complex64>]) -> Result<(), LayerError> {
        if cts.len() != self.ciphertexts() {
            return Err(LayerError::Count {
                what: "slot vectors",
                found: cts.len(),
                expected: self.ciphertexts(),
            });
        }
        match cts.iter().find(|ct| ct.len() != self.slots) {
            Some(ct) => Err(LayerError::Count {
                what: "slots",
                found: ct.len(),
                expected: self.slots,
            }),
            None => Ok(()),
        }
    }

    /// Calls `f` with the index in a plain tensor and the slot of every number of `n` images.
    fn visit(&self, n: usize, mut f: impl FnMut(usize, (usize, usize, bool))) {
        let mut index = 0;
        for image in 0..n {
            for c in 0..self.shape.channels {
                for y in 0..self.shape.height {
                    for x in 0..self.shape.width {
                        f(index, self.slot_of(image, c, y, x));
                        index += 1;
                    }
                }
            }
        }
    }
}
