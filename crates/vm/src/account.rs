//! Who holds how many bytes, under one limit.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

/// The limit of one machine and what is charged against it.
#[derive(Debug)]
pub(crate) struct Account {
    limit: u64,
    /// Written by charges as they grow and go; at most `limit`. Relaxed: it guards no other memory.
    in_use: AtomicU64,
}

impl Account {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, in_use: AtomicU64::new(0) })
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn in_use(&self) -> u64 {
        self.in_use.load(Ordering::Relaxed)
    }

    /// A charge of nothing, to add to.
    pub(crate) fn open(self: &Arc<Self>) -> Charge {
        Charge { account: Arc::clone(self), bytes: AtomicU64::new(0) }
    }
}

/// The bytes of one map or program; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    account: Arc<Account>,
    /// Only grows.
    bytes: AtomicU64,
}

impl Charge {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Charges `bytes` more, before they are allocated; `None` and nothing changed when the limit forbids it.
    pub(crate) fn add(&self, bytes: u64) -> Option<()> {
        let limit = self.account.limit;
        let within = |in_use: u64| in_use.checked_add(bytes).filter(|sum| *sum <= limit);
        self.account.in_use.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).ok()?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Some(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.in_use.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_stop_at_the_limit_and_come_back() {
        let account = Account::new(100);
        let first = account.open();
        assert_eq!(first.add(60), Some(()));
        let second = account.open();
        assert_eq!(second.add(41), None);
        assert_eq!(second.add(u64::MAX), None, "the sum does not wrap");
        assert_eq!((second.bytes(), account.in_use()), (0, 60));
        assert_eq!(second.add(40), Some(()));
        drop(first);
        assert_eq!(account.in_use(), 40);
    }
}
