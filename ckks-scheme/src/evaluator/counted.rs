//! The arithmetic as evaluators use it: every primitive is counted where it is called.

use super::Evaluator;
use crate::counts::Work;
use crate::profile::Profile;
use ckks_math::{
    Automorphism, BaseConverter, Limb, LimbRing, MathError, Modulus, ResidueMatrix, WeightMatrix,
};

/// A limb's ring whose operations are counted. Methods are those of [`LimbRing`].
#[derive(Clone, Copy)]
pub(super) struct CountedRing<'a> {
    ring: &'a LimbRing,
    profile: &'a Profile,
}

impl<'a> CountedRing<'a> {
    pub(super) fn new(ring: &'a LimbRing, profile: &'a Profile) -> Self {
        Self { ring, profile }
    }

    fn count(&self, work: Work) {
        self.profile.count(work);
    }

    fn pass(&self, words: &[u64], products: u64, moved: u64) {
        self.count(Work::pass(words.len(), products, moved));
    }

    pub(super) fn modulus(&self) -> Modulus {
        self.ring.modulus()
    }

    pub(super) fn imaginary_unit(&self) -> u64 {
        self.ring.imaginary_unit()
    }

    pub(super) fn degree(&self) -> usize {
        self.ring.degree()
    }

    pub(super) fn ntt(&self, a: &mut [u64]) {
        self.count(Work::forward(self.ring.log_n()));
        self.ring.ntt(a);
    }

    pub(super) fn intt(&self, a: &mut [u64]) {
        self.count(Work::inverse(self.ring.log_n()));
        self.ring.intt(a);
    }

    pub(super) fn intt_into(&self, out: &mut [u64], a: &[u64]) {
        self.count(Work::inverse(self.ring.log_n()));
        self.ring.intt_into(out, a);
    }

    pub(super) fn ntt_sub_mul_scalar(&self, a: &mut [u64], minuend: &[u64], s: u64) {
        self.count(Work::forward(self.ring.log_n()));
        self.pass(minuend, 1, 1);
        self.ring.ntt_sub_mul_scalar(a, minuend, s);
    }

    pub(super) fn add_assign(&self, a: &mut [u64], b: &[u64]) {
        self.pass(a, 0, 3);
        self.ring.add_assign(a, b);
    }

    pub(super) fn sub_assign(&self, a: &mut [u64], b: &[u64]) {
        self.pass(a, 0, 3);
        self.ring.sub_assign(a, b);
    }

    pub(super) fn neg_assign(&self, a: &mut [u64]) {
        self.pass(a, 0, 2);
        self.ring.neg_assign(a);
    }

    pub(super) fn mul_into(&self, out: &mut [u64], a: &[u64], b: &[u64]) {
        self.pass(a, 1, 3);
        self.ring.mul_into(out, a, b);
    }

    pub(super) fn mul_scalar_assign(&self, a: &mut [u64], s: u64) {
        self.pass(a, 1, 2);
        self.ring.mul_scalar_assign(a, s);
    }

    pub(super) fn mul_scalar_into(&self, out: &mut [u64], a: &[u64], s: u64) {
        self.pass(a, 1, 2);
        self.ring.mul_scalar_into(out, a, s);
    }

    pub(super) fn mul_scalar_add_assign(&self, acc: &mut [u64], a: &[u64], s: u64) {
        self.pass(a, 1, 3);
        self.ring.mul_scalar_add_assign(acc, a, s);
    }

    pub(super) fn add_scalar_assign(&self, a: &mut [u64], s: u64) {
        self.pass(a, 0, 2);
        self.ring.add_scalar_assign(a, s);
    }

    pub(super) fn mul_i_assign(&self, a: &mut [u64]) {
        self.pass(a, 1, 2);
        self.ring.mul_i_assign(a);
    }

    pub(super) fn add_i_scalar_assign(&self, a: &mut [u64], re: u64, im: u64) {
        self.pass(a, 0, 2);
        self.ring.add_i_scalar_assign(a, re, im);
    }

    pub(super) fn change_modulus_centered_into(&self, out: &mut [u64], a: &[u64], from: Modulus) {
        self.pass(a, 0, 2);
        self.ring.change_modulus_centered_into(out, a, from);
    }

    pub(super) fn square_real_into(&self, [d0, d1, d2]: [&mut [u64]; 3], [z0, z1]: [&[u64]; 2]) {
        self.pass(z0, 3, 5);
        self.ring.square_real_into(d0, d1, d2, z0, z1);
    }

