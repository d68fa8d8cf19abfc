//! Where a number of a batch of feature maps lives: ciphertext and slot.

mod axis;
mod grid;
mod pack;

use serde::{Deserialize, Serialize};

pub(crate) use self::axis::{Axis, gcd};
pub use self::grid::{Grid, Packing, Place};
use crate::error::LayerError;
use crate::tensor::Chw;

/// An injection of the numbers of a batch into slots: polyphase packing.
///
/// * Along each axis a map larger than the grid is split into phases (one ciphertext each); a map smaller than the grid
///   leaves gaps, whose cells hold further channels. Neither has to divide the other: cells beyond the map are *padding*,
///   which nothing reads. Linear maps leave zeros there.
/// * `channels_per_ct` channels share a ciphertext; channel `c` is in channel block `c / channels_per_ct` at sub-position
///   `c % channels_per_ct = sy * gap_cols + sx`.
/// * Ciphertext `(block * phase_rows + a) * phase_cols + d` holds phase `(a, d)` of a block: pixels whose row is `a` modulo
///   the row phases and whose column is `d` modulo the column phases.
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
    /// Phases and gaps along rows and columns; none: those of [`Layout::new`].
    #[serde(default)]
    spacing: Option<Spacing>,
}

/// How pixels are spread over ciphertexts and cells, along rows and columns: pixel `i * phases + a` of an axis is in the
/// ciphertext of phase `a`, at cell `i * gaps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Spacing {
    /// Ciphertexts along rows and columns.
    pub phases: (usize, usize),
    /// Cells of a pixel along rows and columns.
    pub gaps: (usize, usize),
}

impl TryFrom<LayoutLiteral> for Layout {
    type Error = LayerError;

    fn try_from(l: LayoutLiteral) -> Result<Self, LayerError> {
        let layout = Layout::new(l.shape, l.grid, l.packing, l.slots)?;
        let layout = match l.spacing {
            Some(spacing) => layout.with_spacing(spacing)?,
            None => layout,
        };
        layout.with_channels_per_ct(l.channels_per_ct)
    }
}

impl From<Layout> for LayoutLiteral {
    fn from(l: Layout) -> Self {
        let usual = (
            Axis::new(l.shape.height, l.grid.rows),
            Axis::new(l.shape.width, l.grid.cols),
        );
        LayoutLiteral {
            shape: l.shape,
            grid: l.grid,
            packing: l.packing,
            slots: l.slots,
            channels_per_ct: l.channels_per_ct,
            spacing: (usual != (l.rows, l.cols)).then_some(l.spacing()),
        }
    }
}

impl Layout {
    /// The layout of maps of shape `shape` on `grid`, in ciphertexts of `slots` complex slots (half the ring degree): as few
    /// phases as hold the map, as many gaps as fit, as many channels a ciphertext as the gaps hold.
    ///
    /// # Errors
    /// [`LayerError::Grid`] if a size of the grid is zero or its cells exceed the slots, which are a power of two;
    /// [`LayerError::EmptyShape`].
    pub fn new(shape: Chw, grid: Grid, packing: Packing, slots: usize) -> Result<Self, LayerError> {
        let product = grid.rows.checked_mul(grid.cols).filter(|n| *n > 0);
        let cells = product.and_then(usize::checked_next_power_of_two);
        if !slots.is_power_of_two() || cells.is_none_or(|cells| cells > slots) {
            return Err(LayerError::Grid { grid, slots });
        }
        if shape.channels == 0 || shape.height == 0 || shape.width == 0 {
            return Err(LayerError::EmptyShape { shape });
        }
        let axes = (
            Axis::new(shape.height, grid.rows),
            Axis::new(shape.width, grid.cols),
        );
        Ok(Self::of_axes(shape, grid, (packing, slots), axes))
    }

    fn of_axes(
        shape: Chw,
        grid: Grid,
        (packing, slots): (Packing, usize),
        (rows, cols): (Axis, Axis),
    ) -> Self {
        Self {
            shape,
            grid,
            packing,
            slots,
            channels_per_ct: rows.gaps * cols.gaps,
            rows,
            cols,
        }
    }

