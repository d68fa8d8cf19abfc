//! The side of `poulpy-ckks`, on its AVX-512 IFMA backend.
//!
//! Its ciphertexts are polynomials of `k` bits in digits of `2^BASE2K`, not residues, so a modulus is a number of bits; a
//! product is rescaled as it is made, as many bits as the scale has.

use std::collections::HashMap;

use poulpy_ckks::api::{
    CKKSAllOpsTmpBytes, CKKSDecryptOps, CKKSEncodingHostOps, CKKSEncryptOps, CKKSModuleInfos,
    CKKSMulOps, CKKSRotateOps,
};
use poulpy_ckks::layouts::{
    CKKSCiphertextAlloc, CKKSCiphertextOwned, CKKSPlaintextAlloc, CKKSPlaintextOwned,
};
use poulpy_ckks::{CKKSLayout, GLWEPlaintextMeta, Scale, SlotsKind};
use poulpy_core::api::{
    GLWEAutomorphismKeyPreparedFactory, GLWESecretPreparedFactory, GLWESecretSampling,
    GLWETensorKeyPreparedFactory,
};
use poulpy_core::layouts::prepared::GLWESecretPrepared;
use poulpy_core::layouts::{
    Base2K, Degree, Dnum, GLWEAutomorphismKeyAlloc, GLWEAutomorphismKeyLayout,
    GLWEAutomorphismKeyPrepared, GLWELayout, GLWESecretAlloc, GLWETensorKeyAlloc,
    GLWETensorKeyLayout, GLWETensorKeyPrepared, Rank, TorusPrecision,
};
use poulpy_core::{GLWEAutomorphismKeyEncryptSk, GLWETensorKeyEncryptSk};
use poulpy_cpu_avx512::NTT3x42Ifma;
use poulpy_hal::api::{ScratchOwnedAlloc, ScratchOwnedBorrow};
use poulpy_hal::layouts::{Backend, Module, ScratchOwned};
use poulpy_hal::source::Source;

use crate::{BoxError, Side, ours};

type Bytes = <NTT3x42Ifma as Backend>::OwnedBuf;

/// Bits of a digit of a polynomial: what their own benches take.
const BASE2K: usize = 52;
/// Bits of the scale: those of ours.
const LOG_DELTA: usize = ours::PRIME_BITS;

pub struct Theirs {
    module: Module<NTT3x42Ifma>,
    scratch: ScratchOwned<NTT3x42Ifma>,
    secret: GLWESecretPrepared<Bytes, NTT3x42Ifma>,
    tensor_key: GLWETensorKeyPrepared<Bytes, NTT3x42Ifma>,
    rotation_keys: HashMap<i64, GLWEAutomorphismKeyPrepared<Bytes, NTT3x42Ifma>>,
    ciphertext: CKKSCiphertextOwned<NTT3x42Ifma>,
    product: CKKSCiphertextOwned<NTT3x42Ifma>,
    rotated: CKKSCiphertextOwned<NTT3x42Ifma>,
    plaintext: CKKSPlaintextOwned<NTT3x42Ifma>,
    rotated_last: bool,
    log_qp: f64,
    slots: usize,
}

fn glwe(n: usize, k: usize) -> GLWELayout {
    GLWELayout {
        n: Degree(n as u32),
        base2k: Base2K(BASE2K as u32),
        k: TorusPrecision(k as u32),
        rank: Rank(1),
    }
}

fn meta() -> GLWEPlaintextMeta {
    GLWEPlaintextMeta {
        scale: Scale::Log(LOG_DELTA),
        slots: SlotsKind::Complex,
        log_sparsity: 0,
    }
}

