//! How the images of a batch fall into groups: full ones, and a last one that may have a layout of its own.

use std::ops::Range;

use he_layers::PreparedProgram;

/// Room of the groups of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Images that a group has room for, at least 1.
    pub images: usize,
    /// Images that a last group of a layout of its own has room for. What is left after full groups is such a group if it fits
    /// there, and otherwise a group like all others.
    pub last: Option<usize>,
}

/// One group of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupImages {
    /// Positions of its images in the batch.
    pub range: Range<usize>,
    /// Whether it has the layout of the last group.
    pub is_last: bool,
    /// Images that it has room for.
    pub room: usize,
}

impl Grouping {
    /// Groups of one size.
    pub fn of(images: usize) -> Self {
        Self { images, last: None }
    }

    /// Room of the groups that a program is prepared for, and of a last one.
    pub fn of_programs(prepared: &PreparedProgram, last: Option<&PreparedProgram>) -> Self {
        Self {
            images: prepared.images(),
            last: last.map(PreparedProgram::images),
        }
    }

    /// Number of the groups of a batch of `images` images.
    pub fn count(self, images: usize) -> usize {
        images.div_ceil(self.images)
    }

    /// Images of a batch that are in a last group of a layout of its own.
    pub fn in_last(self, images: usize) -> usize {
        let left = images % self.images;
        match self.last {
            Some(room) if left <= room => left,
            _ => 0,
        }
    }

    /// The groups of a batch of `images` images.
    pub fn groups(self, images: usize) -> impl Iterator<Item = GroupImages> {
        let in_last = self.in_last(images);
        (0..images).step_by(self.images).map(move |first| {
            let is_last = in_last > 0 && first + in_last == images;
            GroupImages {
                range: first..images.min(first + self.images),
                is_last,
                room: match (is_last, self.last) {
                    (true, Some(room)) => room,
                    _ => self.images,
                },
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_a_last_group_where_it_fits() {
        let of = |last, images| {
            let grouping = Grouping { images: 256, last };
            let groups: Vec<_> = grouping.groups(images).collect();
            assert_eq!(groups.len(), grouping.count(images));
            let sizes = groups.iter().map(|g| (g.range.len(), g.is_last));
            assert_eq!(groups.last().map_or(0, |g| g.range.end), images);
            sizes.collect::<Vec<_>>()
        };
        let (full, one) = ((256, false), (1, true));
        assert_eq!(of(None, 257), [full, (1, false)]);
        assert_eq!(of(Some(32), 257), [full, one]);
        assert_eq!(of(Some(32), 512), [full, full]);
        assert_eq!(of(Some(32), 545), [full, full, (33, false)]);
        assert_eq!(of(Some(32), 32), [(32, true)]);
        assert_eq!(of(Some(32), 33), [(33, false)]);
        assert_eq!(of(Some(32), 0), []);
    }
}
