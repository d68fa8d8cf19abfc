//! Operations of the arithmetic crate.

use bench_suite::measure;
use bench_suite::naming::BenchId;
use bench_suite::ring::PRIME_BITS;
use bench_suite::work::Work;
use ckks_math::{
    BaseConverter, KernelChoice, Limb, LimbRing, MathError, Pool, ResidueMatrix, WeightMatrix,
    primes,
};

use crate::{BoxError, Item};

/// Primes of a ring, as many as transforms cycle through.
const PRIMES: usize = 32;
/// Smallest degree of transforms.
const LOG_N_MIN: u32 = 13;
/// Source and target limbs of the base conversions: a ModUp and a ModDown of ResNet-20 at the top, half-way, near the end.
const CONVERSIONS: [(usize, usize); 4] = [(11, 21), (11, 20), (6, 12), (2, 4)];
/// Cells of an image at batch 512.
const CELLS: usize = 128;
/// Rows, columns, accumulating: whole stages of ResNet-20, and the pieces that the executor multiplies.
const PRODUCTS: [(usize, usize, bool); 6] = [
    (16, 144, false),
    (32, 288, false),
    (64, 576, false),
    (16, 9, true),
    (32, 18, true),
    (64, 36, true),
];

pub struct Kernels {
    log_n: u32,
    /// For each degree from the smallest on.
    rings: Vec<Vec<LimbRing>>,
}

impl Kernels {
    pub fn new(log_n: u32, kernel: &KernelChoice) -> Result<Self, MathError> {
        let of_degree = |log_n| {
            primes::ntt_primes_below(1 << PRIME_BITS, log_n)
                .take(PRIMES)
                .map(|q| LimbRing::new(q, log_n, kernel))
                .collect()
        };
        let rings = (LOG_N_MIN.min(log_n)..=log_n).map(of_degree);
        Ok(Self {
            log_n,
            rings: rings.collect::<Result<_, _>>()?,
        })
    }

    pub fn kernel_name(&self) -> &'static str {
        self.rings[0][0].kernel_name()
    }

    pub fn items(&self) -> Vec<Item<'_>> {
        let mut items = Vec::new();
        for rings in &self.rings {
            items.extend([self.transform(rings, false), self.transform(rings, true)]);
        }
        items.extend(CONVERSIONS.map(|(from, to)| self.conversion(from, to)));
        items.extend(PRODUCTS.map(|(rows, cols, accumulate)| self.product(rows, cols, accumulate)));
        items
    }

    fn id(&self, operation: &str, log_n: u32) -> BenchId {
        BenchId::new("ckks-math", operation, self.kernel_name()).param("logn", log_n as usize)
    }

    /// Limb after limb, each of another prime than the one before.
    fn transform<'a>(&'a self, rings: &'a [LimbRing], inverse: bool) -> Item<'a> {
        let log_n = rings[0].log_n();
        let name = if inverse { "intt" } else { "ntt" };
        Item {
            id: self.id(name, log_n),
            label: format!("{name} 2^{log_n}"),
            work: Work::ntt(log_n),
            operations: 1,
            make: Box::new(move |bytes| {
                let mut limbs = Operands::new(rings).limbs(bytes / limb_bytes(log_n))?;
                let mut at = 0;
                Ok(measure::whole(move || {
                    let ring = &rings[at % rings.len()];
                    let limb = &mut limbs[at];
                    if inverse {
                        ring.intt(limb);
                    } else {
                        ring.ntt(limb);
                    }
                    at = (at + 1) % limbs.len();
                }))
            }),
        }
    }

    fn top(&self) -> &[LimbRing] {
        self.rings.last().expect("at least one degree")
    }

    fn conversion(&self, from: usize, to: usize) -> Item<'_> {
        let rings = &self.top()[..from + to];
        Item {
            id: self
                .id("base_conversion", self.log_n)
                .params(&[("from", from), ("to", to)]),
            label: format!("base conversion {from} to {to} limbs"),
            work: Work::conversion(self.log_n, from, to),
            operations: 1,
            make: Box::new(move |bytes| {
                let converter = BaseConverter::new(&rings[..from], &rings[from..])?;
                let set_bytes = (from + to) * limb_bytes(self.log_n);
                let operands = Operands::new(rings);
                let mut sets = (0..(bytes / set_bytes).max(1))
                    .map(|_| operands.limbs(from + to))
                    .collect::<Result<Vec<_>, _>>()?;
                let mut at = 0;
                Ok(measure::whole(move || {
                    let (source, target) = sets[at].split_at_mut(from);
                    let source: Vec<&[u64]> = source.iter().map(|limb| &limb[..]).collect();
                    let mut target: Vec<_> = target.iter_mut().map(|limb| &mut limb[..]).collect();
                    converter.convert_into(&mut target, &source);
                    at = (at + 1) % sets.len();
                }))
            }),
        }
    }

    fn product(&self, rows: usize, cols: usize, accumulate: bool) -> Item<'_> {
        let ring = &self.top()[0];
        let suffix = if accumulate { "_accumulate" } else { "" };
        let verb = if accumulate { ", accumulating" } else { "" };
        let work = Work::matmul(self.log_n, (rows, cols), 2 * CELLS, accumulate);
        Item {
            id: self.id(&format!("matmul{suffix}"), self.log_n).params(&[
                ("m", rows),
                ("k", cols),
                ("g", CELLS),
            ]),
            label: format!("matrix product {rows} x {cols}{verb}"),
            work,
            operations: 1,
            make: Box::new(move |bytes| {
                let log_blocks = (2 * CELLS).trailing_zeros();
                let mut weights = WeightMatrix::new(rows, cols, log_blocks);
                for i in 0..rows * cols {
                    weights.set_scalar(i / cols, i % cols, i as i64 + 1);
                }
                let mut residues = ResidueMatrix::default();
                residues.generate(ring, &ring.subring(log_blocks)?, &weights);
                let set_bytes = (rows + cols) * limb_bytes(self.log_n);
                let operands = Operands::new(&self.top()[..1]);
                let mut sets = (0..(bytes / set_bytes).max(1))
                    .map(|_| operands.limbs(rows + cols))
                    .collect::<Result<Vec<_>, _>>()?;
                let mut at = 0;
                Ok(measure::whole(move || {
                    let (out, x) = sets[at].split_at_mut(rows);
                    let mut out: Vec<_> = out.iter_mut().map(|limb| &mut limb[..]).collect();
                    let x: Vec<&[u64]> = x.iter().map(|limb| &limb[..]).collect();
                    ring.block_matmul(&mut out, &x, &residues, accumulate);
                    at = (at + 1) % sets.len();
                }))
            }),
        }
    }
}

fn limb_bytes(log_n: u32) -> usize {
    8 << log_n
}

/// Limbs of arbitrary residues.
struct Operands<'a> {
    rings: &'a [LimbRing],
    pool: Pool,
}

impl<'a> Operands<'a> {
    fn new(rings: &'a [LimbRing]) -> Self {
        Self {
            rings,
            pool: Pool::new(rings[0].log_n(), None),
        }
    }

    /// At least one; limb `i` belongs to prime `i`, and so on around.
    fn limbs(&self, count: usize) -> Result<Vec<Limb>, BoxError> {
        let limb = |i: usize| -> Result<Limb, BoxError> {
            let modulus = self.rings[i % self.rings.len()].modulus();
            let mut limb = self.pool.limb()?;
            for (j, word) in limb.iter_mut().enumerate() {
                let hash = ((i << 20 | j) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                *word = modulus.reduce(hash);
            }
            Ok(limb)
        };
        (0..count.max(1)).map(limb).collect()
    }
}
