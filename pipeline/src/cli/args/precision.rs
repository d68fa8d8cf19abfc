//! Arguments of `precision`.

use std::num::NonZeroUsize;

use ckks_scheme::{BootstrapPreset, RefreshFunction};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};

use super::{JsonArgs, MachineArgs, positive};

/// Arguments of `precision`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase precision                              20 ciphertexts with the default preset, N = 2^16
  polyphase precision --preset n15 --ciphertexts 4 --threads 1
  polyphase precision --preset n16-l2 --function relu   a ReLU applied by the refresh itself
  polyphase precision --json - --profile

Values uniform in [-1, 1] fill the real and the imaginary parts of all slots. Bits are -log2 of the
absolute error of one such part: of the mean error, the median, and the largest. Seconds are wall time
divided by ciphertexts, after one on every thread that is not counted; those of the stages are spent
by one thread on one ciphertext. Microseconds per output bit: seconds over slots, used parts of a slot
and bits of the mean error, which presets of different precision compare by. A function is compared
with the Fourier series that stands for it; its distance from the function is told apart. What is left
for the user is the modulus above what the next refresh takes. The probability of a failure is
computed from the parameters; -1074, the logarithm of the least number in double precision, stands
for one that cannot happen.")]
pub struct PrecisionArgs {
    /// Parameters, all of them with 128-bit security
    #[arg(long, value_name = "NAME", default_value = DEFAULT_PRESET, value_parser = presets())]
    pub preset: String,

    /// What the refresh applies to every value
    #[arg(long, value_name = "F", default_value = "identity")]
    pub function: FunctionName,

    /// Ciphertexts to refresh
    #[arg(
        long,
        value_name = "K",
        default_value = "20",
        value_parser = positive,
        allow_negative_numbers = true
    )]
    pub ciphertexts: NonZeroUsize,

    #[command(flatten)]
    pub machine: MachineArgs,

    /// Keys, values and encryptions from a seed: reproducible, for experiments, not secure
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    /// Report how often every operation ran and what it took
    #[arg(long)]
    pub profile: bool,

    #[command(flatten)]
    pub json: JsonArgs,
}

/// The functions that a refresh may apply.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum FunctionName {
    /// None: values stay what they are
    Identity,
    /// max(v, 0), over the preset's chain for it
    Relu,
}

impl From<FunctionName> for RefreshFunction {
    fn from(name: FunctionName) -> Self {
        match name {
            FunctionName::Identity => Self::Identity,
            FunctionName::Relu => Self::Relu,
        }
    }
}

/// The first preset of the list.
const DEFAULT_PRESET: &str = BootstrapPreset::ALL[0].name();

/// The presets, with what they are.
pub(super) fn presets() -> PossibleValuesParser {
    let value = |preset: BootstrapPreset| PossibleValue::new(preset.name()).help(preset.summary());
    PossibleValuesParser::new(BootstrapPreset::ALL.map(value))
}
