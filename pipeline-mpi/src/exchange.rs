//! Ciphertexts between servers that compute a group together: limbs, as they lie in memory.

use std::error::Error;
use std::time::Instant;

use mpi::Rank;
use pipeline::ckks_scheme::serial::{LABEL_BYTES, Parcel};
use pipeline::ckks_scheme::{Ciphertext, KeyId, Parameters};
use pipeline::he_layers::{Exchange, MeanError, Partial};
use pipeline::system;
use rayon::prelude::*;

use crate::link::Link;
use crate::words::Exchanged;

/// Bytes of limbs that are under way at a time; more where one ciphertext takes more. They are checked while they are in the
/// cache.
const UNDER_WAY: u64 = 8 << 20;
/// Most ciphertexts that a server gives at a time.
const MOST: u64 = 1 << 16;
/// Most numbers that it gives beside them.
const MOST_NUMBERS: u64 = 1 << 26;
/// Upper bound of the memory of an exchange beside the limbs: labels, and what MPI keeps for messages.
pub const BESIDE_BYTES: u64 = 32 << 20;

/// Ciphertexts among servers. Limbs go from where they lie to where they will be read; what comes is checked in parallel on the
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
        self.timed(|servers| servers.carry(owner as Rank, own))
    }

    fn swap(&mut self, given: Vec<Partial>) -> Result<Vec<Partial>, Failed> {
        self.timed(|servers| servers.trade(given))
    }
}

impl Servers<'_> {
    fn timed<T>(&mut self, exchange: impl FnOnce(&mut Self) -> T) -> T {
        let (start, before) = (Instant::now(), system::seconds_processor());
        let all = exchange(self);
        self.exchanged.seconds += start.elapsed().as_secs_f64();
        let took = system::seconds_processor().zip(before);
        let sum = self.exchanged.seconds_processor.zip(took);
        self.exchanged.seconds_processor = sum.map(|(sum, (after, before))| sum + after - before);
        all
    }

    /// Brings what each server has for each other one there: how much it is, then labels and numbers, then limbs.
    fn trade(&mut self, given: Vec<Partial>) -> Result<Vec<Partial>, Failed> {
        let own = self.link.rank() as usize;
        let mut to = Vec::with_capacity(given.len());
        for partial in given {
            to.push(Trade::of(partial, self.params, self.key)?);
        }
        let sizes: Vec<[u8; 16]> = to.iter().map(Trade::sizes).collect();
        let mut found = vec![[0; 16]; to.len()];
        self.link.swap(
            of_others(&sizes, own).map(|(rank, sizes)| (rank, &sizes[..])),
            of_others_mut(&mut found, own).map(|(rank, sizes)| (rank, &mut sizes[..])),
        );
        let words: Vec<Vec<u8>> = to.iter().map(Trade::words).collect();
        let room = found.iter().map(Trade::room);
        let mut found_words = room.collect::<Result<Vec<_>, _>>()?;
        self.link.swap(
            of_others(&words, own).map(|(rank, words)| (rank, &words[..])),
            of_others_mut(&mut found_words, own).map(|(rank, words)| (rank, &mut words[..])),
        );
        let mut from = Vec::with_capacity(to.len());
        for (sizes, words) in found.iter().zip(&found_words) {
            from.push(Trade::announced(sizes, words, self.params, self.key)?);
        }
        self.exchanged.bytes_given += bytes(&to, &words);
        self.exchanged.bytes_received += bytes(&from, &found_words);
        let sent = of_others_mut(&mut to, own)
            .flat_map(|(rank, trade)| trade.limbs().map(move |limb| (rank, &*limb)));
        let received = of_others_mut(&mut from, own)
            .flat_map(|(rank, trade)| trade.limbs().map(move |limb| (rank, limb)));
        self.link.swap(sent, received);
        drop(to);
        let opened = from.into_iter().map(|trade| {
            let sums = trade.parcels.into_par_iter().map(Parcel::open);
            Ok(Partial {
                sums: sums.collect::<Result<_, _>>()?,
                errors: trade.errors,
            })
        });
        opened.collect()
    }

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

/// What one server has for another one.
struct Trade {
    parcels: Vec<Parcel>,
    errors: Vec<MeanError>,
}

impl Trade {
    fn of(partial: Partial, params: &Parameters, key: KeyId) -> Result<Self, Failed> {
        let pack = |ct| Parcel::pack(ct, params, key);
        Ok(Self {
            parcels: partial
                .sums
                .into_iter()
                .map(pack)
                .collect::<Result<_, _>>()?,
            errors: partial.errors,
        })
    }

    /// How many ciphertexts and numbers there are.
    fn sizes(&self) -> [u8; 16] {
        let mut sizes = [0; 16];
        sizes[..8].copy_from_slice(&(self.parcels.len() as u64).to_le_bytes());
        sizes[8..].copy_from_slice(&(self.errors.len() as u64).to_le_bytes());
        sizes
    }

    /// Labels, then numbers.
    fn words(&self) -> Vec<u8> {
        let labels = self.parcels.iter().flat_map(Parcel::label);
        let numbers = self.errors.iter().flat_map(|error| error.to_le_bytes());
        labels.chain(numbers).collect()
    }

    fn counts(sizes: &[u8; 16]) -> (u64, u64) {
        let (parcels, errors) = sizes.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        (number(parcels), number(errors))
    }

    /// Room for the words of another server.
    fn room(sizes: &[u8; 16]) -> Result<Vec<u8>, Failed> {
        let (parcels, errors) = Self::counts(sizes);
        if parcels > MOST || errors > MOST_NUMBERS {
            let expected = format!("expected at most {MOST} and {MOST_NUMBERS}");
            return Err(format!(
                "{parcels} ciphertexts and {errors} numbers at a time, {expected}"
            )
            .into());
        }
        Ok(vec![
            0;
            parcels as usize * LABEL_BYTES + errors as usize * 16
        ])
    }

    /// Room for what another server announces, and its numbers.
    fn announced(
        sizes: &[u8; 16],
        words: &[u8],
        params: &Parameters,
        key: KeyId,
    ) -> Result<Self, Failed> {
        let (parcels, _) = Self::counts(sizes);
        let (labels, numbers) = words.split_at(parcels as usize * LABEL_BYTES);
        let (labels, _) = labels.as_chunks();
        let (numbers, _) = numbers.as_chunks();
        let empty = |label| Parcel::empty(label, params, key);
        Ok(Self {
            parcels: labels.iter().map(empty).collect::<Result<_, _>>()?,
            errors: numbers
                .iter()
                .map(|number| MeanError::from_le_bytes(*number))
                .collect(),
        })
    }

    fn limbs(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.parcels.iter_mut().flat_map(Parcel::limbs)
    }
}

/// What is for each of the other servers, or comes from it.
fn of_others<T>(all: &[T], own: usize) -> impl Iterator<Item = (Rank, &T)> {
    let all = (0..).zip(all);
    all.filter(move |(rank, _)| *rank != own as Rank)
}

fn of_others_mut<T>(all: &mut [T], own: usize) -> impl Iterator<Item = (Rank, &mut T)> {
    let all = (0..).zip(all);
    all.filter(move |(rank, _)| *rank != own as Rank)
}

/// Bytes of limbs and words.
fn bytes(trades: &[Trade], words: &[Vec<u8>]) -> u64 {
    let limbs = trades.iter().flat_map(|trade| &trade.parcels);
    limbs.map(Parcel::bytes).sum::<u64>() + words.iter().map(|w| w.len() as u64).sum::<u64>()
}
