//! Which bytes of a file are here, asked for, or wanted.

use std::ops::Range;

use rangemap::RangeSet;

/// A set of byte positions. Unlike the `RangeSet` in it, it takes empty ranges, and says how much of a range is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByteRanges(RangeSet<u64>);

impl ByteRanges {
    /// The ranges, lowest first: disjoint, and joined where they touch.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().cloned()
    }

    /// How many bytes the ranges have in all.
    pub fn count(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    /// Adds a range; says how many of its positions were new.
    pub fn add(&mut self, range: Range<u64>) -> u64 {
        let new = self.missing(&range).map(|gap| gap.end - gap.start).sum();
        if !range.is_empty() {
            self.0.insert(range);
        }
        new
    }

    /// Takes a range out.
    pub fn remove(&mut self, range: Range<u64>) {
        if !range.is_empty() {
            self.0.remove(range);
        }
    }

    /// Whether all of a range is there.
    pub fn covers(&self, range: &Range<u64>) -> bool {
        self.missing(range).next().is_none()
    }

    /// The parts of a range that are not there, lowest first.
    pub fn missing<'a>(&'a self, range: &'a Range<u64>) -> impl Iterator<Item = Range<u64>> + 'a {
        (!range.is_empty()).then(|| self.0.gaps(range)).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn ranges_are_a_set_of_positions(steps in proptest::collection::vec((any::<bool>(), 0u64..60, 0u64..20), 0..40)) {
            let (mut ranges, mut set) = (ByteRanges::default(), BTreeSet::new());
            for (add, begin, length) in steps {
                let range = begin..begin + length;
                if add {
                    let new = range.clone().filter(|&at| set.insert(at)).count() as u64;
                    prop_assert_eq!(ranges.add(range), new, "byte_ranges.rs: add miscounts what is new");
                } else {
                    set.retain(|at| !range.contains(at));
                    ranges.remove(range);
                }
                let listed: Vec<u64> = ranges.iter().flatten().collect();
                prop_assert_eq!(&listed, &set.iter().copied().collect::<Vec<_>>());
                let ends: Vec<_> = ranges.iter().collect();
                prop_assert!(ends.windows(2).all(|pair| pair[0].end < pair[1].start), "not joined: {ends:?}");
                for probe in [0..80, 10..11, 7..30, 25..25] {
                    let missing: Vec<u64> = ranges.missing(&probe).flatten().collect();
                    let expected: Vec<u64> = probe.clone().filter(|at| !set.contains(at)).collect();
                    prop_assert_eq!(ranges.covers(&probe), expected.is_empty());
                    prop_assert_eq!(missing, expected);
                }
                prop_assert_eq!(ranges.count(), set.len() as u64);
            }
        }
    }
}
