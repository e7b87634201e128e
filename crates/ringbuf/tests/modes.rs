//! Overwriting rings, user rings, watermarks, tallies.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a test that overflows should panic"
)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;

use ebpf_ringbuf::memory::Memory;
use ebpf_ringbuf::{
    BUSY_BIT, Consumer, Copied, Corrupt, DISCARD_BIT, ExclusiveProducer, MAX_USER_SAMPLE, OverwriteReader,
    Producer, Query, ReserveError, Stopped, SubmitFlags, UserConsumer, UserProducer, UserReserveError,
    UserRingError, Watermark,
};
use proptest::prelude::*;
use support::Mirrored;

const PAGE: usize = 4096;
const ADAPTIVE: SubmitFlags = SubmitFlags::empty();

/// The figures of the kernel's own test of `BPF_F_RB_OVERWRITE`.
#[test]
fn an_overwriting_ring_admits_and_answers_as_linux_does() {
    let (length1, length2) = (PAGE / 2, PAGE / 4);
    let length3 = PAGE - length1 - length2 - 24;
    let length4 = length3 - 8;
    let length5 = length3;
    let ring = Mirrored::new(PAGE, 0);
    let producer = Producer::new(ring.overwriting_side(PAGE), ring.marks()).unwrap();
    let first = producer.reserve(length1).unwrap();
    let second = producer.reserve(length2).unwrap();
    assert!(
        matches!(producer.reserve(length3), Err(ReserveError::Outstanding { pending: 0, .. })),
        "eight bytes too long"
    );
    let fourth = producer.reserve(length4).unwrap();
    for reservation in [first, second, fourth] {
        let _ = reservation.submit(ADAPTIVE);
    }
    let _ = producer.reserve(length5).unwrap().submit(ADAPTIVE);
    assert_eq!(producer.query(Query::AvailableData), length2 + length4 + length5 + 24);
    assert_eq!(producer.query(Query::RingSize), PAGE);
    assert_eq!(producer.query(Query::ConsumerPosition), 0);
    assert_eq!(producer.query(Query::ProducerPosition), length1 + length2 + length4 + length5 + 32);
    assert_eq!(producer.query(Query::OverwritePosition), length1 + 8);
}

