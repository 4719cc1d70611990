//! Two texts side by side: which token of one is which of the other.

/// Positions of two texts' tokens in pairs, in order: equal ids in as many pairs as can be (a longest common subsequence),
/// others alone. Of several ways the one that pairs the earlier tokens.
pub fn aligned(first: &[u32], second: &[u32]) -> Vec<(Option<usize>, Option<usize>)> {
    let (n, m) = (first.len(), second.len());
    // common[i][j]: pairs among first[i..] and second[j..].
    let mut common = vec![0u16; (n + 1) * (m + 1)];
    let at = |i: usize, j: usize| i * (m + 1) + j;
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            common[at(i, j)] = match first[i] == second[j] {
                true => common[at(i + 1, j + 1)].saturating_add(1),
                false => common[at(i + 1, j)].max(common[at(i, j + 1)]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut pairs = Vec::with_capacity(n.max(m));
    while i < n || j < m {
        if i < n && j < m && first[i] == second[j] {
            pairs.push((Some(i), Some(j)));
            (i, j) = (i + 1, j + 1);
        } else if i < n && (j == m || common[at(i + 1, j)] >= common[at(i, j + 1)]) {
            pairs.push((Some(i), None));
            i += 1;
        } else {
            pairs.push((None, Some(j)));
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shared_tokens_stand_side_by_side() {
        let pairs = aligned(&[1, 2, 3, 4], &[1, 9, 8, 3, 4, 5]);
        let shared: Vec<_> = pairs.iter().filter(|(a, b)| a.is_some() && b.is_some()).collect();
        assert_eq!(shared, [&(Some(0), Some(0)), &(Some(2), Some(3)), &(Some(3), Some(4))], "align.rs: {pairs:?}");
        assert_eq!(pairs.len(), 7, "align.rs: every other token stands alone: {pairs:?}");
    }

    proptest! {
        #[test]
        fn every_token_stands_once_in_order_and_pairs_are_equal(
            first in proptest::collection::vec(0u32..5, 0..24),
            second in proptest::collection::vec(0u32..5, 0..24),
        ) {
            let pairs = aligned(&first, &second);
            let (a, b): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
            prop_assert_eq!(a.into_iter().flatten().collect::<Vec<_>>(), (0..first.len()).collect::<Vec<_>>());
            prop_assert_eq!(b.into_iter().flatten().collect::<Vec<_>>(), (0..second.len()).collect::<Vec<_>>());
            let unequal = |pair: &&(Option<usize>, Option<usize>)| matches!(pair, (Some(i), Some(j)) if first[*i] != second[*j]);
            prop_assert_eq!(pairs.iter().find(unequal), None, "align.rs: a pair of different tokens");
            let paired = pairs.iter().filter(|(a, b)| a.is_some() && b.is_some()).count();
            prop_assert!(paired >= usize::from(first.iter().any(|id| second.contains(id))), "align.rs: a shared token is missed");
        }
    }
}
