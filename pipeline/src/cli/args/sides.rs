//! Arguments of the commands of client and server.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use clap::Args;
use pipeline::client::Sharing;

use super::positive;
use super::{
    CheckpointArgs, DataArgs, JsonArgs, KernelArgs, MachineArgs, ModelArgs, OutOfRangeName,
    PlanningArgs, ThreadArgs,
};

/// Bits of security that shared logits leave.
fn bits(text: &str) -> Result<f64, &'static str> {
    let bits: Option<f64> = text.parse().ok();
    bits.filter(|bits| (0.0..=128.0).contains(bits))
        .ok_or("expected a number of bits from 0 to 128")
}

/// How many results.
fn results(text: &str) -> Result<NonZeroU64, &'static str> {
    text.parse()
        .map_err(|_| "expected a whole number from 1 on")
}

/// The passphrase of a secret key.
#[derive(Debug, Args)]
pub struct PassphraseArgs {
    /// The secret key is encrypted under the passphrase in the first line of this file
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// Arguments of `keygen`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase keygen  --model resnet20 --batch 512 --out keys         client: keys for one network
  polyphase encrypt --keys keys --data cifar --batch 512 --out in   client: images
  polyphase run     --eval-keys keys/eval --model resnet20 --in in --out out    server
  polyphase decrypt --keys keys --in out                            client: classes and logits

The batch is planned first, as by `polyphase plan`, since ring, packing and the list of keys depend on
it. Give the server the folder keys/eval (public key, evaluation keys and plan; nothing secret) and
keep the rest: keys/secret.key, which nobody but you may read, and keys/client.spec, which is all that
encrypt and decrypt know of the network. Keys serve any number of batches. A folder that has a secret
key already is refused. With --passphrase-file the secret key is encrypted under that passphrase, which
encrypt and decrypt then need too. Whoever plans for a machine with less memory says so: --memory-gib, --plan.")]
pub struct KeygenArgs {
    #[command(flatten)]
    pub planning: PlanningArgs,

    /// Folder for the keys; it is made if need be
    #[arg(long, value_name = "KEYS")]
    pub out: PathBuf,

    /// Keys from a seed: reproducible, for experiments, not secure
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Arguments of `encrypt`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase encrypt --keys keys --data cifar --batch 512 --out batch.in
  polyphase encrypt --keys keys --data photos --offset 512 --batch 88 --out rest.in
  polyphase encrypt --keys keys --model net.ron --data photos --batch 88 --out batch.in

Needs the folder that `polyphase keygen` wrote, and not the network: KEYS/client.spec says how images
are packed. With --model, for whoever has the network too, images that leave its declared ranges and
would spoil others are found in the clear first, and --out-of-range says what to do with them. Each ciphertext is written as one polynomial and a seed, half of its size in memory. The
file tells the server how many images there are, and nothing else about them. Images are taken in the
order of the data set; the decrypted logits have the same order.")]
pub struct EncryptArgs {
    /// The client's folder, with secret.key and client.spec
    #[arg(long, value_name = "KEYS")]
    pub keys: PathBuf,

    #[command(flatten)]
    pub data: DataArgs,

    /// Images to encrypt
    #[arg(
        long,
        value_name = "B",
        default_value = "32",
        value_parser = positive,
        allow_negative_numbers = true
    )]
    pub batch: NonZeroUsize,

    /// Write the encrypted images here
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// The network, if the client may have it: its declared ranges are checked before anything is encrypted
    #[arg(long, value_name = "NAME|FILE.ron")]
    pub model: Option<String>,

    /// What to do with images that leave a declared range of the network, and would spoil others
    #[arg(long, value_name = "WHAT", default_value = "blank", requires = "model")]
    pub out_of_range: OutOfRangeName,

    /// Encryptions from a seed: reproducible, for experiments, not secure
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    #[command(flatten)]
    pub threads: ThreadArgs,
    #[command(flatten)]
    pub kernel: KernelArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase run --eval-keys keys/eval --model resnet20 --in batch.in --out batch.out
  polyphase run --eval-keys keys/eval --model net.ron --in batch.in --out batch.out --memory-gib 8 --json -

The server's side: encrypted images in, encrypted logits out. It needs the network with its weights and
the folder KEYS/eval of a client, whose plan it obeys. It holds no secret key, and refuses a folder in
which there is one. Images of another client, network or plan are refused before anything is computed.
The output appears under its name when it is whole. With --checkpoint the encrypted state is written to
DIR/server after each stage of the network; killed at any moment, the same command goes on from there.")]
pub struct RunArgs {
    /// The folder that the client gave: evaluation keys and plan
    #[arg(long, value_name = "KEYS/eval")]
    pub eval_keys: PathBuf,

    #[command(flatten)]
    pub model: ModelArgs,

    /// The encrypted images
    #[arg(long = "in", value_name = "FILE")]
    pub input: PathBuf,

    /// Write the encrypted logits here
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// Obey this plan instead of the one in the folder: it may differ in blocks, not in ring, packing or keys
    #[arg(long, value_name = "FILE.ron")]
    pub plan: Option<PathBuf>,

    #[command(flatten)]
    pub machine: MachineArgs,
    #[command(flatten)]
    pub checkpoint: CheckpointArgs,

    /// Report how often every operation ran and what it took
    #[arg(long)]
    pub profile: bool,

    #[command(flatten)]
    pub json: JsonArgs,
}

/// Arguments of `decrypt`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase decrypt --keys keys --in batch.out                     the classes
  polyphase decrypt --keys keys --in batch.out --json logits.json  and the logits
  polyphase decrypt --keys keys --in batch.out --json - --share-with-server 10

Decrypted logits are for your own eyes. Their last digits depend on the secret key: whoever sees them
exactly, above all the server, learns something about it, and from enough of them the key itself.
Where a logit is beyond what the declared ranges allow, an image has left its range and spoiled all
that share its ciphertexts: none of them gets an answer.
--share-with-server N adds Gaussian noise for N results under this key, this one among them, that
others learn. --share-bits says how many bits of security must be left; each takes half a bit of the
logits, and where the noise would be larger than the logits it is refused with what is possible.
N counts all results that you will ever share under this key: make new keys after that.")]
pub struct DecryptArgs {
    /// The client's folder, with secret.key and client.spec
    #[arg(long, value_name = "KEYS")]
    pub keys: PathBuf,

    /// The encrypted logits
    #[arg(long = "in", value_name = "FILE")]
    pub input: PathBuf,

    /// Images in whose place `encrypt` put the mean picture: no answer for them
    #[arg(long, value_name = "I,J,..", value_delimiter = ',')]
    pub blanked: Vec<usize>,

    /// Add noise that lets the server, or anybody else, see N results under this key
    #[arg(long, value_name = "N", value_parser = results, allow_negative_numbers = true)]
    pub share_with_server: Option<NonZeroU64>,

    /// Bits of security against those who see them
    #[arg(
        long,
        value_name = "K",
        default_value_t = Sharing::BITS,
        value_parser = bits,
        requires = "share_with_server",
        allow_negative_numbers = true
    )]
    pub share_bits: f64,

    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    #[command(flatten)]
    pub threads: ThreadArgs,
    #[command(flatten)]
    pub kernel: KernelArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}
