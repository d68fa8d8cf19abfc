//! Images to slots and back.

use num_complex::Complex64;

use super::Layout;
use crate::error::LayerError;
use crate::tensor::PlainTensor;

impl Layout {
    /// Images to slots: one vector of `slots` complex numbers for each ciphertext. A batch smaller than [`Self::images`]
    /// leaves zeros.
    ///
    /// # Errors
    /// [`LayerError::Batch`] if there are too many images, [`LayerError::Shape`] if they have another shape.
    pub fn pack(&self, x: &PlainTensor) -> Result<Vec<Vec<Complex64>>, LayerError> {
        if x.shape != self.shape {
            return Err(LayerError::Shape {
                layer: "pack".to_owned(),
                found: x.shape,
                expected: self.shape,
            });
        }
        if x.n > self.images() {
            return Err(LayerError::Batch {
                found: x.n,
                capacity: self.images(),
            });
        }
        let mut cts = vec![vec![Complex64::default(); self.slots]; self.ciphertexts()];
        self.visit(x.n, |index, (ct, slot, imaginary)| {
            let value = &mut cts[ct][slot];
            if imaginary {
                value.im = x.data[index];
            } else {
                value.re = x.data[index];
            }
        });
        Ok(cts)
    }

    /// Slots back to the first `n` images.
    ///
    /// # Errors
    /// [`LayerError::Batch`] if the layout does not hold `n` images, [`LayerError::Count`] if vectors or their lengths are
    /// not those of the layout.
    pub fn unpack(&self, cts: &[Vec<Complex64>], n: usize) -> Result<PlainTensor, LayerError> {
        if n > self.images() {
            return Err(LayerError::Batch {
                found: n,
                capacity: self.images(),
            });
        }
        self.check_slots(cts)?;
        let mut x = PlainTensor::zeros(n, self.shape);
        self.visit(n, |index, (ct, slot, imaginary)| {
            let value = cts[ct][slot];
            x.data[index] = if imaginary { value.im } else { value.re };
        });
        Ok(x)
    }

    /// Checks that `cts` are slot vectors of this layout.
    pub(crate) fn check_slots(&self, cts: &[Vec<Complex64>]) -> Result<(), LayerError> {
        if cts.len() != self.ciphertexts() {
            return Err(LayerError::Count {
                what: "slot vectors",
                found: cts.len(),
                expected: self.ciphertexts(),
            });
        }
        match cts.iter().find(|ct| ct.len() != self.slots) {
            Some(ct) => Err(LayerError::Count {
                what: "slots",
                found: ct.len(),
                expected: self.slots,
            }),
            None => Ok(()),
        }
    }

    /// Calls `f` with the index in a plain tensor and the slot of every number of `n` images.
    fn visit(&self, n: usize, mut f: impl FnMut(usize, (usize, usize, bool))) {
        let mut index = 0;
        for image in 0..n {
            for c in 0..self.shape.channels {
                for y in 0..self.shape.height {
                    for x in 0..self.shape.width {
                        f(index, self.slot_of(image, c, y, x));
                        index += 1;
                    }
                }
            }
        }
    }
}
