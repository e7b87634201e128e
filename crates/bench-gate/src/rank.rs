//! Order statistics without sorting: windows are short, and nothing here may panic.

/// The `rank`-th smallest value, from 0; none if there are not so many.
pub(crate) fn nth<T: Ord + Copy>(values: impl Iterator<Item = T> + Clone, rank: usize) -> Option<T> {
    values.clone().find(|candidate| {
        let below = values.clone().filter(|value| value < candidate).count();
        let equal = values.clone().filter(|value| value == candidate).count();
        below <= rank && rank < below.saturating_add(equal)
    })
}

#[cfg(test)]
mod tests {
    use super::nth;

    #[test]
    fn ranks_are_those_of_a_sorted_slice() {
        let values = [5, 1, 5, 3, 9, 1, 7];
        let mut sorted = values;
        sorted.sort_unstable();
        for (rank, value) in sorted.into_iter().enumerate() {
            assert_eq!(nth(values.into_iter(), rank), Some(value));
        }
        assert_eq!(nth(values.into_iter(), values.len()), None);
    }
}
