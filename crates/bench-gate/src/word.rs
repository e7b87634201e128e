//! The seam to shared memory: words of 32 bits.

use core::sync::atomic::AtomicU32;
#[cfg(target_has_atomic = "32")]
use core::sync::atomic::Ordering;

use crate::order::Order;

/// A word that threads share. Production is [`AtomicU32`]; a model checker has its own, and so may a kernel.
pub trait Word {
    /// Reads it.
    fn load(&self, order: Order) -> u32;

    /// Writes it.
    fn store(&self, value: u32, order: Order);

    /// What to do between two looks at it.
    fn pause(&self) {
        core::hint::spin_loop();
    }
}

/// A word that can be changed in one step with reading it. Small microcontrollers have none.
pub trait Exchange: Word {
    /// Writes `new` if it is `current`, which may fail for no reason. The order is that of success; failure is relaxed.
    ///
    /// # Errors
    /// What it is instead.
    fn compare_exchange_weak(&self, current: u32, new: u32, order: Order) -> Result<u32, u32>;
}

impl Word for AtomicU32 {
    #[inline]
    fn load(&self, order: Order) -> u32 {
        Self::load(self, order.ordering())
    }

    #[inline]
    fn store(&self, value: u32, order: Order) {
        Self::store(self, value, order.ordering());
    }
}

#[cfg(target_has_atomic = "32")]
impl Exchange for AtomicU32 {
    #[inline]
    fn compare_exchange_weak(&self, current: u32, new: u32, order: Order) -> Result<u32, u32> {
        Self::compare_exchange_weak(self, current, new, order.ordering(), Ordering::Relaxed)
    }
}
