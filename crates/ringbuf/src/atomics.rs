//! The machine's own atomics, as the seam asks for them.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::Order;
use crate::memory::{Length, Marks, Position};

impl Position for AtomicUsize {
    #[inline(always)]
    fn load(&self, order: Order) -> usize {
        self.load(order.ordering())
    }

    #[inline(always)]
    fn store(&self, value: usize, order: Order) {
        self.store(value, order.ordering());
    }

    #[inline(always)]
    fn fetch_add(&self, value: usize, order: Order) -> usize {
        self.fetch_add(value, order.ordering())
    }

    #[inline(always)]
    fn compare_exchange_weak(&self, current: usize, new: usize, order: Order) -> Result<usize, usize> {
        self.compare_exchange_weak(current, new, order.ordering(), Ordering::Relaxed)
    }
}

impl Length for AtomicU32 {
    #[inline(always)]
    fn load(&self, order: Order) -> u32 {
        self.load(order.ordering())
    }

    #[inline(always)]
    fn store(&self, value: u32, order: Order) {
        self.store(value, order.ordering());
    }

    #[inline(always)]
    fn swap(&self, value: u32, order: Order) -> u32 {
        self.swap(value, order.ordering())
    }
}

impl Marks for AtomicUsize {
    #[inline(always)]
    fn load(&self, order: Order) -> usize {
        self.load(order.ordering())
    }

    #[inline(always)]
    fn fetch_or(&self, bits: usize, order: Order) -> usize {
        self.fetch_or(bits, order.ordering())
    }

    #[inline(always)]
    fn fetch_and(&self, bits: usize, order: Order) -> usize {
        self.fetch_and(bits, order.ordering())
    }
}
