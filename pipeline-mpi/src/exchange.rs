//! Ciphertexts between servers that compute a group together.

use std::error::Error;
use std::time::Instant;

use mpi::Rank;
use pipeline::ckks_scheme::{Ciphertext, KeyId, Parameters};
use pipeline::he_layers::Exchange;
use pipeline::system;
use rayon::prelude::*;

use crate::link::{Link, MOST_STRINGS};
use crate::words::Exchanged;

/// Bytes that are on the way at a time; more where one ciphertext takes more.
pub const UNDER_WAY: u64 = 64 << 20;

/// Broadcasts among servers. Ciphertexts are written and read in parallel on the current rayon pool.
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
        let all = self.carry(owner, own);
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
        owner: usize,
        own: Option<Vec<Ciphertext>>,
    ) -> Result<Vec<Ciphertext>, Failed> {
        // MPI's handles stay on this thread.
        let (params, key) = (self.params, self.key);
        let read = |string: &Vec<u8>| Ciphertext::read_from(params, key, &mut &string[..]);
        let write = |ct: &Ciphertext| -> Result<Vec<u8>, Failed> {
            let mut bytes = Vec::new();
            ct.write_to(params, key, &mut bytes)?;
            Ok(bytes)
        };
        let Some(own) = own else {
            let mut all = Vec::new();
            loop {
                let strings = self.link.take(owner as Rank)?;
                if strings.is_empty() {
                    return Ok(all);
                }
                self.exchanged.bytes_received += bytes(&strings);
                all.extend(
                    strings
                        .par_iter()
                        .map(read)
                        .collect::<Result<Vec<_>, _>>()?,
                );
            }
        };
        for part in own.chunks(own.first().map_or(1, |first| at_a_time(first, params))) {
            let mut strings: Vec<Vec<u8>> =
                part.par_iter().map(write).collect::<Result<_, Failed>>()?;
            self.link.give(&mut strings);
            self.exchanged.bytes_given += bytes(&strings);
        }
        self.link.give(&mut []);
        Ok(own)
    }
}

fn bytes(strings: &[Vec<u8>]) -> u64 {
    strings.iter().map(|string| string.len() as u64).sum()
}

/// How many ciphertexts go at a time.
fn at_a_time(first: &Ciphertext, params: &Parameters) -> usize {
    let limbs = first.parts() * first.level().limbs();
    let bytes = (limbs as u64 * params.limb_bytes()).max(1);
    (UNDER_WAY / bytes).clamp(1, MOST_STRINGS as u64) as usize
}