impl Theirs {
    pub fn new(log_n: u32, k: usize, digits: usize, slots: &[f64]) -> Result<Self, BoxError> {
        let n = 1 << log_n;
        let module = Module::<NTT3x42Ifma>::new(n as u64);
        let limbs_of_digit = k.div_ceil(BASE2K).div_ceil(digits);
        let k_digit = limbs_of_digit * BASE2K;
        let dnum = k.div_ceil(k_digit);
        // The guard that their tests take.
        let k_aux = k_digit + log_n as usize;
        let tensor_layout = GLWETensorKeyLayout {
            n: Degree(n as u32),
            base2k: Base2K(BASE2K as u32),
            dnum: Dnum(dnum as u32),
            k_aux: TorusPrecision(k_aux as u32),
            rank: Rank(1),
            k_digit: TorusPrecision(k_digit as u32),
        };
        let rotation_layout = GLWEAutomorphismKeyLayout {
            n: tensor_layout.n,
            base2k: tensor_layout.base2k,
            dnum: tensor_layout.dnum,
            k_aux: tensor_layout.k_aux,
            rank: tensor_layout.rank,
            k_digit: tensor_layout.k_digit,
        };
        let layout = glwe(n, k);
        let mut ciphertext = module.ckks_ciphertext_alloc_from_glwe_infos(&layout);
        ciphertext.set_meta_checked(meta())?;
        let precision = CKKSLayout {
            glwe_layout: glwe(n, LOG_DELTA + 8),
            meta: meta(),
        };
        let encoding_bytes =
            CKKSEncodingHostOps::<NTT3x42Ifma, f64>::ckks_encoding_host_tmp_bytes(&module, n / 2);
        let bytes = module
            .ckks_all_ops_with_atk_tmp_bytes(
                &ciphertext,
                &precision,
                &tensor_layout,
                &rotation_layout,
            )
            .max(encoding_bytes);
        let mut scratch = ScratchOwned::<NTT3x42Ifma>::alloc(bytes);

        let mut seeds = (0u8..).map(|i| Source::new([i; 32]));
        let mut source = || seeds.next().expect("few seeds are needed");
        let mut secret_raw = module.glwe_secret_alloc_from_infos(&layout);
        module.glwe_secret_fill_ternary_prob(&mut secret_raw, 2.0 / 3.0, &mut source());
        let mut secret = module.glwe_secret_prepared_alloc_from_infos(&layout);
        module.glwe_secret_prepare(&mut secret, &secret_raw);
        let mut key = module.glwe_tensor_key_alloc_from_infos(&tensor_layout);
        module.glwe_tensor_key_encrypt_sk(
            &mut key,
            &secret_raw,
            &mut source(),
            &mut source(),
            &mut scratch.borrow(),
        );
        let mut tensor_key = module.glwe_tensor_key_prepared_alloc_from_infos(&tensor_layout);
        module.glwe_tensor_key_prepare(&mut tensor_key, &key, &mut scratch.borrow());
        let element = module.ckks_galois_element(1);
        let mut key = module.glwe_automorphism_key_alloc_from_infos(&rotation_layout);
        module.glwe_automorphism_key_encrypt_sk(
            &mut key,
            element,
            &secret_raw,
            &mut source(),
            &mut source(),
            &mut scratch.borrow(),
        );
        let mut rotation_key =
            module.glwe_automorphism_key_prepared_alloc_from_infos(&rotation_layout);
        module.glwe_automorphism_key_prepare(&mut rotation_key, &key, &mut scratch.borrow());

        let mut plaintext =
            module.ckks_plaintext_alloc_from_slots(n / 2, BASE2K.into(), (LOG_DELTA + 8).into());
        plaintext.set_meta_checked(meta())?;
        let zeros = vec![0.0; n / 2];
        module.ckks_encode_slots_host_into(&mut plaintext, slots, &zeros, &mut scratch.borrow())?;
        module.ckks_encrypt_sk(
            &mut ciphertext,
            &plaintext,
            &secret,
            &mut source(),
            &mut source(),
            &mut scratch.borrow(),
        )?;
        Ok(Self {
            product: module.ckks_ciphertext_alloc_from_glwe_infos(&glwe(n, k - LOG_DELTA)),
            rotated: module.ckks_ciphertext_alloc_from_glwe_infos(&layout),
            rotation_keys: HashMap::from([(element, rotation_key)]),
            module,
            scratch,
            secret,
            tensor_key,
            ciphertext,
            plaintext,
            rotated_last: false,
            log_qp: (dnum * k_digit + k_aux) as f64,
            slots: n / 2,
        })
    }
}

impl Side for Theirs {
    fn multiply(&mut self) {
        let result = self.module.ckks_mul_into(
            &mut self.product,
            &self.ciphertext,
            &self.ciphertext,
            &self.tensor_key,
            &mut self.scratch.borrow(),
        );
        result.expect("key and widths fit");
        self.rotated_last = false;
    }

    fn rotate(&mut self) {
        let result = self.module.ckks_rotate_into(
            1,
            &mut self.rotated,
            &self.ciphertext,
            &self.rotation_keys,
            &mut self.scratch.borrow(),
        );
        result.expect("the key is there");
        self.rotated_last = true;
    }

    fn decrypt(&mut self) -> Vec<f64> {
        let result = if self.rotated_last {
            &self.rotated
        } else {
            &self.product
        };
        let decrypted = self.module.ckks_decrypt(
            &mut self.plaintext,
            result,
            &self.secret,
            &mut self.scratch.borrow(),
        );
        decrypted.expect("a ciphertext of this key");
        let (mut re, mut im) = (vec![0.0; self.slots], vec![0.0; self.slots]);
        let decoded = self.module.ckks_decode_slots_host_into(
            &self.plaintext,
            &mut re,
            &mut im,
            &mut self.scratch.borrow(),
        );
        decoded.expect("as many slots as were encoded");
        re
    }

    fn log_qp(&self) -> f64 {
        self.log_qp
    }
}
