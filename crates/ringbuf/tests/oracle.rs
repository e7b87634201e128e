//! Random calls to our producers and consumer beside a naive ring: the same answers, the same bytes.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a test that overflows should panic"
)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;

use ebpf_ringbuf::{
    Consumer, ExclusiveProducer, HEADER_SIZE, Header, Mapped, Producer, Query, Reservation, Stopped,
    SubmitFlags,
};
use proptest::prelude::*;
use support::{Mirrored, Naive};

#[derive(Clone, Debug)]
enum Call {
    Reserve { length: usize },
    Commit { which: usize, discard: bool, flags: u64 },
    Output { length: usize, flags: u64 },
    Consume { count: usize },
    Lie { consumer: usize },
}

const SIZE: usize = 8192;

fn calls(with_lies: bool) -> impl Strategy<Value = Vec<Call>> {
    let length = prop_oneof![4 => 0..64usize, 2 => 0..2000usize, 1 => SIZE - 40..SIZE + 8, 1 => 0x3FFF_FFF8..0x4000_0008usize];
    let flags = 0..4u64;
    let call = prop_oneof![
        4 => length.clone().prop_map(|length| Call::Reserve { length }),
        4 => (any::<usize>(), any::<bool>(), flags.clone())
            .prop_map(|(which, discard, flags)| Call::Commit { which, discard, flags }),
        3 => (length, flags).prop_map(|(length, flags)| Call::Output { length: length.min(SIZE * 2), flags }),
        2 => (0..20usize).prop_map(|count| Call::Consume { count }),
        u32::from(with_lies) => (0..4 * SIZE).prop_map(|consumer| Call::Lie { consumer: consumer & !7 }),
    ];
    prop::collection::vec(call, 1..300)
}

fn starts() -> impl Strategy<Value = usize> {
    // Zero; shortly before the positions wrap; anywhere.
    prop_oneof![
        Just(0usize),
        (1..2 * SIZE).prop_map(|back| 0usize.wrapping_sub(back) & !7),
        any::<usize>().prop_map(|any| any & !7)
    ]
}

/// Everything that both rings must agree on. Padding and free space may differ: nobody writes them.
fn assert_same_image(ring: &Mirrored, naive: &Naive) {
    assert_eq!(ring.producer_position().load(Relaxed), naive.producer, "producer_pos");
    assert_eq!(ring.pending_position().load(Relaxed), naive.pending, "pending_pos");
    assert_eq!(ring.consumer_position().load(Relaxed), naive.consumer, "consumer_pos");
    // From the oldest record that must still be whole: a consumer that lies does not move that.
    let mut position = naive.pending;
    while position != naive.producer {
        let header = Header::from_bytes(naive.bytes(position, HEADER_SIZE).try_into().unwrap());
        let length = HEADER_SIZE + if header.is_busy() { 0 } else { header.payload_len() };
        assert_eq!(ring.bytes(position, length), naive.bytes(position, length), "record at {position}");
        position = position.wrapping_add((header.payload_len() + HEADER_SIZE).next_multiple_of(8));
    }
}

fn payload(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|index| (seed.wrapping_mul(31).wrapping_add(index * 7) % 251) as u8).collect()
}