#[test]
fn a_ring_that_does_not_overwrite_answers_zero_for_overwrite_pos() {
    let ring = Mirrored::new(PAGE, 64);
    let producer = Producer::new(ring.side(PAGE), ring.marks()).unwrap();
    assert_eq!(producer.query(Query::OverwritePosition), 0);
    assert_eq!(Query::from_number(5), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// What the reader gives and what it says it missed add up to what was produced; each record it gives is whole.
    #[test]
    fn a_reader_of_an_overwriting_ring_accounts_for_every_byte(
        steps in prop::collection::vec((0..600usize, any::<bool>(), 0..6usize), 1..200),
        start in (0..2 * PAGE).prop_map(|back| 0usize.wrapping_sub(back) & !7),
    ) {
        let ring = Mirrored::new(PAGE, start);
        let mut producer = ExclusiveProducer::new(ring.overwriting_side(PAGE)).unwrap();
        let mut reader = OverwriteReader::new(ring.overwriting_side(PAGE)).unwrap();
        let mut produced = vec![];
        let mut read_bytes = 0;
        let mut next = 0;
        for (length, discard, reads) in steps {
            let payload = vec![produced.len() as u8; length];
            let mut reservation = producer.reserve(length).unwrap();
            reservation.copy_from_slice(&payload);
            let position = reservation.position();
            let _ = if discard { reservation.discard(ADAPTIVE) } else { reservation.submit(ADAPTIVE) };
            produced.push((position, payload, discard));
            for _ in 0..reads {
                let mut buffer = [0; 600];
                match reader.next_record(&mut buffer) {
                    Ok(Copied { payload_len, position, .. }) => {
                        let index = produced[next..].iter().position(|record| record.0 == position).unwrap() + next;
                        prop_assert!(!produced[index].2, "a discarded record was given");
                        prop_assert_eq!(&buffer[..payload_len], &produced[index].1[..]);
                        next = index + 1;
                        read_bytes += (payload_len + 8).next_multiple_of(8);
                    }
                    Err(stopped) => prop_assert_eq!(stopped, Stopped::Empty),
                }
            }
        }
        let mut buffer = [0; 600];
        while let Ok(copied) = reader.next_record(&mut buffer) {
            read_bytes += (copied.payload_len + 8).next_multiple_of(8);
        }
        let size = |record: &(usize, Vec<u8>, bool)| (record.1.len() + 8).next_multiple_of(8);
        let total: usize = produced.iter().map(size).sum();
        let discarded: usize = produced.iter().filter(|record| record.2).map(size).sum();
        // A discarded record is skipped if it was still there, missed if not.
        prop_assert!(read_bytes + reader.missed() <= total && read_bytes + reader.missed() + discarded >= total);
    }
}

#[test]
fn a_hostile_overwrite_pos_moves_nobody() {
    let ring = Mirrored::new(PAGE, 64);
    let mut producer = ExclusiveProducer::new(ring.overwriting_side(PAGE)).unwrap();
    let _ = producer.reserve(8).unwrap().submit(ADAPTIVE);
    let produced = ring.producer_position().load(Relaxed);
    let mut reader = OverwriteReader::new(ring.overwriting_side(PAGE)).unwrap();
    for overwrite in [65, 71, produced + 8, produced + PAGE, 64 + usize::MAX / 2 - 7] {
        producer.memory().overwrite_position().store(overwrite, Relaxed);
        let corrupt = Stopped::Corrupt(Corrupt::OverwritePosition { position: 64, overwrite });
        assert_eq!(reader.next_record(&mut [0; 8]), Err(corrupt));
        assert_eq!((ring.consumer_position().load(Relaxed), reader.missed()), (64, 0));
    }
    // The very end of what was produced is a place to go on from.
    producer.memory().overwrite_position().store(produced, Relaxed);
    assert_eq!(reader.next_record(&mut [0; 8]), Err(Stopped::Empty));
    assert_eq!((ring.consumer_position().load(Relaxed), reader.missed()), (produced, 16));
}

#[test]
fn a_user_ring_can_be_full_and_gives_samples_in_order() {
    let ring = Mirrored::new(PAGE, 0usize.wrapping_sub(PAGE));
    let mut producer = UserProducer::new(ring.side(PAGE)).unwrap();
    let mut consumer = UserConsumer::new(ring.side(PAGE));
    assert_eq!(
        producer.reserve(PAGE - 7).unwrap_err(),
        UserReserveError::TooLong { length: PAGE - 7, max: PAGE - 8 }
    );
    let mut whole = producer.reserve(PAGE - 8).unwrap();
    whole.fill(7);
    assert_eq!(consumer.drain(ADAPTIVE, |_| ControlFlow::Continue(())).unwrap().samples, 0);
    whole.submit();
    assert_eq!(producer.reserve(0).unwrap_err(), UserReserveError::NoSpace { needed: 8, free: 0 });
    let drained = consumer.drain(ADAPTIVE, |sample| {
        assert_eq!(sample.len(), PAGE - 8);
        assert!(sample.iter().all(|byte| *byte == 7));
        ControlFlow::Continue(())
    });
    assert!(drained.unwrap().wakeup.is_needed());
    for value in 0..10u8 {
        let mut sample = producer.reserve(1).unwrap();
        sample[0] = value;
        if value % 2 == 0 { sample.submit() } else { sample.discard() }
    }
    let mut got = vec![];
    let drained = consumer
        .drain(SubmitFlags::NO_WAKEUP, |sample| {
            got.push(sample[0]);
            if sample[0] == 6 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!((got, drained.samples, drained.discarded), (vec![0, 2, 4, 6], 4, 3));
    assert!(!drained.wakeup.is_needed());
    assert_eq!(consumer.drain(ADAPTIVE, |_| ControlFlow::Continue(())).unwrap().samples, 1);
}

/// One wrong thing at a time, and two at once: the kernel's order decides which is reported.
#[test]
fn a_user_ring_is_checked_in_the_kernels_order() {
    let cases: [(usize, u32, Option<UserRingError>); 9] = [
        (47, 39, Some(UserRingError::Misaligned { producer: 47 })),
        (0, 0, None),
        (48, 41, Some(UserRingError::PastProducer { length: 41, available: 48 })),
        (48, 41 | BUSY_BIT, Some(UserRingError::PastProducer { length: 41, available: 48 })),
        (1 << 20, 8192, Some(UserRingError::LongerThanRing { length: 8192 })),
        (1 << 20, 8192 | DISCARD_BIT, Some(UserRingError::LongerThanRing { length: 8192 })),
        (48, 40 | BUSY_BIT, None),
        (48, 40 | DISCARD_BIT | BUSY_BIT, None),
        (usize::MAX & !7, 8, None),
    ];
    for (producer, word, expected) in cases {
        let ring = Mirrored::new(PAGE, 0);
        ring.producer_position().store(producer, Relaxed);
        Memory::length(&ring.side(PAGE), 0).store(word, Relaxed);
        let mut consumer = UserConsumer::new(ring.side(PAGE));
        let result = consumer.drain(ADAPTIVE, |_| ControlFlow::Continue(()));
        assert_eq!(
            result.err().map(|failed| failed.error),
            expected,
            "producer_pos {producer}, length word {word:#x}"
        );
    }
    let ring = Mirrored::new(1 << 25, 0);
    ring.producer_position().store(1 << 25, Relaxed);
    Memory::length(&ring.side(PAGE), 0).store(MAX_USER_SAMPLE as u32 + 1, Relaxed);
    let failed =
        UserConsumer::new(ring.side(PAGE)).drain(ADAPTIVE, |_| ControlFlow::Continue(())).unwrap_err();
    let too_long = UserRingError::TooLong { length: MAX_USER_SAMPLE + 1 };
    assert_eq!((failed.error, failed.error.errno()), (too_long, 7));
}

/// The kernel wakes a waiting producer also when the drain ends with an error.
#[test]
fn a_drain_that_fails_still_says_whom_to_wake() {
    for (flags, samples, wakes) in [
        (ADAPTIVE, 1, true),
        (SubmitFlags::NO_WAKEUP, 1, false),
        (SubmitFlags::FORCE_WAKEUP, 0, true),
        (ADAPTIVE, 0, false),
    ] {
        let ring = Mirrored::new(PAGE, 0);
        let mut producer = UserProducer::new(ring.side(PAGE)).unwrap();
        for _ in 0..samples {
            producer.reserve(8).unwrap().submit();
        }
        let end = ring.producer_position().load(Relaxed);
        // A sample that claims more than is announced.
        Memory::length(&ring.side(PAGE), end).store(100, Relaxed);
        ring.producer_position().store(end + 8, Relaxed);
        let failed =
            UserConsumer::new(ring.side(PAGE)).drain(flags, |_| ControlFlow::Continue(())).unwrap_err();
        assert_eq!(failed.error, UserRingError::PastProducer { length: 100, available: 8 });
        assert_eq!(
            (failed.drained.samples, failed.drained.wakeup.is_needed()),
            (samples, wakes),
            "{flags:?}"
        );
    }
}

#[test]
fn a_byte_watermark_wakes_at_exactly_the_record_that_fills_it() {
    let ring = Mirrored::new(PAGE, 0);
    let mut producer = ExclusiveProducer::new(ring.side(PAGE)).unwrap().with_watermark(Watermark::Bytes(100));
    let mut consumer = Consumer::new(ring.side(PAGE)).unwrap();
    // 24 bytes each: the fifth brings 96 to 120.
    let wakes = |producer: &mut ExclusiveProducer<_>| {
        (0..8).map(|_| producer.output(&[0; 16], ADAPTIVE).unwrap().is_needed()).collect::<Vec<_>>()
    };
    assert_eq!(wakes(&mut producer), [false, false, false, false, true, false, false, false]);
    let _ = consumer.drain(usize::MAX, |_| ControlFlow::Continue(()));
    assert_eq!(wakes(&mut producer), [false, false, false, false, true, false, false, false]);
}

#[test]
fn a_record_that_held_up_a_full_watermark_wakes_when_it_comes() {
    let ring = Mirrored::new(PAGE, 0);
    for watermark in [Watermark::Bytes(64), Watermark::Records(4)] {
        let ring_producer = Producer::new(ring.side(PAGE), ring.marks()).unwrap().with_watermark(watermark);
        let mut consumer = Consumer::new(ring.side(PAGE)).unwrap();
        let _ = consumer.drain(usize::MAX, |_| ControlFlow::Continue(()));
        let late = ring_producer.reserve(8).unwrap();
        let early: Vec<bool> =
            (0..4).map(|_| ring_producer.output(&[0; 8], ADAPTIVE).unwrap().is_needed()).collect();
        assert_eq!(early.iter().filter(|wake| **wake).count(), 1, "{watermark:?}: {early:?}");
        assert_eq!(consumer.drain(usize::MAX, |_| ControlFlow::Continue(())).stopped, Stopped::Busy);
        assert!(late.submit(ADAPTIVE).is_needed(), "{watermark:?}");
    }
}

#[test]
fn a_record_watermark_wakes_at_every_nth_commit() {
    let ring = Mirrored::new(PAGE, 0);
    let mut producer = ExclusiveProducer::new(ring.side(PAGE)).unwrap().with_watermark(Watermark::Records(3));
    let wakes: Vec<bool> = (0..9).map(|_| producer.output(&[0; 16], ADAPTIVE).unwrap().is_needed()).collect();
    assert_eq!(wakes, [false, false, true, false, false, true, false, false, true]);
    assert!(producer.output(&[], SubmitFlags::FORCE_WAKEUP).unwrap().is_needed());
    // A watermark no ring can fill is taken as half of it.
    let ring = Mirrored::new(PAGE, 0);
    let mut producer =
        ExclusiveProducer::new(ring.side(PAGE)).unwrap().with_watermark(Watermark::Bytes(usize::MAX));
    let first = (0..).find(|_| producer.output(&[0; 8], ADAPTIVE).unwrap().is_needed());
    assert_eq!(first, Some(PAGE / 2 / 16 - 1));
}

#[test]
fn a_dropped_reservation_is_discarded_and_its_wakeup_paid_by_the_next() {
    let ring = Mirrored::new(PAGE, 0);
    let producer = Producer::new(ring.side(PAGE), ring.marks()).unwrap();
    drop(producer.reserve(8).unwrap());
    // The consumer stands at the dropped record, not at this one: by Linux's rule alone nobody would wake it.
    assert!(producer.output(&[1; 8], ADAPTIVE).unwrap().is_needed());
    assert!(!producer.output(&[2; 8], ADAPTIVE).unwrap().is_needed());
}

#[test]
fn every_reservation_is_accounted_for() {
    let ring = Mirrored::new(PAGE, 0);
    let producer = Producer::new(ring.side(PAGE), ring.marks()).unwrap().counting();
    let held = producer.reserve(8).unwrap();
    while producer.output(&[0; 100], ADAPTIVE).is_ok() {}
    let _ = producer.reserve(8).map(|reservation| reservation.discard(ADAPTIVE));
    assert!(producer.reserve(PAGE).is_err());
    let tally = producer.tally();
    assert_eq!(tally.reserved, tally.submitted + tally.discarded + 1);
    assert_eq!((tally.outstanding(), tally.submitted, tally.discarded), (1, 36, 1));
    assert_eq!((tally.full, tally.outstanding_refusals, tally.too_long, tally.refused()), (0, 1, 1, 2));
    let _ = held.submit(ADAPTIVE);
    assert_eq!(producer.tally().outstanding(), 0);
    assert!(producer.reserve(1000).is_err());
    assert_eq!(producer.tally().full, 1, "now only the consumer is in the way");
}

/// The kernel's own test of what `pending_pos` is for.
#[test]
fn a_consumer_that_pretends_to_be_ahead_gets_no_second_writer_into_a_record() {
    let ring = Mirrored::new(0x4000, 0);
    ring.consumer_position().store(0x3000, Relaxed);
    let producer = Producer::new(ring.side(PAGE), ring.marks()).unwrap();
    let first = producer.reserve(0x3000).unwrap();
    assert_eq!(
        producer.reserve(0x3000).unwrap_err(),
        ReserveError::Outstanding { needed: 0x3008, pending: 0 }
    );
    assert_eq!(ring.producer_position().load(Relaxed), 0x3008);
    assert_eq!(ring.pending_position().load(Relaxed), 0);
    let _ = first.submit(ADAPTIVE);
}
