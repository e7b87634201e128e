//! A stable sort in place.
//!
//! The standard library's sorts panic if an order is not one, and the unstable one needs 3 KiB of stack. This
//! one does neither: it takes one pass over what is in order already, as tables nearly always are, and
//! O(n log² n) moves otherwise. Merging is by rotation ("Stable Minimum Storage Merging by Symmetric
//! Comparisons", Kim and Kutzner 2004): its recursion is as deep as the logarithm of the length.

/// Sorts by what `key` gives; equal items keep their order.
pub(crate) fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K + Copy) {
    if items.is_sorted_by_key(key) {
        return;
    }
    let mut width = 1_usize;
    while width < items.len() {
        // Never 0, which the compiler cannot know: chunks of no items are a panic.
        let merged = width.saturating_mul(2).max(1);
        for pair in items.chunks_mut(merged) {
            merge(pair, width, key);
        }
        width = merged;
    }
}

/// Merges `items[..middle]` and `items[middle..]`, each of which is in order.
fn merge<T, K: Ord>(items: &mut [T], middle: usize, key: impl Fn(&T) -> K + Copy) {
    let Some((left, right)) = items.split_at_checked(middle) else { return };
    let (Some(last), Some(first)) = (left.last(), right.first()) else { return };
    if key(last) <= key(first) {
        return;
    }
    if let ([_], right) = (left, right) {
        let wanted = key(last);
        let end = right.partition_point(|item| key(item) < wanted).saturating_add(1);
        rotate(items, 0, 1, end);
        return;
    }
    if let (left, [_]) = (left, right) {
        let wanted = key(first);
        let start = left.partition_point(|item| key(item) <= wanted);
        let end = items.len();
        rotate(items, start, middle, end);
        return;
    }
    // As many items as are left of the half go to the right of it for those that come from there: the split is
    // symmetric, so one search finds both places.
    let half = items.len() >> 1;
    let sum = half.saturating_add(middle);
    let (mut low, mut high) =
        if middle > half { (sum.saturating_sub(items.len()), half) } else { (0, middle) };
    let mirror = sum.saturating_sub(1);
    while low < high {
        let at = low.midpoint(high);
        let (Some(left), Some(right)) = (items.get(at), items.get(mirror.saturating_sub(at))) else { return };
        if key(left) <= key(right) {
            low = at.saturating_add(1);
        } else {
            high = at;
        }
    }
    let end = sum.saturating_sub(low);
    if low < middle && middle < end {
        rotate(items, low, middle, end);
    }
    if let Some((before, after)) = items.split_at_mut_checked(half) {
        merge(before, low, key);
        merge(after, end.saturating_sub(half), key);
    }
}

/// Exchanges `items[start..middle]` and `items[middle..end]`.
fn rotate<T>(items: &mut [T], start: usize, middle: usize, end: usize) {
    let Some(items) = items.get_mut(start..end) else { return };
    let distance = middle.saturating_sub(start);
    if distance <= items.len() {
        items.rotate_left(distance);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;

    use super::sort_by_key;

    proptest! {
        /// Beside the standard library's stable sort, with few different keys, so that many are equal.
        #[test]
        fn sorts_and_keeps_the_order_of_equals(keys in proptest::collection::vec(0_u8..20, 0..200)) {
            let mut items: std::vec::Vec<_> = keys.into_iter().enumerate().collect();
            let mut expected = items.clone();
            expected.sort_by_key(|(_, key)| *key);
            sort_by_key(&mut items, |(_, key)| *key);
            prop_assert_eq!(items, expected);
        }

        #[test]
        fn sorts_runs(lengths in proptest::collection::vec(1_usize..40, 1..8)) {
            let mut items: std::vec::Vec<_> = lengths.into_iter().flat_map(|length| 0..length).enumerate().collect();
            let mut expected = items.clone();
            expected.sort_by_key(|(_, key)| *key);
            sort_by_key(&mut items, |(_, key)| *key);
            prop_assert_eq!(items, expected);
        }
    }
}
