//! Runs of bytes: disjoint, in order, and joined where they touch.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of byte positions, kept as its runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs(BTreeMap<u64, u64>);

impl Runs {
    /// The runs, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(&begin, &end)| begin..end)
    }

    /// Positions in all.
    pub fn len(&self) -> u64 {
        self.iter().map(|run| run.end - run.start).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a run; says how many of its positions were new.
    pub fn add(&mut self, run: Range<u64>) -> u64 {
        if run.is_empty() {
            return 0;
        }
        let (mut begin, mut end, mut known) = (run.start, run.end, 0);
        // Those that overlap the new run, or touch it.
        let touching: Vec<_> = self.0.range(..=run.end).rev().take_while(|&(_, &e)| e >= run.start).collect();
        let touching: Vec<(u64, u64)> = touching.into_iter().map(|(&b, &e)| (b, e)).collect();
        for (b, e) in touching {
            known += e.min(run.end).saturating_sub(b.max(run.start));
            (begin, end) = (begin.min(b), end.max(e));
            self.0.remove(&b);
        }
        self.0.insert(begin, end);
        run.end - run.start - known
    }

    /// Takes a run out.
    pub fn remove(&mut self, run: Range<u64>) {
        if run.is_empty() {
            return;
        }
        let overlapping: Vec<(u64, u64)> =
            self.0.range(..run.end).rev().take_while(|&(_, &e)| e > run.start).map(|(&b, &e)| (b, e)).collect();
        for (b, e) in overlapping {
            self.0.remove(&b);
            if b < run.start {
                self.0.insert(b, run.start);
            }
            if e > run.end {
                self.0.insert(run.end, e);
            }
        }
    }

    /// Whether all of a run is there.
    pub fn covers(&self, run: &Range<u64>) -> bool {
        run.is_empty() || self.0.range(..=run.start).next_back().is_some_and(|(_, &end)| end >= run.end)
    }

    /// The parts of a run that are not there, lowest first.
    pub fn missing(&self, run: &Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = run.start;
        let first = self.0.range(..=run.start).next_back().map_or(run.start, |(&begin, _)| begin);
        for (&begin, &end) in self.0.range(first..run.end.max(first)) {
            if begin > at {
                gaps.push(at..begin);
            }
            at = at.max(end);
        }
        if at < run.end {
            gaps.push(at..run.end);
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn runs_are_a_set_of_positions(steps in proptest::collection::vec((any::<bool>(), 0u64..60, 0u64..20), 0..40)) {
            let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
            for (add, begin, length) in steps {
                let run = begin..begin + length;
                if add {
                    let new = run.clone().filter(|&at| set.insert(at)).count() as u64;
                    prop_assert_eq!(runs.add(run), new, "runs.rs: add miscounts what is new");
                } else {
                    set.retain(|at| !run.contains(at));
                    runs.remove(run);
                }
                let listed: Vec<u64> = runs.iter().flatten().collect();
                prop_assert_eq!(&listed, &set.iter().copied().collect::<Vec<_>>());
                let ends: Vec<_> = runs.iter().collect();
                prop_assert!(ends.windows(2).all(|pair| pair[0].end < pair[1].start), "not joined: {ends:?}");
                for probe in [0..80, 10..11, 7..30, 25..25] {
                    let missing: Vec<u64> = runs.missing(&probe).into_iter().flatten().collect();
                    let expected: Vec<u64> = probe.clone().filter(|at| !set.contains(at)).collect();
                    prop_assert_eq!(runs.covers(&probe), expected.is_empty());
                    prop_assert_eq!(missing, expected);
                }
                prop_assert_eq!(runs.len(), set.len() as u64);
            }
        }
    }
}
