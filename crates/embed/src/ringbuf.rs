//! `ebpf-ringbuf`.

use core::hint::black_box;
use core::ops::{ControlFlow, Deref, DerefMut};
use core::ptr::drop_in_place;
use core::sync::atomic::AtomicUsize;

use ebpf_ringbuf::memory::{Claim, Extent, Private};
use ebpf_ringbuf::*;

use crate::laws;

type Memory = Mapped<'static>;
type Marks = SharedMarks<'static>;

laws! {
    "ringbuf":
    Consumer::<Memory>::new,
    Consumer::<Memory>::with_release,
    Consumer::<Memory>::with_spins,
    Consumer::<Memory>::next_record,
    Consumer::<Memory>::query,
    Consumer::<Memory>::memory,
    Record::<Memory>::copy_to,
    Record::<Memory>::payload_len,
    Record::<Memory>::position,
    Payload::<Memory>::copy_to,
    Payload::<Memory>::payload_len,
    Payload::<Memory>::position,
    ExclusiveProducer::<Memory>::new,
    ExclusiveProducer::<Memory>::with_watermark,
    ExclusiveProducer::<Memory>::counting,
    ExclusiveProducer::<Memory>::reserve,
    ExclusiveProducer::<Memory>::output,
    ExclusiveProducer::<Memory>::query,
    ExclusiveProducer::<Memory>::tally,
    ExclusiveProducer::<Memory>::memory,
    ExclusiveProducer::<Memory>::output_pod::<u64>,
    ExclusiveProducer::<Memory>::output_value::<u64>,
    FlatRing::<4>::new,
    FlatRing::<4>::split,
    FlatRing::<0>::split_exclusive,
    Geometry::mirrored,
    Geometry::new,
    Geometry::overwriting,
    Geometry::overwrites,
    Geometry::size,
    Geometry::mask,
    Geometry::mapping,
    Geometry::offset,
    Geometry::page_offset,
    Geometry::until_end,
    Geometry::max_record,
    Header::busy,
    Header::from_bytes,
    Header::to_bytes,
    Header::payload_len,
    Header::is_busy,
    Header::is_discarded,
    Header::length_word,
    Header::page_offset,
    record_size,
    marks_for,
    Mapped::new,
    SharedMarks::new,
    SharedMarks::with_spins,
    Claim::position,
    Claim::length,
    Extent::position,
    Extent::length,
    Order::ordering,
    Order::site,
    OverwriteReader::<Memory>::new,
    OverwriteReader::<Memory>::next_record,
    OverwriteReader::<Memory>::missed,
    OverwriteReader::<Memory>::query,
    Producer::<Memory, Marks>::new,
    Producer::<Memory, Marks>::with_watermark,
    Producer::<Memory, Marks>::counting,
    Producer::<Memory, Marks>::reserve,
    Producer::<Memory, Marks>::reserve_at,
    Producer::<Memory, Marks>::output,
    Producer::<Memory, Marks>::query,
    Producer::<Memory, Marks>::tally,
    Producer::<Memory, Marks>::memory,
    Producer::<Memory, Marks>::output_pod::<u64>,
    Producer::<Memory, Marks>::output_value::<u64>,
    Query::from_number,
    Reservation::<Memory>::write,
    Reservation::<Memory>::payload_len,
    Reservation::<Memory>::position,
    Reservation::<Memory>::submit,
    Reservation::<Memory>::discard,
    Tally::outstanding,
    Tally::refused,
    Record::<Memory>::pod::<u64>,
    Record::<Memory>::value::<u64>,
    Payload::<Memory>::pod::<u64>,
    Payload::<Memory>::value::<u64>,
    Reservation::<Memory>::value_mut::<u64>,
    UserProducer::<Memory>::new,
    UserProducer::<Memory>::reserve,
    UserProducer::<Memory>::memory,
    UserReservation::<Memory>::submit,
    UserReservation::<Memory>::write,
    UserReservation::<Memory>::discard,
    UserReservation::<Memory>::payload_len,
    UserConsumer::<Memory>::new,
    UserRingError::errno,
    Wakeup::is_needed,
}

laws! {
    "ringbuf":
    "Consumer::drain" => consumer_drain,
    "UserConsumer::drain" => user_consumer_drain,
    "Private::new" => private_new,
    "Record::deref" => <Record<'static, Memory> as Deref>::deref,
    "Payload::deref" => <Payload<'static, Memory> as Deref>::deref,
    "Reservation::deref" => <Reservation<'static, Memory> as Deref>::deref,
    "Reservation::deref_mut" => <Reservation<'static, Memory> as DerefMut>::deref_mut,
    "UserReservation::deref_mut" => <UserReservation<'static, Memory> as DerefMut>::deref_mut,
    "Record::drop" => drop_in_place::<Record<'static, Memory>>,
    "Reservation::drop" => drop_in_place::<Reservation<'static, Memory>>,
    "UserReservation::drop" => drop_in_place::<UserReservation<'static, Memory>>,
}

fn consumer_drain(consumer: &mut Consumer<Memory>, limit: usize) -> Drained {
    consumer.drain(limit, |payload| look(&payload))
}

fn user_consumer_drain(
    consumer: &mut UserConsumer<Memory>,
    flags: SubmitFlags,
) -> Result<UserDrained, UserDrainError> {
    consumer.drain(flags, |payload| look(&payload))
}

fn private_new() -> Private<AtomicUsize> {
    Private::new(|| AtomicUsize::new(black_box(0)))
}

fn look(payload: &[u8]) -> ControlFlow<()> {
    if black_box(payload).is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
