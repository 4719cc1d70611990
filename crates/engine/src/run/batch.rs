//! Which tokens go through the blocks side by side: sentences are put together, and long ones cut, so that every
//! matrix product has enough rows to be worth the reading of its weights and few enough to stay in the caches.

use std::ops::Range;

/// Rows that go through a block together, at most.
pub const MOST_ROWS: usize = 132;
/// Rows that are worth being cut in two, so that one half is computed while the other is exchanged between workers. Each
/// half reads all of the weights: with fewer rows than this that costs more than the waiting does.
const WORTH_HALVING: usize = 72;
/// Rows come in tiles of the kernel: of four or of six.
const GRAIN: usize = 12;

/// Consecutive tokens of one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceSlice {
    /// Which sequence of the run.
    pub sequence: usize,
    /// Which of its tokens.
    pub tokens: Range<usize>,
}

/// Cuts the tokens of all sequences that are to be computed into batches, in their order. With `exchange` there are at
/// least two where that pays.
pub fn cut(wanted: &[Range<usize>], exchange: bool) -> Vec<Vec<SequenceSlice>> {
    let rows: usize = wanted.iter().map(ExactSizeIterator::len).sum();
    let least = if exchange && rows >= WORTH_HALVING { 2 } else { 1 };
    let count = rows.div_ceil(MOST_ROWS).max(least);
    let size = rows.div_ceil(count).next_multiple_of(GRAIN);
    let mut batches: Vec<Vec<SequenceSlice>> = Vec::new();
    let mut room = 0;
    for (sequence, tokens) in wanted.iter().enumerate() {
        let mut first = tokens.start;
        while first < tokens.end {
            if room == 0 {
                batches.push(Vec::new());
                room = size;
            }
            let beyond = tokens.end.min(first + room);
            if let Some(batch) = batches.last_mut() {
                batch.push(SequenceSlice { sequence, tokens: first..beyond });
            }
            room -= beyond - first;
            first = beyond;
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_token_goes_once_and_in_order(
            wanted in proptest::collection::vec((0usize..40, 0usize..400), 1..12),
            exchange in any::<bool>(),
        ) {
            let wanted: Vec<Range<usize>> = wanted.into_iter().map(|(keep, new)| keep..keep + new).collect();
            let batches = cut(&wanted, exchange);
            let mut next: Vec<usize> = wanted.iter().map(|tokens| tokens.start).collect();
            for batch in &batches {
                let rows: usize = batch.iter().map(|piece| piece.tokens.len()).sum();
                prop_assert!((1..=MOST_ROWS).contains(&rows), "batch.rs: a batch of {rows} rows");
                for piece in batch {
                    prop_assert_eq!(piece.tokens.start, next[piece.sequence], "batch.rs: out of order");
                    next[piece.sequence] = piece.tokens.end;
                }
            }
            let ends: Vec<usize> = wanted.iter().map(|tokens| tokens.end).collect();
            prop_assert_eq!(next, ends, "batch.rs: tokens were left out");
            let rows: usize = wanted.iter().map(ExactSizeIterator::len).sum();
            prop_assert!(!exchange || rows < WORTH_HALVING || batches.len() > 1, "batch.rs: nothing to overlap with");
        }
    }
}
