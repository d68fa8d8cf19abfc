//! What can go wrong in a layer, always with the layer's name or the numbers that disagree.

use ckks_scheme::{BootstrapError, EncodeError, EvalError, Level, PolyError};

use crate::layout::{Grid, Packing, Spacing};
use crate::program::Missing;
use crate::tensor::Chw;

/// Errors of layouts, layers and their encrypted execution.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// A parameter array of a layer does not have the length that its other fields imply.
    #[error("layer {layer}: {what} holds {found} numbers, expected {expected}")]
    ParameterLength {
        /// Name of the layer.
        layer: String,
        /// Which array.
        what: &'static str,
        /// Length found.
        found: usize,
        /// Length implied by the rest of the layer.
        expected: usize,
    },
    /// A size of a layer is zero or otherwise impossible.
    #[error("layer {layer}: {what} is {found}, expected {expected}")]
    ParameterValue {
        /// Name of the layer.
        layer: String,
        /// Which size.
        what: &'static str,
        /// Value found.
        found: usize,
        /// What it should be, in words.
        expected: &'static str,
    },
    /// A parameter of a layer is infinite or not a number.
    #[error("layer {layer}: {what} at index {index} is {found}, expected a finite number")]
    NotFinite {
        /// Name of the layer.
        layer: String,
        /// Which array.
        what: &'static str,
        /// Index in it.
        index: usize,
        /// The value.
        found: f64,
    },
    /// The input's number of channels is not the layer's.
    #[error("layer {layer}: input has {found} channels, expected {expected}")]
    Channels {
        /// Name of the layer.
        layer: String,
        /// Channels found.
        found: usize,
        /// Channels expected.
        expected: usize,
    },
    /// Two tensors that meet have different shapes.
    #[error("layer {layer}: shape {found} meets shape {expected}")]
    Shape {
        /// Name of the layer.
        layer: String,
        /// Shape found.
        found: Chw,
        /// Shape expected.
        expected: Chw,
    },
    /// The kernel does not fit into the padded map, or strides over its end.
    #[error("layer {layer}: a kernel of {kernel} does not fit into a padded axis of {axis}")]
    KernelTooLarge {
        /// Name of the layer.
        layer: String,
        /// Kernel size along the axis.
        kernel: usize,
        /// Size of the padded axis.
        axis: usize,
    },
    /// A tensor's data does not have the length that its shape implies.
    #[error("tensor of {n} images of shape {shape} holds {found} numbers, expected {expected}")]
    TensorLength {
        /// Images.
        n: usize,
        /// Shape of one image.
        shape: Chw,
        /// Numbers found.
        found: usize,
        /// Numbers expected.
        expected: usize,
    },
    /// A size of a grid is zero, or the grid is larger than a ciphertext.
    #[error(
        "grid {grid} does not fit {slots} slots: positive sizes with rows * cols, rounded up to a power of two, of at most the slots are needed"
    )]
    Grid {
        /// The grid.
        grid: Grid,
        /// Complex slots of a ciphertext.
        slots: usize,
    },
    /// A shape without numbers has no layout.
    #[error("shape {shape} is empty, expected sizes and strides of at least 1")]
    EmptyShape {
        /// The shape.
        shape: Chw,
    },
    /// A spacing of pixels that a grid does not hold.
    #[error(
        "maps of {shape} in {}x{} phases with {}x{} cells a pixel do not fit grid {grid}",
        spacing.phases.0, spacing.phases.1, spacing.gaps.0, spacing.gaps.1
    )]
    Spacing {
        /// Shape of the maps.
        shape: Chw,
        /// The grid.
        grid: Grid,
        /// The spacing asked for.
        spacing: Spacing,
    },
    /// More channels a ciphertext asked for than the gaps between pixels hold.
    #[error("{found} channels a ciphertext, the layout has room for {room}")]
    ChannelsPerCiphertext {
        /// Channels asked for.
        found: usize,
        /// Gap cells a pixel.
        room: usize,
    },
    /// More images than a layout holds.
    #[error("{found} images, a ciphertext of this layout holds {capacity}")]
    Batch {
        /// Images found.
        found: usize,
        /// Images that fit.
        capacity: usize,
    },
    /// The system has no threads left.
    #[error(
        "{threads} threads for a step cannot be started, expected a system that allows as many"
    )]
    Threads {
        /// Threads asked for.
        threads: usize,
    },
    /// A list of slot vectors or ciphertexts has the wrong length.
    #[error("{what}: {found} found, layout has {expected}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// Count found.
        found: usize,
        /// Count of the layout.
        expected: usize,
    },
    /// Two layouts of one layer that do not share grid, packing and slots.
    #[error(
        "layer {layer}: input layout ({in_grid}, {in_packing}, {in_slots} slots) and output layout ({out_grid}, {out_packing}, {out_slots} slots) must share grid, packing and slots"
    )]
    LayoutsDiffer {
        /// Name of the layer.
        layer: String,
        /// Grid of the input.
        in_grid: Grid,
        /// Packing of the input.
        in_packing: Packing,
        /// Slots of the input.
        in_slots: usize,
        /// Grid of the output.
        out_grid: Grid,
        /// Packing of the output.
        out_packing: Packing,
        /// Slots of the output.
        out_slots: usize,
    },
    /// A tensor whose layout, level or scale is not what a layer was prepared for.
    #[error("layer {layer}: the tensor's {what} is not the one that the layer was prepared for")]
    ForeignTensor {
        /// Name of the layer.
        layer: String,
        /// What differs.
        what: &'static str,
    },
    /// A level at which the layer cannot run.
    #[error("layer {layer}: input at level {found}, expected {least} to {most}")]
    Level {
        /// Name of the layer.
        layer: String,
        /// Level of the input.
        found: Level,
        /// Lowest level that would do.
        least: Level,
        /// Highest level of the chain.
        most: Level,
    },
    /// The weights would be rounded at a scale that leaves nothing of them.
    #[error(
        "layer {layer}: weight scale 2^{found_log2:.1}, expected 2^{least_log2:.1} or more: the input's scale is too large for the prime"
    )]
    WeightScale {
        /// Name of the layer.
        layer: String,
        /// Base-2 logarithm of the weight scale.
        found_log2: f64,
        /// Least base-2 logarithm.
        least_log2: f64,
    },
    /// A weight is too large to be encoded at its scale.
    #[error(
        "layer {layer}: a weight of {found:.3e} has {bits:.1} bits at scale 2^{scale_log2:.1}, the limit is {limit:.1} bits"
    )]
    WeightTooLarge {
        /// Name of the layer.
        layer: String,
        /// The largest weight.
        found: f64,
        /// Its bits when it is encoded.
        bits: f64,
        /// Base-2 logarithm of the weight scale.
        scale_log2: f64,
        /// Bits that there are.
        limit: f64,
    },
    /// Declared values do not fit the modulus.
    #[error(
        "layer {layer}: values up to {max:.3e} need {need_bits:.1} bits, the modulus at level {level} has {have_bits:.1}"
    )]
    Range {
        /// Name of the layer.
        layer: String,
        /// Largest declared value.
        max: f64,
        /// Bits needed.
        need_bits: f64,
        /// Bits that the modulus has.
        have_bits: f64,
        /// Level of the tensor.
        level: Level,
    },
    /// Values that leave the interval on which a polynomial is meant.
    #[error(
        "layer {layer}: values up to {max:.6} for a polynomial on the interval from {from:.6} to {to:.6}"
    )]
    Interval {
        /// Name of the layer.
        layer: String,
        /// Largest absolute value.
        max: f64,
        /// Left end of the interval.
        from: f64,
        /// Right end.
        to: f64,
    },
    /// A refresh of real slots for ciphertexts that hold images in the imaginary parts too.
    #[error("layer {layer}: its bootstrapping keeps real parts only, the layout is packed complex")]
    RefreshContent {
        /// Name of the layer.
        layer: String,
    },
    /// A polynomial of a layer cannot be formed or evaluated.
    #[error("layer {layer}: {source}")]
    Poly {
        /// Name of the layer.
        layer: String,
        /// What is wrong.
        source: PolyError,
    },
    /// A refresh failed.
    #[error("layer {layer}: {source}")]
    Refresh {
        /// Name of the layer.
        layer: String,
        /// What is wrong.
        source: BootstrapError,
    },
    /// An encrypted operation of a layer failed.
    #[error("layer {layer}: {source}")]
    Eval {
        /// Name of the layer.
        layer: String,
        /// What failed.
        source: EvalError,
    },
    /// A node without terms.
    #[error("node {node}: a sum of no terms, expected one or more")]
    NoTerms {
        /// Name of the node.
        node: String,
    },
    /// A value that its program does not have.
    #[error("{reader}: reads value {found} of a program that has {values}")]
    UnknownValue {
        /// Name of the reader.
        reader: String,
        /// Number of the value.
        found: usize,
        /// Values that there are.
        values: usize,
    },
    /// A program whose output was not named.
    #[error("program {program}: its output was not named, expected the sum of a node")]
    Unfinished {
        /// Name of the program.
        program: String,
    },
    /// A refresh in a network that was given nothing to refresh with.
    #[error("stage {stage}: a refresh needs a bootstrapping, and none was given")]
    NoRefresher {
        /// Name of the stage.
        stage: String,
    },
    /// A value whose size nothing declares.
    #[error("{value}: no stage that reads it declares its size, which a refresh needs")]
    NoRange {
        /// The value, in words.
        value: String,
    },
    /// A network that needs more levels than there are.
    #[error("program {program}: needs {need} levels for its input, the chain has {have}")]
    Depth {
        /// Name of the program.
        program: String,
        /// Levels needed.
        need: usize,
        /// Levels of the chain.
        have: usize,
    },
    /// A refresh that gives back too few levels.
    #[error("stage {stage}: gives level {have}, what reads it needs level {need}")]
    RefreshLevels {
        /// Name of the stage.
        stage: String,
        /// Level needed.
        need: Level,
        /// Level of a refreshed ciphertext.
        have: Level,
    },
    /// Something reads a tensor in a form that it cannot read.
    #[error("{reader}: cannot read {found}, expected {expected}")]
    Form {
        /// Name of the reader.
        reader: String,
        /// Form found.
        found: crate::spec::Form,
        /// Forms that would do, in words.
        expected: &'static str,
    },
    /// The result of a run asked for before its last step.
    #[error("program {program}: result asked for after {done} of {steps} steps")]
    Unready {
        /// Name of the program.
        program: String,
        /// Steps that are done.
        done: usize,
        /// Steps of the run.
        steps: usize,
    },
    /// A run that several processes make together, where one did not get what it needs of another.
    #[error(transparent)]
    Exchange(Box<Missing>),
    /// A step of a run that has none left.
    #[error("program {program}: step {found} asked for, the run has {steps}")]
    Step {
        /// Name of the program.
        program: String,
        /// Step asked for.
        found: usize,
        /// Steps of the run.
        steps: usize,
    },
    /// Images that cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl LayerError {
    /// Checks a number of channels.
    pub(crate) fn check_channels(layer: &str, found: usize, expected: usize) -> Result<(), Self> {
        if found == expected {
            return Ok(());
        }
        let layer = layer.to_owned();
        Err(Self::Channels {
            layer,
            found,
            expected,
        })
    }

    /// Names the layer in which an operation of the scheme failed.
    pub(crate) fn eval<E: Into<EvalError>>(layer: &str) -> impl Fn(E) -> LayerError {
        move |source| LayerError::Eval {
            layer: layer.to_owned(),
            source: source.into(),
        }
    }

    /// Names the layer in which a polynomial failed.
    pub(crate) fn poly(layer: &str) -> impl Fn(PolyError) -> LayerError {
        move |source| {
            let layer = layer.to_owned();
            if let PolyError::Eval(source) = source {
                LayerError::Eval { layer, source }
            } else {
                LayerError::Poly { layer, source }
            }
        }
    }

    /// Names the layer in which a refresh failed.
    pub(crate) fn refresh(layer: &str) -> impl Fn(BootstrapError) -> LayerError {
        move |source| {
            if let BootstrapError::Eval(source) = source {
                LayerError::eval(layer)(source)
            } else if let BootstrapError::Poly(source) = source {
                LayerError::poly(layer)(source)
            } else {
                let layer = layer.to_owned();
                LayerError::Refresh { layer, source }
            }
        }
    }
}
