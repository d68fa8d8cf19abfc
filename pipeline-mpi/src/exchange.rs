//! Ciphertexts between servers that compute a group together.

use std::error::Error;

use mpi::Rank;
use pipeline::ckks_scheme::serial::{CiphertextReader, CiphertextWriter};
use pipeline::ckks_scheme::{Ciphertext, KeyId, Parameters};
use pipeline::he_layers::Exchange;

use crate::link::Link;

/// Broadcasts among servers.
pub struct Servers<'a> {
    /// All servers and nobody else.
    pub link: &'a Link,
    /// Parameters of the ciphertexts.
    pub params: &'a Parameters,
    /// The secret key that they are under.
    pub key: KeyId,
}

impl Exchange for Servers<'_> {
    fn broadcast(
        &mut self,
        owner: usize,
        own: Option<Vec<Ciphertext>>,
    ) -> Result<Vec<Ciphertext>, Box<dyn Error + Send + Sync>> {
        let Some(own) = own else {
            let mut listening = self.link.listen(owner as Rank);
            let reader = CiphertextReader::new(&mut listening, self.params, self.key)?;
            let all = reader.collect::<Result<Vec<_>, _>>()?;
            listening.finish()?;
            return Ok(all);
        };
        let (out, count) = (self.link.broadcast(), own.len() as u64);
        let mut writer = CiphertextWriter::new(out, self.params, self.key, &[], count)?;
        own.iter().try_for_each(|ct| writer.push(ct))?;
        writer.finish()?.finish();
        Ok(own)
    }
}