/// Up to `count` records: one by one when `count` is even, as a batch when it is odd.
fn consume(count: usize, consumer: &mut Consumer<Mapped<'_>>, naive: &mut Naive) {
    if count % 2 == 1 {
        let drained = consumer.drain(count, |payload| {
            assert_eq!(Some(payload.to_vec()), naive.consume());
            ControlFlow::Continue(())
        });
        // What the drain found nothing behind, the naive ring finds nothing behind either; discarded records may be at the end.
        match drained.stopped {
            Stopped::Limit => assert_eq!(drained.records, count),
            Stopped::Empty | Stopped::Busy => assert!(drained.records == count || naive.consume().is_none()),
            other => panic!("{other}"),
        }
        return;
    }
    for _ in 0..count {
        let expected = naive.consume();
        match consumer.next_record() {
            Ok(record) => assert_eq!(Some(record.to_vec()), expected),
            Err(Stopped::Empty | Stopped::Busy) => assert_eq!(None, expected),
            Err(other) => panic!("{other}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn many_producers_leave_the_naive_image(calls in calls(false), start in starts(), page_shift in prop_oneof![Just(12u32), Just(14), Just(16)]) {
        let ring = Mirrored::new(SIZE, start);
        let page_size = 1 << page_shift;
        let mut naive = Naive::new(SIZE, start, page_size);
        let producer = Producer::new(ring.side(page_size), ring.marks()).unwrap();
        let mut consumer = Consumer::new(ring.side(page_size)).unwrap();
        let mut open: VecDeque<(Reservation<'_, Mapped<'_>>, usize)> = VecDeque::new();
        for (step, call) in calls.into_iter().enumerate() {
            match call {
                Call::Reserve { length } => {
                    let (ours, theirs) = (producer.reserve(length), naive.reserve(length));
                    prop_assert_eq!(ours.as_ref().ok().map(Reservation::position), theirs);
                    if let (Ok(mut reservation), Some(position)) = (ours, theirs) {
                        let bytes = payload(length, step);
                        reservation.copy_from_slice(&bytes);
                        naive.put(position.wrapping_add(8), &bytes);
                        open.push_back((reservation, position));
                    }
                }
                Call::Commit { which, discard, flags } if !open.is_empty() => {
                    let (reservation, position) = open.remove(which % open.len()).unwrap();
                    let submit_flags = SubmitFlags::from_bits_truncate(flags);
                    let wakeup = if discard { reservation.discard(submit_flags) } else { reservation.submit(submit_flags) };
                    prop_assert_eq!(wakeup.is_needed(), naive.commit(position, discard, flags));
                }
                Call::Output { length, flags } => {
                    let bytes = payload(length, step);
                    let ours = producer.output(&bytes, SubmitFlags::from_bits_truncate(flags));
                    let theirs = naive.reserve(length).map(|position| {
                        naive.put(position.wrapping_add(8), &bytes);
                        naive.commit(position, false, flags)
                    });
                    prop_assert_eq!(ours.ok().map(|wakeup| wakeup.is_needed()), theirs);
                }
                Call::Consume { count } => consume(count, &mut consumer, &mut naive),
                Call::Commit { .. } | Call::Lie { .. } => {}
            }
            assert_same_image(&ring, &naive);
            prop_assert_eq!(producer.query(Query::AvailableData), naive.producer.wrapping_sub(naive.consumer));
        }
    }

    #[test]
    fn an_exclusive_producer_leaves_the_naive_image(calls in calls(false), start in starts()) {
        let ring = Mirrored::new(SIZE, start);
        let mut naive = Naive::new(SIZE, start, 4096);
        let mut producer = ExclusiveProducer::new(ring.side(4096)).unwrap();
        let mut consumer = Consumer::new(ring.side(4096)).unwrap();
        for (step, call) in calls.into_iter().enumerate() {
            match call {
                Call::Reserve { length } | Call::Output { length, .. } => {
                    let (ours, theirs) = (producer.reserve(length), naive.reserve(length));
                    prop_assert_eq!(ours.as_ref().ok().map(Reservation::position), theirs);
                    if let (Ok(mut reservation), Some(position)) = (ours, theirs) {
                        let bytes = payload(length, step);
                        reservation.copy_from_slice(&bytes);
                        naive.put(position.wrapping_add(8), &bytes);
                        let discard = step % 3 == 0;
                        let flags = SubmitFlags::empty();
                        let wakeup = if discard { reservation.discard(flags) } else { reservation.submit(flags) };
                        prop_assert_eq!(wakeup.is_needed(), naive.commit(position, discard, 0));
                    }
                }
                Call::Consume { count } => consume(count, &mut consumer, &mut naive),
                Call::Commit { .. } | Call::Lie { .. } => {}
            }
            assert_same_image(&ring, &naive);
        }
    }

    /// A consumer that writes any position it likes only ever changes what is admitted, exactly as in Linux; reservations never overlap.
    #[test]
    fn a_lying_consumer_gets_no_overlap(calls in calls(true), start in starts()) {
        let ring = Mirrored::new(SIZE, start);
        let mut naive = Naive::new(SIZE, start, 4096);
        let producer = Producer::new(ring.side(4096), ring.marks()).unwrap();
        let mut open: VecDeque<(Reservation<'_, Mapped<'_>>, usize)> = VecDeque::new();
        for call in calls {
            match call {
                Call::Reserve { length } | Call::Output { length, .. } => {
                    let (ours, theirs) = (producer.reserve(length), naive.reserve(length));
                    prop_assert_eq!(ours.as_ref().ok().map(Reservation::position), theirs);
                    if let (Ok(reservation), Some(position)) = (ours, theirs) {
                        let end = position.wrapping_add((length + 8).next_multiple_of(8));
                        if let Some((_, oldest)) = open.front() {
                            prop_assert!(end.wrapping_sub(*oldest) < SIZE, "more than a lap is being written");
                        }
                        open.push_back((reservation, position));
                    }
                }
                Call::Commit { which, discard, .. } if !open.is_empty() => {
                    let (reservation, position) = open.remove(which % open.len()).unwrap();
                    let flags = SubmitFlags::NO_WAKEUP;
                    let _ = if discard { reservation.discard(flags) } else { reservation.submit(flags) };
                    naive.commit(position, discard, 1);
                }
                Call::Lie { consumer } => {
                    naive.consumer = start.wrapping_add(consumer);
                    ring.consumer_position().store(naive.consumer, Relaxed);
                }
                Call::Commit { .. } | Call::Consume { .. } => {}
            }
            assert_same_image(&ring, &naive);
        }
    }
}
