//! Arguments of `fetch-data`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `fetch-data`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase fetch-data --to cifar                  both data sets: cifar/cifar-10-batches-bin, cifar/cifar-100-binary
  polyphase fetch-data --to cifar --only cifar10   one of them
  polyphase eval --data cifar

Each archive has about 170 MB. Its SHA-256 is checked before it is unpacked, and a folder appears under
its name only when it is whole. What is there already is not downloaded again.")]
pub struct FetchDataArgs {
    /// Folder to put the data sets into; it is created if it is not there
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,

    /// Only this data set
    #[arg(long, value_name = "NAME")]
    pub only: Option<DataSetName>,

    /// Folder of a mirror to download from; the archives must be the same to the last bit
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
}

/// The data sets that can be downloaded.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum DataSetName {
    /// 10 classes, for resnet20
    Cifar10,
    /// 100 classes, for resnet34
    Cifar100,
}
