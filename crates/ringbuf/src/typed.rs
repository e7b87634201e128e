//! Records that are values of a type.
//!
//! A payload stands on a multiple of eight and is as long as its producer said, so a value of a plain type can be written and looked at in place.
//! Which types are plain is for [bytemuck](https://docs.rs/bytemuck) or [zerocopy](https://docs.rs/zerocopy) to say: each comes with the feature of its name.

use core::fmt;

/// A payload is not as long as the type asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrongLength {
    /// Bytes of the type.
    pub expected: usize,
    /// Bytes of the payload.
    pub payload: usize,
}

impl fmt::Display for WrongLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a payload of {} bytes is no value of {} bytes", self.payload, self.expected)
    }
}

impl core::error::Error for WrongLength {}

#[cfg(feature = "bytemuck")]
mod with_bytemuck {
    use bytemuck::{AnyBitPattern, NoUninit};

    use super::WrongLength;
    use crate::memory::{Contiguous, Memory, Publication};
    use crate::{ExclusiveProducer, Payload, Producer, Record, ReserveError, SubmitFlags, Wakeup};

    impl<M: Memory, P: Publication> Producer<M, P> {
        /// Submits a record that is `value`.
        ///
        /// # Errors
        /// Why there is no space for it.
        pub fn output_pod<T: NoUninit>(&self, value: &T, flags: SubmitFlags) -> Result<Wakeup, ReserveError> {
            self.output(bytemuck::bytes_of(value), flags)
        }
    }

    impl<M: Memory> ExclusiveProducer<M> {
        /// Submits a record that is `value`.
        ///
        /// # Errors
        /// Why there is no space for it.
        pub fn output_pod<T: NoUninit>(
            &mut self,
            value: &T,
            flags: SubmitFlags,
        ) -> Result<Wakeup, ReserveError> {
            self.output(bytemuck::bytes_of(value), flags)
        }
    }

    impl<M: Contiguous> Record<'_, M> {
        /// The payload as a value.
        ///
        /// # Errors
        /// When the payload is longer or shorter than a `T`.
        pub fn pod<T: AnyBitPattern>(&self) -> Result<T, WrongLength> {
            pod(self)
        }
    }

    impl<M: Contiguous> Payload<'_, M> {
        /// The payload as a value.
        ///
        /// # Errors
        /// When the payload is longer or shorter than a `T`.
        pub fn pod<T: AnyBitPattern>(&self) -> Result<T, WrongLength> {
            pod(self)
        }
    }

    fn pod<T: AnyBitPattern>(payload: &[u8]) -> Result<T, WrongLength> {
        let wrong = WrongLength { expected: size_of::<T>(), payload: payload.len() };
        bytemuck::try_pod_read_unaligned(payload).map_err(|_| wrong)
    }
}

#[cfg(feature = "zerocopy")]
mod with_zerocopy {
    use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

    use super::WrongLength;
    use crate::memory::{Contiguous, Memory, Publication};
    use crate::{
        ExclusiveProducer, Payload, Producer, Record, Reservation, ReserveError, SubmitFlags, Wakeup,
    };

    impl<M: Memory, P: Publication> Producer<M, P> {
        /// Submits a record that is `value`.
        ///
        /// # Errors
        /// Why there is no space for it.
        pub fn output_value<T: IntoBytes + Immutable + ?Sized>(
            &self,
            value: &T,
            flags: SubmitFlags,
        ) -> Result<Wakeup, ReserveError> {
            self.output(value.as_bytes(), flags)
        }
    }

    impl<M: Memory> ExclusiveProducer<M> {
        /// Submits a record that is `value`.
        ///
        /// # Errors
        /// Why there is no space for it.
        pub fn output_value<T: IntoBytes + Immutable + ?Sized>(
            &mut self,
            value: &T,
            flags: SubmitFlags,
        ) -> Result<Wakeup, ReserveError> {
            self.output(value.as_bytes(), flags)
        }
    }

    impl<M: Contiguous> Reservation<'_, M> {
        /// The payload as a value to fill in, in place; it holds whatever stood there before.
        ///
        /// # Errors
        /// When the payload is longer or shorter than a `T`.
        pub fn value_mut<T: FromBytes + IntoBytes + KnownLayout>(&mut self) -> Result<&mut T, WrongLength> {
            let wrong = WrongLength { expected: size_of::<T>(), payload: self.len() };
            T::mut_from_bytes(self).map_err(|_| wrong)
        }
    }

    impl<M: Contiguous> Record<'_, M> {
        /// The payload as a value, in place.
        ///
        /// # Errors
        /// When the payload is longer or shorter than a `T`, or a `T` must stand on more than a multiple of eight.
        pub fn value<T: FromBytes + Immutable + KnownLayout>(&self) -> Result<&T, WrongLength> {
            value(self)
        }
    }

    impl<M: Contiguous> Payload<'_, M> {
        /// The payload as a value, in place.
        ///
        /// # Errors
        /// When the payload is longer or shorter than a `T`, or a `T` must stand on more than a multiple of eight.
        pub fn value<T: FromBytes + Immutable + KnownLayout>(&self) -> Result<&T, WrongLength> {
            value(self)
        }
    }

    fn value<T: FromBytes + Immutable + KnownLayout>(payload: &[u8]) -> Result<&T, WrongLength> {
        let wrong = WrongLength { expected: size_of::<T>(), payload: payload.len() };
        T::ref_from_bytes(payload).map_err(|_| wrong)
    }
}

#[cfg(all(test, feature = "bytemuck", feature = "zerocopy"))]
mod tests {
    use crate::{FlatRing, PageOffset, SubmitFlags, WrongLength, marks_for};

    #[derive(
        Clone,
        Copy,
        Debug,
        PartialEq,
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout,
        bytemuck::Pod,
        bytemuck::Zeroable,
    )]
    #[repr(C)]
    struct Event {
        process: u32,
        kind: u32,
        bytes: u64,
    }

    const EVENT: Event = Event { process: 7, kind: 2, bytes: 4096 };

    #[test]
    fn values_go_through_the_ring_and_other_lengths_are_told() {
        let mut data = [0u64; 512];
        let mut ring = FlatRing::<{ marks_for(4096) }>::new();
        let (producer, mut consumer) = ring.split(&mut data, 4096, PageOffset::FromRing).unwrap();
        let quiet = SubmitFlags::NO_WAKEUP;
        let _ = producer.output_pod(&EVENT, quiet).unwrap();
        let _ = producer.output_value(&EVENT, quiet).unwrap();
        let mut reservation = producer.reserve(size_of::<Event>()).unwrap();
        *reservation.value_mut().unwrap() = EVENT;
        assert_eq!(reservation.value_mut::<u32>(), Err(WrongLength { expected: 4, payload: 16 }));
        let _ = reservation.submit(quiet);
        assert_eq!(consumer.next_record().unwrap().value::<Event>(), Ok(&EVENT));
        assert_eq!(consumer.next_record().unwrap().pod::<Event>(), Ok(EVENT));
        let last = consumer.next_record().unwrap();
        assert_eq!(last.value::<Event>(), Ok(&EVENT));
        assert_eq!(last.pod::<u64>(), Err(WrongLength { expected: 8, payload: 16 }));
        assert_eq!(last.value::<[u8; 17]>(), Err(WrongLength { expected: 17, payload: 16 }));
    }
}
