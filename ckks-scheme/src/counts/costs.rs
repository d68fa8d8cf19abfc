//! Seconds of the primitives.

use super::{PRIMITIVES, Primitives, Work};

/// Seconds that one unit of each primitive takes on one thread of a machine, at one ring degree, with one kernel.
pub type PrimitiveCosts = Primitives<f64>;

/// Degrees of the tables below: `2^13` to `2^17`.
const LOG_N: (u32, u32) = (13, 17);

/// Nanoseconds of one unit with the kernel `avx512ifma`, one row for each degree, in the order of the fields.
#[rustfmt::skip]
const AVX512IFMA: [[f64; PRIMITIVES]; 5] = [
    [0.224, 0.230, 0.094, 0.091, 0.067, 0.69, 0.151, 0.056, 0.182, 2.52, 0.041, 0.041],
    [0.226, 0.239, 0.091, 0.090, 0.066, 0.69, 0.150, 0.058, 0.186, 2.52, 0.044, 0.044],
    [0.237, 0.242, 0.092, 0.091, 0.065, 0.69, 0.150, 0.074, 0.355, 2.52, 0.046, 0.046],
    [0.230, 0.243, 0.106, 0.090, 0.067, 0.69, 0.150, 0.093, 0.844, 2.52, 0.057, 0.057],
    [0.229, 0.250, 0.109, 0.090, 0.064, 0.69, 0.152, 0.141, 0.888, 2.52, 0.056, 0.056],
];

/// The same with the kernel `avx2`.
#[rustfmt::skip]
const AVX2: [[f64; PRIMITIVES]; 5] = [
    [0.311, 0.287, 0.258, 0.199, 0.227, 0.61, 0.080, 0.083, 0.31, 1.99, 0.080, 0.080],
    [0.315, 0.283, 0.252, 0.199, 0.226, 0.62, 0.081, 0.082, 0.31, 2.00, 0.092, 0.092],
    [0.304, 0.289, 0.256, 0.193, 0.230, 0.63, 0.081, 0.094, 0.71, 1.97, 0.106, 0.106],
    [0.319, 0.292, 0.258, 0.199, 0.228, 0.62, 0.078, 0.111, 1.49, 2.01, 0.111, 0.111],
    [0.323, 0.303, 0.258, 0.198, 0.228, 0.63, 0.077, 0.121, 1.67, 2.03, 0.123, 0.123],
];

/// The same with the portable kernel.
#[rustfmt::skip]
const SCALAR: [[f64; PRIMITIVES]; 5] = [
    [2.26, 1.80, 1.06, 1.15, 1.02, 0.55, 1.74, 0.179, 0.48, 2.52, 0.042, 0.042],
    [2.22, 1.76, 1.06, 1.15, 1.60, 0.55, 1.74, 0.179, 0.48, 2.52, 0.055, 0.055],
    [2.17, 1.73, 1.08, 1.15, 2.09, 0.55, 1.74, 0.179, 0.92, 2.52, 0.054, 0.054],
    [2.15, 1.70, 1.14, 1.15, 2.36, 0.55, 1.74, 0.184, 1.52, 2.52, 0.053, 0.053],
    [2.10, 1.68, 1.14, 1.15, 2.50, 0.55, 1.74, 0.183, 1.53, 2.52, 0.054, 0.054],
];

impl PrimitiveCosts {
    /// Figures of one core, measured with `cargo run --release -p ckks-scheme --example primitive_costs`: of an AMD EPYC 9004
    /// (Zen 4), for `avx2` of an EPYC of Zen 5. For a kernel by its name (one that is not known counts as the portable one) and
    /// the nearest ring degree from `2^13` to `2^17`. [`Self::measure`] gives those of the machine at hand.
    pub fn built_in(kernel: &str, log_n: u32) -> Self {
        let table = match kernel {
            "avx512ifma" => &AVX512IFMA,
            "avx2" => &AVX2,
            _ => &SCALAR,
        };
        let row = log_n.clamp(LOG_N.0, LOG_N.1) - LOG_N.0;
        Self::from_array(table[row as usize].map(|nanoseconds| nanoseconds * 1e-9))
    }

    /// Seconds that each primitive of `work` takes.
    pub fn breakdown(&self, work: &Work) -> Primitives<f64> {
        let mut seconds = self.to_array();
        for (cost, amount) in seconds.iter_mut().zip(work.to_array()) {
            *cost *= amount as f64;
        }
        Primitives::from_array(seconds)
    }

    /// Seconds of all primitives of `work` together.
    pub fn seconds(&self, work: &Work) -> f64 {
        self.breakdown(work).to_array().iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_the_sum_of_units_times_their_costs() {
        let costs = PrimitiveCosts {
            forward: 2.0,
            key_byte: 0.5,
            ..PrimitiveCosts::default()
        };
        let work = Work {
            forward: 3,
            inverse: 100,
            key_byte: 8,
            ..Work::default()
        };
        assert_eq!(costs.seconds(&work), 10.0);
        let parts = costs.breakdown(&work);
        assert_eq!(
            (parts.forward, parts.key_byte, parts.inverse),
            (6.0, 4.0, 0.0)
        );
    }

    #[test]
    fn built_in_figures_are_those_of_kernel_and_degree() {
        let fast = PrimitiveCosts::built_in("avx512ifma", 16);
        assert_eq!(fast.forward, AVX512IFMA[3][0] * 1e-9);
        assert_eq!(
            PrimitiveCosts::built_in("avx512ifma", 12),
            PrimitiveCosts::built_in("avx512ifma", 13)
        );
        assert_eq!(
            PrimitiveCosts::built_in("own", 17),
            PrimitiveCosts::built_in("scalar", 20)
        );
        let avx2 = PrimitiveCosts::built_in("avx2", 14);
        assert_eq!(avx2.inverse, AVX2[1][1] * 1e-9);
        for table in [AVX512IFMA, AVX2, SCALAR] {
            assert!(table.iter().flatten().all(|cost| *cost > 0.0));
        }
    }
}