    pub(super) fn square_complex_into(
        &self,
        [d0, d1, d2]: [&mut [u64]; 3],
        [z0, z1]: [&[u64]; 2],
        [y0, y1]: [&[u64]; 2],
    ) {
        self.pass(z0, 8, 7);
        self.ring.square_complex_into(d0, d1, d2, z0, z1, y0, y1);
    }

    pub(super) fn tensor_into(
        &self,
        [d0, d1, d2]: [&mut [u64]; 3],
        [a0, a1]: [&[u64]; 2],
        [b0, b1]: [&[u64]; 2],
    ) {
        self.pass(a0, 4, 7);
        self.ring.tensor_into(d0, d1, d2, a0, a1, b0, b1);
    }

    /// A dot product whose second factors belong to a key.
    pub(super) fn dot_with_key_into(&self, out: &mut [u64], terms: &[(&[u64], &[u64])]) {
        self.count(Work::dot_with_key(out.len(), terms.len()));
        self.ring.dot_into(out, terms);
    }

    /// A dot product whose second factors are encoded diagonals.
    pub(super) fn dot_with_diagonals_into(&self, out: &mut [u64], terms: &[(&[u64], &[u64])]) {
        self.count(Work::dot_with_diagonals(out.len(), terms.len()));
        self.ring.dot_into(out, terms);
    }

    /// Residues of weights; `sub` is the ring's sub-ring of their degree.
    pub(super) fn generate(
        &self,
        residues: &mut ResidueMatrix,
        sub: &LimbRing,
        weights: &WeightMatrix,
    ) {
        let (entries, polys) = (weights.rows() * weights.cols(), weights.polys());
        self.count(Work::residues(entries * sub.degree()));
        self.count(Work::forward(sub.log_n()) * polys as u64);
        residues.generate(self.ring, sub, weights);
    }

    pub(super) fn block_matmul(
        &self,
        out: &mut [&mut [u64]],
        x: &[&[u64]],
        w: &ResidueMatrix,
        accumulate: bool,
    ) {
        let work = Work::matrix_product(self.degree(), out.len(), x.len(), accumulate);
        self.count(work);
        self.ring.block_matmul(out, x, w, accumulate);
    }
}

impl Evaluator {
    /// The rings of the first `limbs` ciphertext primes.
    pub(super) fn rings(
        &self,
        limbs: usize,
    ) -> impl ExactSizeIterator<Item = CountedRing<'_>> + Clone {
        self.counted(&self.params.q()[..limbs])
    }

    /// Those of the first `specials` special primes.
    pub(super) fn special_rings(
        &self,
        specials: usize,
    ) -> impl ExactSizeIterator<Item = CountedRing<'_>> + Clone {
        self.counted(&self.params.p()[..specials])
    }

    /// Those of the ciphertext primes, then those of the special primes.
    pub(super) fn extended_rings(
        &self,
        limbs: usize,
        specials: usize,
    ) -> impl Iterator<Item = CountedRing<'_>> + Clone {
        self.rings(limbs).chain(self.special_rings(specials))
    }

    pub(super) fn ring(&self, index: usize) -> CountedRing<'_> {
        CountedRing::new(&self.params.q()[index], &self.profile)
    }

    pub(super) fn counted<'a>(
        &'a self,
        rings: &'a [LimbRing],
    ) -> impl ExactSizeIterator<Item = CountedRing<'a>> + Clone {
        rings
            .iter()
            .map(|ring| CountedRing::new(ring, &self.profile))
    }

    pub(super) fn convert(&self, converter: &BaseConverter, dst: &mut [Limb], src: &[Limb]) {
        let words = self.params.degree();
        self.profile
            .count(Work::conversion(words, src.len(), dst.len()));
        self.convert_words(converter, dst, src);
    }

    pub(super) fn permute_into(&self, automorphism: &Automorphism, out: &mut Limb, src: &Limb) {
        self.profile.count(Work::permuted(src.len()));
        automorphism.apply_into(out, src);
    }

    pub(super) fn copy_limb(&self, limb: &Limb) -> Result<Limb, MathError> {
        self.profile.count(Work::pass(limb.len(), 0, 2));
        limb.try_clone()
    }

    pub(super) fn zero_limb(&self) -> Result<Limb, MathError> {
        self.profile.count(Work::pass(self.params.degree(), 0, 1));
        self.params.limbs().zeroed()
    }
}
