//! What a refresh takes, without encoding its matrices.

use super::eval_mod::EvalMod;
use super::{BootstrapError, BootstrapParams, Content, Order, Stage, matrices, memory};
use crate::ciphertext::Level;
use crate::counts::{Counts, Work};
use crate::error::{EvalError, KeyError};
use crate::keys::{Galois, KeyKind, KeyRequest};
use crate::linear::{DiagonalPattern, TransformPlan};

/// A refresh by [`crate::CosineBootstrapper`] as a list of what it does: its work by stage, keys, matrices and memory.
/// Made in a moment, so that a planner can look at many.
#[derive(Debug)]
pub struct BootstrapOutline {
    params: BootstrapParams,
    slots_to_coeffs: Vec<TransformPlan>,
    coeffs_to_slots: Vec<TransformPlan>,
    separation: Option<TransformPlan>,
    eval_mod: EvalMod,
}

/// Primitive work of one refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootstrapWork {
    /// Stage by stage.
    pub stages: [(Stage, Work); Stage::ALL.len()],
    /// What belongs to no stage: a copy of the input, and the separation of packed halves.
    pub rest: Work,
}

impl BootstrapWork {
    /// All of it.
    pub fn total(&self) -> Work {
        self.stages.iter().map(|(_, work)| *work).sum::<Work>() + self.rest
    }
}

impl BootstrapOutline {
    /// What [`crate::CosineBootstrapper::new`] prepares.
    ///
    /// # Errors
    /// As there, but for what concerns the encoding.
    pub fn new(params: &BootstrapParams) -> Result<Self, BootstrapError> {
        let scheme = params.scheme();
        let plan = |pattern: &DiagonalPattern, level| {
            TransformPlan::new(pattern, scheme.degree(), level, params.giant_cost(level))
        };
        let plans = |patterns: Vec<DiagonalPattern>, top: Level| {
            let each = patterns.iter().enumerate();
            let plans = each.map(|(i, pattern)| plan(pattern, Level::new(top.limbs() - i)));
            plans.collect::<Result<Vec<_>, EvalError>>()
        };
        let separation: Option<DiagonalPattern> = matrices::separation(params);
        let separation = separation.map(|pattern| plan(&pattern, params.sine_level()));
        let down = params.slots_to_coeffs_level();
        let mut coeffs_to_slots = plans(matrices::coeffs_to_slots(params), scheme.max_level())?;
        if let Some(first) = coeffs_to_slots.first_mut() {
            first.ephemeral = params.raised_weight();
        }
        Ok(Self {
            slots_to_coeffs: plans(matrices::slots_to_coeffs(params), down)?,
            coeffs_to_slots,
            separation: separation.transpose()?,
            eval_mod: EvalMod::new(params)?,
            params: params.clone(),
        })
    }

    /// The parameters.
    pub fn params(&self) -> &BootstrapParams {
        &self.params
    }

    /// The switching keys that a refresh needs.
    pub fn request(&self) -> KeyRequest {
        let lit = self.params.literal();
        let top = self.params.scheme().max_level();
        let mut request = KeyRequest::new();
        match self.params.raised_weight() {
            // The way back is that of the first matrix.
            Some(weight) => request.add(KeyKind::ToEphemeral(weight), Level::new(1)),
            None => request.encapsulation(lit.ephemeral_weight, top),
        }
        for t in self.plans() {
            t.request(&mut request);
        }
        for log in self.repetitions() {
            request.rotation(1 << log, top);
        }
        request.conjugation(self.last().level());
        request.relin(self.params.eval_mod_level());
        request
    }

    /// Bytes of the encoded matrices.
    pub fn matrix_bytes(&self) -> u64 {
        let chain = self.params.scheme().chain();
        self.plans().map(|t| t.bytes(chain)).sum()
    }

    /// Bytes of the limb pool that one refresh needs at most, see [`crate::Bootstrapper::working_bytes`].
    pub fn working_bytes(&self) -> u64 {
        memory::refresh_limbs(self) as u64 * self.params.scheme().limb_bytes()
    }

    /// The work of one refresh where `keys` are there: those of [`Self::request`], and others if a circuit needs them too.
    ///
    /// # Errors
    /// [`KeyError::Missing`] if they do not serve.
    pub fn work(&self, keys: &KeyRequest) -> Result<BootstrapWork, KeyError> {
        let params = &self.params;
        let scheme = params.scheme();
        let counts = scheme.counts();
        let keys = keys.reduced(scheme.log_n());
        let to_coeffs = self.slots_to_coeffs.iter();
        let to_coeffs = to_coeffs.map(|t| counts.linear_transform(t, true)).sum();
        let separation = self.separation.iter();
        let separation: Work = separation.map(|t| counts.linear_transform(t, true)).sum();
        let to_slots = self.to_slots(&counts, &keys)?;
        let (level, parts) = (params.eval_mod_level(), self.parts());
        let eval_mod = self.eval_mod.work(&counts, level, parts, &keys)?;
        let mod_raise = match params.raised_weight() {
            Some(_) => counts.raise(scheme.max_level()),
            None => counts.mod_raise(scheme.max_level()),
        };
        Ok(BootstrapWork {
            stages: [
                (Stage::SlotsToCoeffs, to_coeffs),
                (Stage::ModRaise, mod_raise),
                (Stage::CoeffsToSlots, to_slots),
                (Stage::EvalMod, eval_mod),
            ],
            rest: counts.copy(params.input_level()) + separation,
        })
    }

    fn to_slots(&self, counts: &Counts<'_>, keys: &KeyRequest) -> Result<Work, KeyError> {
        let top = self.params.scheme().max_level();
        let mut work = Work::default();
        for _ in self.repetitions() {
            work += counts.rotate(top, top) + counts.add(top);
        }
        let last = self.last();
        let others = self.coeffs_to_slots.iter().rev().skip(1);
        work += others.map(|t| counts.linear_transform(t, true)).sum();
        work += counts.linear_transform(last, false);
        let level = last.level();
        let key = keys.serving(KeyKind::Galois(Galois::Conjugation), level)?;
        work += counts.conjugate_rescale(level, key) + counts.rescale(level, 2);
        let below = Level::new(level.limbs() - 1);
        if self.parts() == 2 {
            work += counts.copy(below) + counts.add(below) + counts.mul_i(below);
        }
        Ok(work + counts.add(below))
    }

    /// How many ciphertexts EvalMod reduces.
    pub(super) fn parts(&self) -> usize {
        let lit = self.params.literal();
        // Real slots make real coefficients where SlotsToCoeffs comes first.
        let both = lit.content == Content::Complex || lit.order == Order::CoeffsToSlotsFirst;
        if both && !lit.pack_sparse { 2 } else { 1 }
    }

    /// What the transforms do: SlotsToCoeffs, CoeffsToSlots, the separation of packed halves.
    pub fn plans(&self) -> impl Iterator<Item = &TransformPlan> {
        let down = self.slots_to_coeffs.iter().chain(&self.coeffs_to_slots);
        down.chain(&self.separation)
    }

    pub(super) fn coeffs_to_slots(&self) -> &[TransformPlan] {
        &self.coeffs_to_slots
    }

    pub(super) fn eval_mod(&self) -> &EvalMod {
        &self.eval_mod
    }

    /// Logarithms of the rotations that sum up repeated slots.
    pub(super) fn repetitions(&self) -> std::ops::Range<u32> {
        self.params.literal().log_slots..self.params.scheme().log_n() - 1
    }

    fn last(&self) -> &TransformPlan {
        self.coeffs_to_slots.last().expect("at least one transform")
    }
}
