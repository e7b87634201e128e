//! Reading batches: what a drain gives, skips, counts and reports, whatever sizes follow each other.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a test that overflows should panic"
)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;

use ebpf_ringbuf::{
    Consumer, Corrupt, ExclusiveProducer, FlatRing, PageOffset, Producer, Stopped, SubmitFlags, marks_for,
};
use proptest::prelude::*;
use support::Mirrored;

const SIZE: usize = 65536;

/// Lengths as rings see them: runs of one, two alternating, anything; `None` is a discarded record.
fn sizes() -> impl Strategy<Value = Vec<Option<usize>>> {
    let length = prop_oneof![Just(8usize), Just(16), Just(64), 0..300usize];
    let run = (length.clone(), 1..40usize).prop_map(|(length, count)| vec![Some(length); count]);
    let pair = (length.clone(), length.clone(), 1..40usize).prop_map(|(one, other, count)| {
        (0..count).map(|index| Some(if index % 2 == 0 { one } else { other })).collect()
    });
    let mixed = prop::collection::vec(prop_oneof![5 => length.prop_map(Some), 1 => Just(None)], 1..40);
    prop::collection::vec(prop_oneof![run, pair, mixed], 1..6).prop_map(|runs| runs.concat())
}

fn fill(ring: &Mirrored, sizes: &[Option<usize>]) -> Vec<Vec<u8>> {
    let mut producer = ExclusiveProducer::new(ring.side(4096)).unwrap();
    let mut kept = vec![];
    for (index, size) in sizes.iter().enumerate() {
        let payload = vec![index as u8; size.unwrap_or(24)];
        let Ok(mut reservation) = producer.reserve(payload.len()) else { break };
        reservation.copy_from_slice(&payload);
        let _ = if size.is_some() {
            kept.push(payload);
            reservation.submit(SubmitFlags::NO_WAKEUP)
        } else {
            reservation.discard(SubmitFlags::NO_WAKEUP)
        };
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_drain_gives_every_record_once_and_stops_where_it_is_told(
        sizes in sizes(),
        limits in prop::collection::vec(0..200usize, 1..20),
        release in prop_oneof![Just(0usize), 1..5000usize],
        start in (0..SIZE).prop_map(|back| 0usize.wrapping_sub(back) & !7),
    ) {
        let ring = Mirrored::new(SIZE, start);
        let kept = fill(&ring, &sizes);
        let mut consumer = Consumer::new(ring.side(4096)).unwrap().with_release(release);
        let mut got: Vec<Vec<u8>> = vec![];
        for limit in limits.into_iter().chain([usize::MAX]) {
            let before = got.len();
            let drained = consumer.drain(limit, |payload| {
                got.push(payload.to_vec());
                ControlFlow::Continue(())
            });
            prop_assert_eq!(drained.records, got.len() - before);
            prop_assert!(drained.records <= limit);
            prop_assert_eq!(drained.bytes, got[before..].iter().map(Vec::len).sum::<usize>());
            match drained.stopped {
                Stopped::Limit => prop_assert_eq!(drained.records, limit),
                stopped => prop_assert_eq!(stopped, Stopped::Empty),
            }
        }
        prop_assert_eq!(got, kept);
        prop_assert_eq!(ring.consumer_position().load(Relaxed), ring.producer_position().load(Relaxed));
    }

    #[test]
    fn a_drain_told_to_stop_has_consumed_the_record_it_was_told_at(sizes in sizes(), at in 0..100usize) {
        let ring = Mirrored::new(SIZE, 0);
        let kept = fill(&ring, &sizes);
        let mut consumer = Consumer::new(ring.side(4096)).unwrap();
        let mut seen = 0;
        let drained = consumer.drain(usize::MAX, |_| {
            seen += 1;
            if seen > at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        prop_assert_eq!(drained.records, kept.len().min(at + 1));
        let rest = consumer.drain(usize::MAX, |_| ControlFlow::Continue(()));
        prop_assert_eq!(drained.records + rest.records, kept.len());
        if kept.len() > at { prop_assert_eq!(drained.stopped, Stopped::Asked) }
    }

    /// The consumer that read a mirrored ring reads a flat one: the filler at its end is a discarded record like any other.
    /// What a producer that waits for space relies on, also where hardly anything but discarded records comes.
    #[test]
    fn space_is_given_back_as_often_as_was_said(
        sizes in prop::collection::vec(prop_oneof![2 => Just(None), 1 => (0..300usize).prop_map(Some)], 1..200),
        release in 0..4000usize,
    ) {
        let ring = Mirrored::new(SIZE, 0);
        fill(&ring, &sizes);
        let mut consumer = Consumer::new(ring.side(4096)).unwrap().with_release(release);
        let mut behind = 0;
        let _ = consumer.drain(usize::MAX, |record| {
            let released = ring.consumer_position().load(Relaxed);
            behind = behind.max(record.position() - released);
            ControlFlow::Continue(())
        });
        // At most what is said, and the record that fills it.
        let longest = 8 + 304;
        prop_assert!(behind < release.max(1) + longest, "{behind} bytes behind, {release} asked for");
    }

    #[test]
    fn a_flat_ring_gives_the_same_records_as_a_mirrored_one(lengths in prop::collection::vec(0..1900usize, 1..200)) {
        const FLAT: usize = 4096;
        let mut data = [0u64; FLAT / 8];
        let mut flat = FlatRing::<{ marks_for(FLAT) }>::new();
        let (producer, mut consumer) = flat.split(&mut data, 4096, PageOffset::FromRing).unwrap();
        let mut fillers = 0;
        for (index, length) in lengths.iter().enumerate() {
            let payload = vec![index as u8; *length];
            prop_assert!(producer.output(&payload, SubmitFlags::empty()).unwrap().is_needed());
            let drained = consumer.drain(usize::MAX, |record| {
                assert_eq!(&*record, &payload[..]);
                ControlFlow::Continue(())
            });
            prop_assert_eq!((drained.records, drained.stopped), (1, Stopped::Empty));
            fillers += drained.discarded;
        }
        let total: usize = lengths.iter().map(|length| (length + 8).next_multiple_of(8)).sum();
        prop_assert!(fillers <= total / (FLAT / 2) + 1, "a filler comes at most once a lap");
    }
}

#[test]
fn a_busy_record_stops_a_drain_until_it_is_committed() {
    let ring = Mirrored::new(4096, 0);
    let producer = Producer::new(ring.side(4096), ring.marks()).unwrap();
    let mut consumer = Consumer::new(ring.side(4096)).unwrap();
    let first = producer.reserve(8).unwrap();
    assert!(
        !producer.output(&[2; 8], SubmitFlags::empty()).unwrap().is_needed(),
        "the consumer is not there yet"
    );
    let drained = consumer.drain(usize::MAX, |_| ControlFlow::Continue(()));
    assert_eq!((drained.records, drained.stopped), (0, Stopped::Busy));
    assert!(first.submit(SubmitFlags::empty()).is_needed(), "the consumer waits for exactly this record");
    let drained = consumer.drain(usize::MAX, |_| ControlFlow::Continue(()));
    assert_eq!((drained.records, drained.bytes, drained.stopped), (2, 16, Stopped::Empty));
}

#[test]
fn a_limit_reached_at_the_end_says_empty_and_before_it_says_limit() {
    let ring = Mirrored::new(4096, 0);
    fill(&ring, &[Some(8); 5]);
    let mut consumer = Consumer::new(ring.side(4096)).unwrap();
    assert_eq!(consumer.drain(2, |_| ControlFlow::Continue(())).stopped, Stopped::Limit);
    assert_eq!(consumer.drain(3, |_| ControlFlow::Continue(())).stopped, Stopped::Empty);
}

#[test]
fn a_length_beyond_the_producer_is_an_error_and_moves_nothing() {
    let ring = Mirrored::new(4096, 0);
    // A run long enough that the drain guesses, then a header that claims more than there is.
    fill(&ring, &[Some(8); 20]);
    let victim = 19 * 16;
    let mut producer = ring.side(4096);
    corrupt_length(&mut producer, victim, 4000);
    let mut consumer = Consumer::new(ring.side(4096)).unwrap();
    let drained = consumer.drain(usize::MAX, |_| ControlFlow::Continue(()));
    assert_eq!(drained.records, 19);
    let expected = Corrupt::Length { position: victim, word: 4000, available: 16 };
    assert_eq!(drained.stopped, Stopped::Corrupt(expected));
    assert_eq!(ring.consumer_position().load(Relaxed), victim);
    assert_eq!(consumer.next_record().unwrap_err(), Stopped::Corrupt(expected));
}

#[test]
fn producer_positions_that_cannot_be_are_errors() {
    for (producer, why) in
        [(4, "unaligned"), (4096 + 8, "more than a lap"), (0usize.wrapping_sub(8), "behind")]
    {
        let ring = Mirrored::new(4096, 0);
        ring.producer_position().store(producer, Relaxed);
        let mut consumer = Consumer::new(ring.side(4096)).unwrap();
        let corrupt = Corrupt::ProducerPosition { position: 0, producer };
        assert_eq!(consumer.next_record().unwrap_err(), Stopped::Corrupt(corrupt), "{why}");
    }
    let ring = Mirrored::new(4096, 0);
    ring.consumer_position().store(12, Relaxed);
    assert_eq!(Consumer::new(ring.side(4096)).unwrap_err(), Corrupt::ConsumerPosition { position: 12 });
}

fn corrupt_length(side: &mut ebpf_ringbuf::Mapped<'_>, position: usize, word: u32) {
    use ebpf_ringbuf::memory::Memory;
    Memory::length(side, position).store(word, Relaxed);
}
