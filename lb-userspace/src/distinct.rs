//! Which backends millions of slots name, without a tree or hash table of them.

use lb_common::slot::BackendIndex;

/// Each index once, in order.
#[must_use]
pub fn distinct(indices: impl Iterator<Item = BackendIndex>) -> Vec<BackendIndex> {
    let mut there = vec![0u64; (BackendIndex::MAX as usize + 1) / 64];
    for index in indices {
        there[usize::from(index) / 64] |= 1 << (index % 64);
    }
    let mut all = Vec::new();
    // A word at a time: nearly all are 0.
    for (first, word) in (0..=BackendIndex::MAX).step_by(64).zip(there).filter(|(_, word)| *word != 0) {
        all.extend((0..64).filter(|bit| word >> bit & 1 != 0).map(|bit| first + bit));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::distinct;

    #[test]
    fn each_is_there_once() {
        assert_eq!(distinct([7, 0, 65_535, 7, 64, 63, 0].into_iter()), [0, 7, 63, 64, 65_535]);
        assert!(distinct(std::iter::empty()).is_empty());
    }
}
