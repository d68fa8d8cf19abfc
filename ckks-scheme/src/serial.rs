#![doc = include_str!("serial/FORMAT.md")]

mod ciphertext;
mod error;
mod file;
mod folder;
mod frame;
mod keys;
mod limbs;
mod pack;
mod params;
mod parcel;
mod secret;
mod sequence;

pub use error::SerialError;
pub use file::{AtomicFile, open_regular};
pub use folder::{
    EVALUATION_KEYS_FILE, PARAMETERS_FILE, PUBLIC_KEY_FILE, ServerKeys, refuse_secrets,
};
pub use frame::{FORMAT_VERSION, Header, Kind};
pub use parcel::{LABEL_BYTES, Parcel};
pub use sequence::{CiphertextReader, CiphertextWriter, MAX_METADATA_BYTES};
