//! Limbs as parts.

use super::SerialError;
use super::frame::{PartReader, PartWriter, part_bytes};
use super::pack::{pack, packed_bytes, unpack};
use crate::params::Parameters;
use ckks_math::{Eval, Limb, LimbRing, RnsPoly};
use std::io::{Read, Write};

/// Writes limbs, each as a part; `buffer` is the packed bytes' memory.
pub(super) fn write_limbs<'a, W: Write>(
    parts: &mut PartWriter<W>,
    rings: &[LimbRing],
    limbs: impl IntoIterator<Item = &'a Limb>,
    buffer: &mut Vec<u8>,
) -> Result<(), SerialError> {
    for (ring, limb) in rings.iter().zip(limbs) {
        if limb.len() != ring.degree() {
            let expected = ring.degree().to_string();
            return Err(SerialError::value("ring degree", limb.len(), expected));
        }
        pack(limb, ring.modulus(), buffer);
        parts.part(buffer)?;
    }
    Ok(())
}

/// Reads one limb.
pub(super) fn read_limb<R: Read>(
    parts: &mut PartReader<R>,
    params: &Parameters,
    ring: &LimbRing,
    buffer: &mut Vec<u8>,
) -> Result<Limb, SerialError> {
    buffer.resize(packed_bytes(ring.degree(), ring.modulus()), 0);
    parts.part("a polynomial", buffer)?;
    let mut limb = params.limbs().limb()?;
    unpack(buffer, ring.modulus(), &mut limb)?;
    Ok(limb)
}

/// Reads a polynomial over some rings.
pub(super) fn read_poly<R: Read>(
    parts: &mut PartReader<R>,
    params: &Parameters,
    rings: &[LimbRing],
    buffer: &mut Vec<u8>,
) -> Result<RnsPoly<Eval>, SerialError> {
    let limbs = rings
        .iter()
        .map(|ring| read_limb(parts, params, ring, buffer));
    Ok(RnsPoly::from_limbs(limbs.collect::<Result<_, _>>()?))
}

/// Bytes of a polynomial over some rings in a stream.
pub(super) fn poly_bytes<'a>(rings: impl IntoIterator<Item = &'a LimbRing>) -> u64 {
    let bytes = |ring: &LimbRing| part_bytes(packed_bytes(ring.degree(), ring.modulus()) as u64);
    rings.into_iter().map(bytes).sum()
}
