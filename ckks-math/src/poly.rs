//! Polynomials in residue representation, with the order of their words in the type.

use std::marker::PhantomData;

use crate::error::MathError;
use crate::ntt::LimbRing;
use crate::pool::{Limb, Pool};

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Coeff {}
    impl Sealed for super::Eval {}
}

/// The order of a polynomial's words: [`Coeff`] or [`Eval`].
pub trait Domain: sealed::Sealed + Send + Sync + 'static {}

/// Coefficient order: word `j` belongs to `X^j`.
#[derive(Clone, Copy, Debug)]
pub enum Coeff {}

/// Evaluation order: word `j` is the value at `psi^(2 brv(j) + 1)`.
#[derive(Clone, Copy, Debug)]
pub enum Eval {}

impl Domain for Coeff {}
impl Domain for Eval {}

/// A polynomial as limbs; limb `i` belongs to modulus `i` of whatever basis the owner says.
#[derive(Debug)]
pub struct RnsPoly<D: Domain> {
    limbs: Vec<Limb>,
    domain: PhantomData<D>,
}

impl<D: Domain> RnsPoly<D> {
    /// `limbs` limbs of unspecified contents.
    ///
    /// # Errors
    /// [`MathError::PoolExhausted`], [`MathError::OutOfMemory`].
    pub fn new(pool: &Pool, limbs: usize) -> Result<Self, MathError> {
        Ok(Self::from_limbs(
            (0..limbs).map(|_| pool.limb()).collect::<Result<_, _>>()?,
        ))
    }

    /// The zero polynomial.
    ///
    /// # Errors
    /// [`MathError::PoolExhausted`], [`MathError::OutOfMemory`].
    pub fn zeroed(pool: &Pool, limbs: usize) -> Result<Self, MathError> {
        Ok(Self::from_limbs(
            (0..limbs)
                .map(|_| pool.zeroed())
                .collect::<Result<_, _>>()?,
        ))
    }

    /// A polynomial of given limbs, which hold words in the order `D`.
    pub fn from_limbs(limbs: Vec<Limb>) -> Self {
        Self {
            limbs,
            domain: PhantomData,
        }
    }

    /// Number of limbs.
    pub fn limbs(&self) -> usize {
        self.limbs.len()
    }

    /// Limb `i`.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn limb(&self, i: usize) -> &Limb {
        &self.limbs[i]
    }

    /// Limb `i`.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn limb_mut(&mut self, i: usize) -> &mut Limb {
        &mut self.limbs[i]
    }

    /// The limbs in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Limb> {
        self.limbs.iter()
    }

    /// The limbs in order.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Limb> {
        self.limbs.iter_mut()
    }

    /// Keeps the first `limbs` limbs and gives the others back to the pool.
    pub fn truncate(&mut self, limbs: usize) {
        self.limbs.truncate(limbs);
    }

    /// Adds a limb at the end.
    pub fn push(&mut self, limb: Limb) {
        self.limbs.push(limb);
    }

    /// A copy, from the same pool.
    ///
    /// # Errors
    /// [`MathError::PoolExhausted`], [`MathError::OutOfMemory`].
    pub fn try_clone(&self) -> Result<Self, MathError> {
        Ok(Self::from_limbs(
            self.limbs
                .iter()
                .map(Limb::try_clone)
                .collect::<Result<_, _>>()?,
        ))
    }

    /// The limbs themselves.
    pub fn into_limbs(self) -> Vec<Limb> {
        self.limbs
    }
}

impl RnsPoly<Coeff> {
    /// Transforms every limb, in place; `rings[i]` is the ring of limb `i` (there may be more rings).
    ///
    /// # Panics
    /// If there are fewer rings than limbs.
    pub fn into_eval(mut self, rings: &[LimbRing]) -> RnsPoly<Eval> {
        assert!(rings.len() >= self.limbs(), "a ring for each limb");
        self.limbs
            .iter_mut()
            .zip(rings)
            .for_each(|(limb, ring)| ring.ntt(limb));
        RnsPoly::from_limbs(self.limbs)
    }
}

impl RnsPoly<Eval> {
    /// Transforms every limb back, in place; `rings[i]` is the ring of limb `i`.
    ///
    /// # Panics
    /// If there are fewer rings than limbs.
    pub fn into_coeff(mut self, rings: &[LimbRing]) -> RnsPoly<Coeff> {
        assert!(rings.len() >= self.limbs(), "a ring for each limb");
        self.limbs
            .iter_mut()
            .zip(rings)
            .for_each(|(limb, ring)| ring.intt(limb));
        RnsPoly::from_limbs(self.limbs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::KernelChoice;

    #[test]
    fn poly_goes_to_eval_and_back() {
        let pool = Pool::new(5, None);
        let rings: Vec<LimbRing> = crate::primes::ntt_primes_below(1 << 45, 5)
            .take(3)
            .map(|q| LimbRing::new(q, 5, &KernelChoice::Auto).unwrap())
            .collect();
        let mut poly = RnsPoly::<Coeff>::zeroed(&pool, 3).unwrap();
        poly.iter_mut().for_each(|limb| {
            limb.iter_mut()
                .enumerate()
                .for_each(|(j, w)| *w = j as u64 * 7)
        });
        let copy = poly.try_clone().unwrap();
        let eval = poly.into_eval(&rings);
        assert_ne!(eval.limb(1)[..], copy.limb(1)[..]);
        let back = eval.into_coeff(&rings);
        assert!(back.iter().zip(copy.iter()).all(|(a, b)| a[..] == b[..]));
    }

    #[test]
    fn poly_truncate_returns_limbs_to_the_pool() {
        let pool = Pool::new(5, None);
        let mut poly = RnsPoly::<Eval>::new(&pool, 4).unwrap();
        let per_limb = pool.in_use_bytes() / 4;
        poly.truncate(1);
        assert_eq!(pool.in_use_bytes(), per_limb);
        poly.push(pool.zeroed().unwrap());
        assert_eq!((poly.limbs(), poly.limb(1)[3]), (2, 0));
        drop(poly.into_limbs());
        assert_eq!(pool.in_use_bytes(), 0);
    }
}
