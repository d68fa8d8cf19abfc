//! Ciphertexts between processes of one run: limbs as they lie in memory.

use super::SerialError;
use super::ciphertext::{DESCRIPTION, Description, SEEDED};
use super::frame::{Fields, Header, Kind};
use super::pack::check_residues;
use crate::ciphertext::Ciphertext;
use crate::error::ArithmeticError;
use crate::keys::KeyId;
use crate::params::{Fingerprint, Parameters};
use ckks_math::{Eval, RnsPoly};
use std::fmt;

/// Bytes of a [`Parcel`]'s label.
pub const LABEL_BYTES: usize =
    size_of::<u64>() + size_of::<Fingerprint>() + size_of::<KeyId>() + DESCRIPTION;

/// The first word of a label, in the order of bytes of the machine that wrote it; the words of its limbs have the same order.
const MARK: u64 = u64::from_be_bytes(*b"PLYPARC1");

/// A ciphertext on its way between two processes of one run: a label of [`LABEL_BYTES`], and limbs of N words as they lie in
/// memory, neither packed nor summed up. Whoever carries the bytes vouches for them; what they claim is checked on arrival.
///
/// The sender [packs](Self::pack) a ciphertext, and the receiver makes an [empty](Self::empty) parcel by the label. Then
/// [`Self::limbs`] of the one are copied into those of the other, and both are [opened](Self::open).
///
/// This is no format of files: another version of this crate, or a machine of another order of bytes, may not understand it.
pub struct Parcel {
    params: Parameters,
    key: KeyId,
    description: Description,
    parts: Vec<RnsPoly<Eval>>,
}

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parcel")
            .field("parts", &self.parts.len())
            .field("level", &self.description.level)
            .finish_non_exhaustive()
    }
}

impl Parcel {
    /// A parcel with a ciphertext of `params` under the secret key `key`.
    ///
    /// # Errors
    /// [`SerialError::Value`] for a ciphertext of other parameters, or whose predicted error is no finite number.
    pub fn pack(ct: Ciphertext, params: &Parameters, key: KeyId) -> Result<Self, SerialError> {
        let description = Description::of(&ct);
        description.check(params)?;
        let degree = params.degree();
        let mut limbs = ct.parts.iter().flat_map(RnsPoly::iter);
        if let Some(limb) = limbs.find(|limb| limb.len() != degree) {
            return Err(SerialError::value(
                "ring degree",
                limb.len(),
                degree.to_string(),
            ));
        }
        Ok(Self {
            params: params.clone(),
            key,
            description,
            parts: ct.parts,
        })
    }

    /// What the receiver must know before limbs can come.
    pub fn label(&self) -> [u8; LABEL_BYTES] {
        let mut label = [0; LABEL_BYTES];
        let mut rest = &mut label[..];
        let parts: [&[u8]; 4] = [
            &MARK.to_ne_bytes(),
            self.params.fingerprint(),
            self.key.as_bytes(),
            &self.description.to_bytes(),
        ];
        for part in parts {
            let (to, left) = rest.split_at_mut(part.len());
            to.copy_from_slice(part);
            rest = left;
        }
        label
    }

    /// A parcel for the ciphertext that a label tells of, which must be of `params` and under the secret key `key`. Its limbs
    /// have unspecified contents until they are written.
    ///
    /// # Errors
    /// [`SerialError::Parameters`] or [`SerialError::Key`] for one of other parameters or another key; [`SerialError::Value`]
    /// for what cannot be; or when the pool's budget is exhausted.
    pub fn empty(
        label: &[u8; LABEL_BYTES],
        params: &Parameters,
        key: KeyId,
    ) -> Result<Self, SerialError> {
        let mut fields = Fields::new(label);
        let mark = u64::from_ne_bytes(fields.bytes());
        if mark != MARK {
            let expected = format!("{MARK:016x}, in this machine's order of bytes");
            return Err(SerialError::value(
                "mark of a ciphertext",
                format!("{mark:016x}"),
                expected,
            ));
        }
        let header = Header {
            kind: Kind::Ciphertext,
            fingerprint: fields.bytes(),
            key: KeyId::from_bytes(fields.bytes()),
        };
        header.check_params(params)?;
        header.check_key(key)?;
        let description = Description::from_bytes(&fields.bytes(), params)?;
        if description.form == SEEDED {
            let expected = "2 or 3";
            return Err(SerialError::value(
                "number of polynomials",
                SEEDED,
                expected,
            ));
        }
        let limbs = description.level.limbs();
        let parts = (0..description.form).map(|_| RnsPoly::new(params.limbs(), limbs));
        let parts = parts.collect::<Result<_, _>>();
        Ok(Self {
            params: params.clone(),
            key,
            parts: parts.map_err(ArithmeticError::from)?,
            description,
        })
    }

    /// The limbs in order, 8 N bytes each.
    pub fn limbs(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let limbs = self.parts.iter_mut().flat_map(RnsPoly::iter_mut);
        limbs.map(|limb| bytemuck::cast_slice_mut(&mut limb[..]))
    }

    /// Bytes of all limbs.
    pub fn bytes(&self) -> u64 {
        let limbs: usize = self.parts.iter().map(RnsPoly::limbs).sum();
        limbs as u64 * self.params.limb_bytes()
    }

    /// The ciphertext, when all limbs are written.
    ///
    /// # Errors
    /// [`SerialError::Residue`] for a word that is not below its modulus.
    pub fn open(self) -> Result<Ciphertext, SerialError> {
        for part in &self.parts {
            let rings = self.params.q().iter();
            let mut limbs = part.iter().zip(rings);
            limbs.try_for_each(|(limb, ring)| check_residues(limb, ring.modulus()))?;
        }
        Ok(Ciphertext {
            parts: self.parts,
            scale: self.description.scale,
            tracked: self.description.tracked,
        })
    }
}