    /// The same with pixels spread otherwise, and as many channels a ciphertext as the gaps hold.
    ///
    /// # Errors
    /// [`LayerError::Spacing`] if a number is zero or the grid does not hold the map.
    pub fn with_spacing(mut self, spacing: Spacing) -> Result<Self, LayerError> {
        let error = LayerError::Spacing {
            shape: self.shape,
            grid: self.grid,
            spacing,
        };
        let Spacing { phases, gaps } = spacing;
        if [phases.0, phases.1, gaps.0, gaps.1].contains(&0) {
            return Err(error);
        }
        let axis = |map, phases, gaps| Axis { map, phases, gaps };
        self.rows = axis(self.shape.height, phases.0, gaps.0);
        self.cols = axis(self.shape.width, phases.1, gaps.1);
        if !self.rows.fits(self.grid.rows) || !self.cols.fits(self.grid.cols) {
            return Err(error);
        }
        self.channels_per_ct = gaps.0 * gaps.1;
        Ok(self)
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

    /// A layout of another shape on the same grid, packing and slots, as [`Self::new`] spreads it.
    ///
    /// # Errors
    /// [`LayerError::EmptyShape`].
    pub fn with_shape(&self, shape: Chw) -> Result<Self, LayerError> {
        Layout::new(shape, self.grid, self.packing, self.slots)
    }

    /// A layout of what a convolution of stride `stride` gives of this one: every output pixel has the cell of the input pixel
    /// where its window starts, so that few rotations bring the inputs there. Where the grid does not hold that, an axis is
    /// spread as [`Self::new`] does. For sides that are powers of two, halved by strides, the two agree.
    ///
    /// # Errors
    /// [`LayerError::EmptyShape`], also for a stride of zero.
    pub fn strided(&self, shape: Chw, stride: (usize, usize)) -> Result<Self, LayerError> {
        let plain = self.with_shape(shape)?;
        if stride.0 == 0 || stride.1 == 0 {
            return Err(LayerError::EmptyShape { shape });
        }
        let axes = (
            self.rows.strided(shape.height, stride.0, self.grid.rows),
            self.cols.strided(shape.width, stride.1, self.grid.cols),
        );
        let place = (plain.packing, plain.slots);
        Ok(Self::of_axes(shape, plain.grid, place, axes))
    }

    /// The same in ciphertexts of `slots` complex slots and with packing `packing`.
    ///
    /// # Errors
    /// [`LayerError::Grid`] if the cells of the grid exceed the slots, which are a power of two.
    pub fn with_slots(mut self, slots: usize, packing: Packing) -> Result<Self, LayerError> {
        if !slots.is_power_of_two() || self.grid.cells() > slots {
            let grid = self.grid;
            return Err(LayerError::Grid { grid, slots });
        }
        self.slots = slots;
        self.packing = packing;
        Ok(self)
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

    /// How pixels are spread over ciphertexts and cells.
    pub fn spacing(&self) -> Spacing {
        Spacing {
            phases: (self.rows.phases, self.cols.phases),
            gaps: (self.rows.gaps, self.cols.gaps),
        }
    }

    /// Rows and columns.
    pub(crate) fn axes(&self) -> (Axis, Axis) {
        (self.rows, self.cols)
    }

    /// Ciphertexts of a channel block along rows and columns: phases that hold a pixel.
    pub fn phases(&self) -> (usize, usize) {
        (self.rows.ciphertexts(), self.cols.ciphertexts())
    }

    /// Cells of a pixel along rows and columns.
    pub fn gaps(&self) -> (usize, usize) {
        (self.rows.gaps, self.cols.gaps)
    }

    /// Channel blocks: `ceil(channels / channels_per_ct)`.
    pub fn blocks(&self) -> usize {
        self.shape.channels.div_ceil(self.channels_per_ct)
    }

    /// Ciphertexts of one channel block: its phases.
    pub fn ciphertexts_per_block(&self) -> usize {
        self.rows.ciphertexts() * self.cols.ciphertexts()
    }

    /// Ciphertexts of the whole tensor.
    pub fn ciphertexts(&self) -> usize {
        self.blocks() * self.ciphertexts_per_block()
    }

    /// Images that the layout holds.
    pub fn images(&self) -> usize {
        self.slots / self.grid.cells() * self.packing.images_per_slot()
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
            ciphertext: (block * self.rows.ciphertexts() + a) * self.cols.ciphertexts() + d,
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

    /// The channel whose number cell `cell` of ciphertexts of block `block` holds in any phase; `None` for an unused gap and
    /// for padding.
    pub fn channel_at(&self, block: usize, cell: usize) -> Option<usize> {
        let (row, col) = (cell / self.grid.cols, cell % self.grid.cols);
        // The first phase has no fewer pixels than the others.
        self.rows.pixel(0, row)?;
        self.cols.pixel(0, col)?;
        self.channel_of(block, self.sub_position(cell)?)
    }

    /// Channel, row and column of the number that cell `cell` of ciphertext `ciphertext` holds; `None` for an unused gap and
    /// for padding. The inverse of [`Self::place`].
    pub fn pixel_at(&self, ciphertext: usize, cell: usize) -> Option<(usize, usize, usize)> {
        let (block, phase) = (
            ciphertext / self.ciphertexts_per_block(),
            ciphertext % self.ciphertexts_per_block(),
        );
        let (a, d) = (
            phase / self.cols.ciphertexts(),
            phase % self.cols.ciphertexts(),
        );
        let y = self.rows.pixel(a, cell / self.grid.cols)?;
        let x = self.cols.pixel(d, cell % self.grid.cols)?;
        let channel = self.channel_of(block, self.sub_position(cell)?)?;
        Some((channel, y, x))
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

    /// A per-channel value as it lies in the cells of block `block`: `cells()` numbers, zero in unused gaps and
    /// padding.
    ///
    /// # Panics
    /// If there are fewer values than channels.
    pub fn channel_plane(&self, block: usize, values: &[f64]) -> Vec<f64> {
        (0..self.grid.cells())
            .map(|cell| self.channel_at(block, cell).map_or(0.0, |c| values[c]))
            .collect()
    }
}
