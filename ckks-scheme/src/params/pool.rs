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

#[cfg(test)]
mod tests {
    use crate::params::Parameters;

    #[test]
    fn budget_reservation_and_marks_are_those_of_the_pool() {
        let set = Parameters::builder().log_n(10).q_bits([40]).p_bits([40]);
        let set = set.build_insecure_for_tests().expect("set");
        let (pool, limb) = (set.pool(), set.limb_bytes());
        let (used, mapped) = (pool.in_use_bytes(), pool.mapped_bytes());
        pool.reserve(100).expect("memory");
        assert_eq!(pool.in_use_bytes(), used);
        assert!(pool.mapped_bytes() >= mapped + 100 * limb - 64 * limb);
        let kept = pool.0.limb().expect("a limb");
        drop(pool.0.limb().expect("another"));
        assert_eq!(pool.in_use_bytes(), used + limb);
        assert_eq!(pool.high_water_bytes(), used + 2 * limb);
        pool.reset_high_water();
        assert_eq!(pool.high_water_bytes(), used + limb);
        pool.set_budget(Some(used + limb));
        assert!(pool.0.limb().is_err() && pool.reserve(1).is_err());
        pool.set_budget(None);
        drop((kept, pool.0.limb().expect("memory")));
    }
}
