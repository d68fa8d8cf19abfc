//! What rotations cost: the measure by which a linear map chooses how to split them.

/// Times of the parts of a rotation, in any one unit: only their proportions matter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RotationCosts {
    /// Raising one polynomial to the extended modulus (ModUp). Rotations of one input share it.
    pub mod_up: f64,
    /// The inner product of one rotation with its key.
    pub inner_product: f64,
    /// Dividing by the extension of the modulus (ModDown). Rotations that are summed share it.
    pub mod_down: f64,
    /// Relative price of twice as many inner sums. They take memory, and are read and written anew for all the inputs that a
    /// step takes at a time.
    pub inner_sum: f64,
}

impl Default for RotationCosts {
    /// Proportions at 21 levels and two digits on an EPYC 9004 (bench `limits`); they differ little below.
    fn default() -> Self {
        Self {
            mod_up: 13.0,
            inner_product: 5.0,
            mod_down: 14.0,
            inner_sum: 0.15,
        }
    }
}

/// Rotations of one channel block.
#[derive(Clone, Copy, Default)]
pub(super) struct Rotations {
    /// Those that move something.
    pub moved: usize,
    /// Ciphertexts of which any is moved.
    pub ciphertexts: usize,
    /// All that is distinguished: what is moved, and what stays.
    pub all: usize,
}

impl Rotations {
    /// If rows need the steps `rows` and columns `cols`, each by phase and sorted.
    pub(super) fn of(rows: &[Vec<i64>], cols: &[Vec<i64>]) -> Self {
        let count = |steps: &[Vec<i64>]| -> Vec<(usize, bool)> {
            let steps = steps.iter();
            steps
                .map(|s| (s.len(), s.binary_search(&0).is_ok()))
                .collect()
        };
        let (rows, cols) = (count(rows), count(cols));
        let mut sum = Self::default();
        for (r, r_stays) in &rows {
            for (c, c_stays) in &cols {
                let all = r * c;
                let moved = all - usize::from(*r_stays && *c_stays);
                sum.all += all;
                sum.moved += moved;
                sum.ciphertexts += usize::from(moved > 0);
            }
        }
        sum
    }
}

impl RotationCosts {
    /// Cost of all rotations of a map with `blocks` channel blocks of input and output, in each of which inputs need `babies`
    /// and outputs `giants`.
    pub(super) fn total(
        &self,
        babies: Rotations,
        giants: Rotations,
        blocks: (usize, usize),
        out_phases: usize,
    ) -> f64 {
        let inputs = babies.ciphertexts as f64 * self.mod_up
            + babies.moved as f64 * (self.inner_product + self.mod_down);
        let outputs = giants.moved as f64 * (self.mod_up + self.inner_product)
            + giants.ciphertexts as f64 * self.mod_down;
        let sums = giants.all as f64 / out_phases as f64;
        let rotations = blocks.0 as f64 * inputs + blocks.1 as f64 * outputs;
        rotations * (1.0 + self.inner_sum * sums.max(1.0).log2())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ckks_scheme::counts::PrimitiveCosts;
    use ckks_scheme::{Level, ModulusChain, ParamsLiteral};

    #[test]
    fn proportions_are_those_of_the_cost_model() {
        let literal = ParamsLiteral {
            log_n: 16,
            q_bits: vec![50; 21],
            p_bits: vec![50; 11],
            digits: 2,
        };
        let chain = ModulusChain::from_literal(&literal).expect("a chain");
        let (counts, costs) = (chain.counts(), PrimitiveCosts::built_in("avx512ifma", 16));
        for level in [21, 12, 6] {
            let (level, key) = (Level::new(level), Level::new(level));
            let modelled = [
                counts.mod_up(level, key),
                counts.inner_product(level, key),
                counts.mod_down(level, key, 0) * 2,
            ]
            .map(|work| costs.seconds(&work));
            let defaults = RotationCosts::default();
            let here = [defaults.mod_up, defaults.inner_product, defaults.mod_down];
            let (all, all_here): (f64, f64) = (modelled.iter().sum(), here.iter().sum());
            for (modelled, here) in modelled.iter().zip(here) {
                let ratio = (here / all_here) / (modelled / all);
                assert!(
                    (0.7..1.4).contains(&ratio),
                    "level {level}: {modelled}, {here}"
                );
            }
        }
    }
}
