//! Lists of sizes, as files compute them to reshape a tensor. The number of images stays open.

use super::{Array, Map};

/// Sizes in order; none where it is the number of images.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sizes(pub Vec<Option<i64>>);

impl Sizes {
    /// The shape of a tensor.
    pub(super) fn of(map: &Map) -> Self {
        let (channels, height, width) = map.shape;
        let sizes = if map.flat {
            vec![map.volume()]
        } else {
            vec![channels, height, width]
        };
        let sizes = sizes.into_iter().map(|n| i64::try_from(n).ok());
        Self(std::iter::once(None).chain(sizes).collect())
    }

    /// A constant list.
    pub(super) fn constant(array: &Array) -> Self {
        Self(array.integers().into_iter().map(Some).collect())
    }

    /// The sizes at some positions; negative ones count from the end.
    pub(super) fn gather(&self, positions: &[i64]) -> Option<Self> {
        let count = i64::try_from(self.0.len()).ok()?;
        let at = |position: &i64| {
            let position = if *position < 0 {
                position + count
            } else {
                *position
            };
            self.0.get(usize::try_from(position).ok()?).copied()
        };
        positions
            .iter()
            .map(at)
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }

    /// Whether the first entry can be the number of images, and the others with at most one -1 are `expected`.
    pub(super) fn is_batch_of(&self, expected: &[usize], batch: Option<i64>) -> bool {
        let Some((first, rest)) = self.0.split_first() else {
            return false;
        };
        if rest.len() != expected.len() {
            return false;
        }
        let exact = |(found, expected): (&Option<i64>, &usize)| {
            found.is_some_and(|n| usize::try_from(n) == Ok(*expected))
        };
        let open = rest.iter().filter(|n| **n == Some(-1)).count();
        let same = |(found, expected): (&Option<i64>, &usize)| {
            *found == Some(-1) || exact((found, expected))
        };
        match first {
            // -1 here leaves no other size open.
            Some(-1) => rest.iter().zip(expected).all(exact),
            None | Some(0) => open <= 1 && rest.iter().zip(expected).all(same),
            Some(n) if Some(*n) == batch => open <= 1 && rest.iter().zip(expected).all(same),
            Some(_) => rest.iter().zip(expected).all(exact),
        }
    }
}
