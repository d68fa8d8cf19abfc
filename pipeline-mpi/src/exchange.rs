//! Ciphertexts between servers that compute a group together: limbs, as they lie in memory.

use std::error::Error;
use std::time::Instant;

use mpi::Rank;
use pipeline::ckks_scheme::serial::{LABEL_BYTES, Parcel};
use pipeline::ckks_scheme::{Ciphertext, KeyId, Parameters};
use pipeline::he_layers::Exchange;
use pipeline::system;
use rayon::prelude::*;

use crate::link::Link;
use crate::words::Exchanged;

/// Bytes of limbs that are under way at a time; more where one ciphertext takes more. They are checked while they are in the
/// cache.
const UNDER_WAY: u64 = 8 << 20;
/// Most ciphertexts of one broadcast.
const MOST: u64 = 1 << 16;
/// Upper bound of the memory of an exchange beside the limbs: labels, and what MPI keeps for messages.
pub const BESIDE_BYTES: u64 = 32 << 20;

/// Broadcasts among servers. Limbs go from where they lie to where they will be read; what comes is checked in parallel on the
/// current rayon pool.
pub struct Servers<'a> {
    /// All servers and nobody else.
    pub link: &'a Link,
    /// Parameters of the ciphertexts.
    pub params: &'a Parameters,
    /// The secret key that they are under.
    pub key: KeyId,
    /// What was exchanged so far.
    pub exchanged: Exchanged,
}

type Failed = Box<dyn Error + Send + Sync>;

impl Exchange for Servers<'_> {
    fn broadcast(
        &mut self,
        owner: usize,
        own: Option<Vec<Ciphertext>>,
    ) -> Result<Vec<Ciphertext>, Failed> {
        let (start, before) = (Instant::now(), system::seconds_processor());
        let all = self.carry(owner as Rank, own);
        self.exchanged.seconds += start.elapsed().as_secs_f64();
        let took = system::seconds_processor().zip(before);
        let sum = self.exchanged.seconds_processor.zip(took);
        self.exchanged.seconds_processor = sum.map(|(sum, (after, before))| sum + after - before);
        all
    }
}

impl Servers<'_> {
    fn carry(
        &mut self,
        owner: Rank,
        own: Option<Vec<Ciphertext>>,
    ) -> Result<Vec<Ciphertext>, Failed> {
        let is_own = own.is_some();
        let parcels = match own {
            Some(own) => self.sent(owner, own)?,
            None => self.announced(owner)?,
        };
        let mut all = Vec::with_capacity(parcels.len());
        let mut left = parcels.into_iter();
        loop {
            // The same on all servers: labels say how long limbs are.
            let (mut bytes, mut under_way) = (0, Vec::new());
            while bytes < UNDER_WAY
                && let Some(parcel) = left.next()
            {
                bytes += parcel.bytes();
                under_way.push(parcel);
            }
            if under_way.is_empty() {
                return Ok(all);
            }
            // MPI's handles stay on this thread.
            let limbs = under_way.iter_mut().flat_map(Parcel::limbs);
            self.link.share(owner, limbs);
            match is_own {
                true => self.exchanged.bytes_given += bytes,
                false => self.exchanged.bytes_received += bytes,
            }
            let opened = under_way.into_par_iter().map(Parcel::open);
            all.extend(opened.collect::<Result<Vec<_>, _>>()?);
        }
    }

    /// Ciphertexts of this server, announced to the others.
    fn sent(&mut self, owner: Rank, own: Vec<Ciphertext>) -> Result<Vec<Parcel>, Failed> {
        let (params, key) = (self.params, self.key);
        let pack = |ct| Parcel::pack(ct, params, key);
        let parcels: Vec<Parcel> = own.into_iter().map(pack).collect::<Result<_, _>>()?;
        let mut labels: Vec<u8> = parcels.iter().flat_map(Parcel::label).collect();
        self.link.agree(owner, parcels.len() as u64);
        self.link.share(owner, [&mut labels[..]]);
        self.exchanged.bytes_given += labels.len() as u64;
        Ok(parcels)
    }

    /// Room for what another server announces.
    fn announced(&mut self, owner: Rank) -> Result<Vec<Parcel>, Failed> {
        let count = self.link.agree(owner, 0);
        if count > MOST {
            return Err(format!("{count} ciphertexts at a time, expected at most {MOST}").into());
        }
        let mut labels = vec![[0; LABEL_BYTES]; count as usize];
        self.link.share(owner, [labels.as_flattened_mut()]);
        self.exchanged.bytes_received += labels.as_flattened().len() as u64;
        let empty = |label| Parcel::empty(label, self.params, self.key);
        Ok(labels.iter().map(empty).collect::<Result<_, _>>()?)
    }
}
