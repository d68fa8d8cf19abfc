//! What a transform does, without its numbers.

use super::split::Split;
use super::{DiagonalMatrix, LEAST_BLOCK, period};
use crate::ciphertext::Level;
use crate::error::EvalError;
use crate::keys::{KeyKind, KeyRequest};
use crate::params::ModulusChain;
use ckks_math::WeightMatrix;
use std::collections::BTreeSet;

/// Which diagonals a matrix has, and the shortest period that they all have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiagonalPattern {
    pub(super) dim: usize,
    pub(super) diagonals: BTreeSet<usize>,
    pub(super) period: usize,
}

impl DiagonalPattern {
    /// That of a matrix.
    pub fn of(matrix: &DiagonalMatrix) -> Self {
        Self {
            dim: matrix.dim(),
            diagonals: matrix.iter().map(|(d, _)| d).collect(),
            period: matrix.iter().map(|(_, d)| period(d)).max().unwrap_or(2),
        }
    }
}

/// What [`crate::LinearTransform`] does at a level: steps, products and keys, but no numbers. It can be made without
/// encoding anything, so that a planner can look at many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransformPlan {
    pub(super) level: Level,
    pub(super) babies: Vec<i64>,
    pub(super) giants: Vec<i64>,
    pub(super) rows: Vec<usize>,
    pub(super) period: Option<usize>,
    /// For what is raised from level 1 and still under an ephemeral secret of that weight: rotations of the input lead back to
    /// the secret. Their keys have one digit and there is no ModUp, so that many baby steps pay.
    pub(crate) ephemeral: Option<u32>,
}

impl TransformPlan {
    /// What [`crate::LinearTransform::new`] makes of a matrix with that pattern in a ring of degree `degree`.
    ///
    /// # Errors
    /// [`EvalError::Shape`] for a matrix of zeros or a dimension that does not divide the slots.
    pub fn new(
        pattern: &DiagonalPattern,
        degree: usize,
        level: Level,
        giant_cost: f64,
    ) -> Result<Self, EvalError> {
        let split = Split::checked(pattern, degree, giant_cost)?;
        Ok(Self::of_split(pattern, &split, degree, level))
    }

    pub(super) fn of_split(
        pattern: &DiagonalPattern,
        split: &Split,
        degree: usize,
        level: Level,
    ) -> Self {
        let mut rows = vec![0; split.giants.len()];
        for d in &pattern.diagonals {
            let (_, giant) = split.of(*d);
            let row = split.giants.iter().position(|g| *g == giant);
            rows[row.expect("every diagonal has its steps")] += 1;
        }
        let periodic = 2 * pattern.period * LEAST_BLOCK <= degree;
        Self {
            level,
            babies: split.babies.clone(),
            giants: split.giant_rotations().collect(),
            rows,
            period: periodic.then_some(pattern.period),
            ephemeral: None,
        }
    }

    /// Weight of the ephemeral secret that its input is under, if it is under one.
    pub fn ephemeral(&self) -> Option<u32> {
        self.ephemeral
    }

    /// Level of the ciphertexts that it takes.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Rotation steps of the input.
    pub fn babies(&self) -> &[i64] {
        &self.babies
    }

    /// Rotation steps of the sum so far before the next giant is added, in order of evaluation.
    pub fn giants(&self) -> &[i64] {
        &self.giants
    }

    /// Diagonals of each giant, in order of evaluation.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// Number of diagonals.
    pub fn diagonals(&self) -> usize {
        self.rows.iter().sum()
    }

    /// The period of diagonals that are kept as coefficients in a sub-ring; `None` if they are written out.
    pub fn period(&self) -> Option<usize> {
        self.period
    }

    /// Bytes of the encoded diagonals.
    pub fn bytes(&self, chain: &ModulusChain) -> u64 {
        let diagonals = self.diagonals();
        if let Some(period) = self.period {
            let log = (2 * period).ilog2();
            let (rows, cols) = (self.rows.len(), self.babies.len());
            return WeightMatrix::bytes_of(rows, cols, log, diagonals) as u64;
        }
        let limbs = self.level.limbs() + chain.key_shape(self.level).specials;
        (diagonals * limbs) as u64 * chain.limb_bytes()
    }

    /// Adds the rotation keys that it needs.
    pub fn request(&self, request: &mut KeyRequest) {
        for &steps in &self.babies {
            match self.ephemeral {
                Some(weight) => request.add(KeyKind::FromEphemeral { weight, steps }, self.level),
                None => request.rotation(steps, self.level),
            }
        }
        for &steps in &self.giants {
            request.rotation(steps, self.level);
        }
    }
}
