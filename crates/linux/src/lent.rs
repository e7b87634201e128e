//! Memory of which there may be one view at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Holds the word that says that the memory is lent, and takes it back when dropped.
pub(crate) struct Lent(Arc<AtomicBool>);

impl Lent {
    /// `None` while somebody else holds it.
    pub(crate) fn take(is_lent: &Arc<AtomicBool>) -> Option<Self> {
        // Acquire: pairs with the Release when the one before was dropped; who comes next finds the last position that it wrote.
        let is_taken = is_lent.swap(true, Ordering::Acquire);
        (!is_taken).then(|| Self(Arc::clone(is_lent)))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `take`.
        self.0.store(false, Ordering::Release);
    }
}
