//! Limbs of one ciphertext on several threads, where there are fewer ciphertexts than threads.

use super::Evaluator;
use ckks_math::{BaseConverter, Limb};
use rayon::prelude::*;

/// Fewest words of a limb that a thread converts at a time.
const LEAST_WORDS: usize = 1024;

impl Evaluator {
    /// The same evaluator, whose products, rescales and key switches spread the limbs of a ciphertext over the current rayon
    /// pool: for fewer ciphertexts than threads. Results are the same to the last bit, and temporaries take as much memory.
    ///
    /// A thread that waits for others takes up other work of its pool. Whoever bounds the memory must not have more
    /// operations waiting for a thread than there are threads.
    #[must_use]
    pub fn spread_limbs(&self) -> Self {
        Self {
            spreads_limbs: true,
            ..self.clone()
        }
    }

    /// What `f` makes of each item, in order.
    pub(super) fn each<I: Send, T: Send, E: Send>(
        &self,
        items: Vec<I>,
        f: impl Fn(usize, I) -> Result<T, E> + Sync + Send,
    ) -> Result<Vec<T>, E> {
        if self.spreads_limbs {
            let items = items.into_par_iter().enumerate();
            return items.map(|(i, item)| f(i, item)).collect();
        }
        let items = items.into_iter().enumerate();
        items.map(|(i, item)| f(i, item)).collect()
    }

    /// Does something to each limb of a list.
    pub(super) fn for_each_limb(
        &self,
        limbs: &mut [Limb],
        f: impl Fn(usize, &mut Limb) + Sync + Send,
    ) {
        if self.spreads_limbs {
            limbs.par_iter_mut().enumerate().for_each(|(i, l)| f(i, l));
        } else {
            limbs.iter_mut().enumerate().for_each(|(i, l)| f(i, l));
        }
    }

    /// A base conversion, part by part of the limbs.
    pub(super) fn convert_words(&self, converter: &BaseConverter, dst: &mut [Limb], src: &[Limb]) {
        let words = self.params.degree();
        let part = match self.spreads_limbs {
            true => (words / rayon::current_num_threads().max(1)).max(LEAST_WORDS),
            false => words,
        };
        let mut parts: Vec<Vec<&mut [u64]>> = Vec::new();
        parts.resize_with(words.div_ceil(part), || Vec::with_capacity(dst.len()));
        for limb in dst.iter_mut() {
            for (of_part, words) in parts.iter_mut().zip(limb.chunks_mut(part)) {
                of_part.push(words);
            }
        }
        let convert = |(number, dst): (usize, &mut Vec<&mut [u64]>)| {
            let from = number * part;
            let src: Vec<&[u64]> = src
                .iter()
                .map(|limb| &limb[from..words.min(from + part)])
                .collect();
            converter.convert_into(dst, &src);
        };
        if self.spreads_limbs {
            parts.par_iter_mut().enumerate().for_each(convert);
        } else {
            parts.iter_mut().enumerate().for_each(convert);
        }
    }
}
