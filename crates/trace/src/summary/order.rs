//! Sorting, small: the standard library's sorts are fast for millions and ten times as long as code, which an embed
//! downloads.

/// Sorts a few thousand values by heap sort; `less` is a total order.
pub fn sort<T: Copy>(values: &mut [T], less: impl Fn(T, T) -> bool) {
    let sift = |values: &mut [T], mut root: usize, end: usize| {
        loop {
            let mut child = 2 * root + 1;
            if child >= end {
                return;
            }
            if child + 1 < end && less(values[child], values[child + 1]) {
                child += 1;
            }
            if !less(values[root], values[child]) {
                return;
            }
            values.swap(root, child);
            root = child;
        }
    };
    for root in (0..values.len() / 2).rev() {
        sift(values, root, values.len());
    }
    for end in (1..values.len()).rev() {
        values.swap(0, end);
        sift(values, 0, end);
    }
}

/// Sorts f64 as `total_cmp` orders them.
pub fn sort_f64(values: &mut [f64]) {
    sort(values, |a, b| a.total_cmp(&b).is_lt());
}

/// Sorts f32 as `total_cmp` orders them.
pub fn sort_f32(values: &mut [f32]) {
    sort(values, |a, b| a.total_cmp(&b).is_lt());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_sorts_as_the_standard_library_does(values in proptest::collection::vec(any::<f64>(), 0..200)) {
            let (mut ours, mut theirs) = (values.clone(), values);
            sort_f64(&mut ours);
            theirs.sort_by(f64::total_cmp);
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&ours), bits(&theirs), "order.rs");
        }
    }
}
