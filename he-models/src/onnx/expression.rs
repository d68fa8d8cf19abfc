//! Tensors while a file is read: a node of the graph, and a polynomial of it per channel that is not a node yet.
//!
//! However a file writes a quadratic (`a x^2 + b x + c`, `x (a x + b) + c`, `a (x + t)^2 + d`, in any order and with any
//! operators), it is collected here and becomes one activation when something else reads it.

/// Highest degree that is collected.
const MAX_DEGREE: usize = 64;

/// A tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Map {
    /// The node.
    pub node: String,
    /// Channels, rows and columns.
    pub shape: (usize, usize, usize),
    /// Two dimensions instead of four.
    pub flat: bool,
    /// `[power][channel]`: what is added up of the powers of the node's values. One of power 1 is the node itself.
    pub powers: Vec<Vec<f64>>,
    /// After a softmax: nothing may read it.
    pub softmax: bool,
}

impl Map {
    pub(super) fn of(node: String, shape: (usize, usize, usize), flat: bool) -> Self {
        Self {
            node,
            shape,
            flat,
            powers: vec![vec![0.0; shape.0], vec![1.0; shape.0]],
            softmax: false,
        }
    }

    /// Values of one image.
    pub(super) fn volume(&self) -> usize {
        self.shape.0 * self.shape.1 * self.shape.2
    }

    pub(super) fn is_node(&self) -> bool {
        let all = |power: usize, value: f64| self.powers[power].iter().all(|v| *v == value);
        self.powers.len() == 2 && all(0, 0.0) && all(1, 1.0)
    }

    /// A constant as one value for each channel, if it is such.
    pub(super) fn per_channel(&self, shape: &[usize], values: &[f64]) -> Option<Vec<f64>> {
        let (channels, pixels) = (self.shape.0, self.shape.1 * self.shape.2);
        if let [value] = values {
            return Some(vec![*value; channels]);
        }
        let rank = if self.flat { 2 } else { 4 };
        let padded = [vec![1; rank.max(shape.len()) - shape.len()], shape.to_vec()].concat();
        let mut expected = vec![1; rank];
        expected[1] = channels;
        (padded == expected && (!self.flat || pixels == 1)).then(|| values.to_vec())
    }

    pub(super) fn plus(mut self, constant: &[f64]) -> Self {
        self.powers[0]
            .iter_mut()
            .zip(constant)
            .for_each(|(v, c)| *v += c);
        self
    }

    pub(super) fn times(mut self, constant: &[f64]) -> Self {
        for power in &mut self.powers {
            power.iter_mut().zip(constant).for_each(|(v, c)| *v *= c);
        }
        self
    }

    /// The sum, of tensors that are polynomials of one node.
    pub(super) fn plus_map(mut self, other: &Self) -> Option<Self> {
        if (&self.node, self.flat) != (&other.node, other.flat) {
            return None;
        }
        let degree = self.powers.len().max(other.powers.len());
        self.powers.resize(degree, vec![0.0; self.shape.0]);
        for (mine, theirs) in self.powers.iter_mut().zip(&other.powers) {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
        Some(self.trimmed())
    }

    /// The product, of tensors that are polynomials of one node.
    pub(super) fn times_map(mut self, other: &Self) -> Option<Self> {
        let count = self.powers.len() + other.powers.len() - 1;
        if (&self.node, self.flat) != (&other.node, other.flat) || count > MAX_DEGREE + 1 {
            return None;
        }
        let mut powers = vec![vec![0.0; self.shape.0]; count];
        for (i, a) in self.powers.iter().enumerate() {
            for (j, b) in other.powers.iter().enumerate() {
                for (sum, (a, b)) in powers[i + j].iter_mut().zip(a.iter().zip(b)) {
                    *sum += a * b;
                }
            }
        }
        self.powers = powers;
        Some(self.trimmed())
    }

    /// A whole power from 1 on.
    pub(super) fn powered(self, exponent: usize) -> Option<Self> {
        let mut product = self.clone();
        for _ in 1..exponent.min(MAX_DEGREE + 2) {
            product = product.times_map(&self)?;
        }
        Some(product)
    }

    /// Without leading zeros.
    fn trimmed(mut self) -> Self {
        while self.powers.len() > 2
            && self
                .powers
                .last()
                .is_some_and(|p| p.iter().all(|v| *v == 0.0))
        {
            self.powers.pop();
        }
        self
    }
}
