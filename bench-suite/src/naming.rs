//! Names of measurements. They are built here and nowhere by hand, so that results of different benches and days compare.

use std::fmt;

use serde::{Serialize, Serializer};

/// `{crate}/{operation}/{kernel}/{parameters}/b{batch}/t{outer}x{inner}`, as in
/// `he-layers/conv3x3_s1/avx512ifma/logn16_l12/b32/t4x8`.
///
/// ```
/// use bench_suite::naming::BenchId;
/// let id = BenchId::new("ckks-scheme", "rotate", "scalar").param("logn", 13).param("l", 4).threads(2, 1);
/// assert_eq!(id.to_string(), "ckks-scheme/rotate/scalar/logn13_l4/b1/t2x1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchId {
    crate_name: &'static str,
    operation: String,
    kernel: String,
    params: Vec<(&'static str, usize)>,
    batch: usize,
    outer: usize,
    inner: usize,
}

impl BenchId {
    /// An operation of a crate on a kernel: no parameters, batch 1, one thread.
    pub fn new(crate_name: &'static str, operation: &str, kernel: &str) -> Self {
        Self {
            crate_name,
            operation: operation.to_owned(),
            kernel: kernel.to_owned(),
            params: Vec::new(),
            batch: 1,
            outer: 1,
            inner: 1,
        }
    }

    /// Adds a parameter: `logn` the ring's logarithm of the degree, `l` the level, and others.
    #[must_use]
    pub fn param(mut self, name: &'static str, value: usize) -> Self {
        self.params.push((name, value));
        self
    }

    /// Adds parameters.
    #[must_use]
    pub fn params(mut self, params: &[(&'static str, usize)]) -> Self {
        self.params.extend_from_slice(params);
        self
    }

    /// Images, or ciphertexts, that are worked on together.
    #[must_use]
    pub fn batch(mut self, batch: usize) -> Self {
        self.batch = batch;
        self
    }

    /// `outer` independent copies of the operation side by side, each on `inner` threads.
    #[must_use]
    pub fn threads(mut self, outer: usize, inner: usize) -> Self {
        (self.outer, self.inner) = (outer, inner);
        self
    }

    /// The parameters.
    pub fn parameters(&self) -> &[(&'static str, usize)] {
        &self.params
    }

    /// The kernel's name.
    pub fn kernel(&self) -> &str {
        &self.kernel
    }

    /// Threads, outer and inner.
    pub fn thread_count(&self) -> usize {
        self.outer * self.inner
    }
}

impl fmt::Display for BenchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/", self.crate_name, self.operation, self.kernel)?;
        for (i, (name, value)) in self.params.iter().enumerate() {
            write!(f, "{}{name}{value}", if i > 0 { "_" } else { "" })?;
        }
        if self.params.is_empty() {
            f.write_str("-")?;
        }
        write!(f, "/b{}/t{}x{}", self.batch, self.outer, self.inner)
    }
}

impl Serialize for BenchId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_names_crate_operation_kernel_parameters_batch_and_threads() {
        let id = BenchId::new("he-layers", "conv3x3_s1", "avx512ifma")
            .params(&[("logn", 16), ("l", 12)])
            .batch(32)
            .threads(4, 8);
        assert_eq!(
            id.to_string(),
            "he-layers/conv3x3_s1/avx512ifma/logn16_l12/b32/t4x8"
        );
        let id = BenchId::new("ckks-math", "peak", "scalar");
        assert_eq!(id.to_string(), "ckks-math/peak/scalar/-/b1/t1x1");
    }
}
