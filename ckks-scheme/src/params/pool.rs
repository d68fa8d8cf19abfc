//! The limb pool, as those who do not touch its words see it.

use crate::error::ArithmeticError;
use ckks_math::Pool;

/// The pool that all polynomials of a parameter set live in: its budget and its use. Cloning shares it.
#[derive(Clone, Debug)]
pub struct LimbPool(pub(crate) Pool);

impl LimbPool {
    /// Sets the budget in bytes. Polynomials in use above it stay valid, but no new one is given out.
    pub fn set_budget(&self, bytes: Option<u64>) {
        self.0.set_budget(bytes);
    }

    /// Maps memory until `limbs` limbs are free, on up to four threads: fresh pages are slow.
    ///
    /// # Errors
    /// If that many cannot be used within the budget, or the system refuses.
    pub fn reserve(&self, limbs: usize) -> Result<(), ArithmeticError> {
        Ok(self.0.reserve(limbs)?)
    }

    /// Bytes of all limbs in use.
    pub fn in_use_bytes(&self) -> u64 {
        self.0.in_use_bytes()
    }

    /// Largest value of [`Self::in_use_bytes`] since the start or the last reset.
    pub fn high_water_bytes(&self) -> u64 {
        self.0.high_water_bytes()
    }

    /// Starts a new measurement of the high-water mark from what is in use now.
    pub fn reset_high_water(&self) {
        self.0.reset_high_water();
    }

    /// Bytes taken from the system.
    pub fn mapped_bytes(&self) -> u64 {
        self.0.mapped_bytes()
    }
}
