//! Rings that overwrite their oldest records, read newest first.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod support;

use std::ops::ControlFlow;

use ebpf_perfbuf::{
    BackwardReader, BackwardStopped, Copied, Corrupt, Direction, Geometry, GeometryError, Header, Ledger,
    Mapped, PlainRing, Reader, WakeupPolicy, Writer,
};
use support::Raw;

const SIZE: usize = 256;

/// Values of the records that are newer than at the last read, newest first.
fn read(reader: &mut BackwardReader<Mapped<'_>>) -> (Vec<u64>, BackwardStopped) {
    let (mut values, mut buffer) = (vec![], [0; SIZE]);
    let read = reader.read(&mut buffer, |record| {
        values.push(match record {
            Copied::Sample { raw, raw_size } => {
                assert_eq!(raw_size, raw.len());
                u64::from_ne_bytes(raw[..8].try_into().unwrap())
            }
            Copied::Lost(lost) => 1000 + lost.count,
            other => panic!("{other:?}"),
        });
        ControlFlow::Continue(())
    });
    assert_eq!(read.records, values.len());
    (values, read.stopped)
}

#[test]
fn the_newest_come_first_and_only_once() {
    let (mut page, mut data) = (PlainRing::new(), [0; SIZE / 8]);
    let (writing, reading) = page.split(&mut data, SIZE, Direction::Backward).unwrap();
    let mut writer = Writer::new(writing, WakeupPolicy::HalfFull).unwrap();
    let mut reader = BackwardReader::new(reading).unwrap();
    let mut write = |values: std::ops::Range<u64>| {
        for value in values {
            let _ = writer.output(&value.to_ne_bytes()).unwrap();
        }
    };
    assert_eq!(read(&mut reader), (vec![], BackwardStopped::Complete));
    write(1..4);
    assert_eq!(read(&mut reader), (vec![3, 2, 1], BackwardStopped::Complete));
    assert_eq!(read(&mut reader), (vec![], BackwardStopped::Complete));
    write(4..6);
    assert_eq!(read(&mut reader), (vec![5, 4], BackwardStopped::Complete));
    // 256 bytes hold ten records of 24 and sixteen bytes of an eleventh.
    write(6..30);
    assert_eq!(read(&mut reader), ((20..30).rev().collect(), BackwardStopped::Overwritten));
    // Just what fits since the last read.
    write(30..40);
    assert_eq!(read(&mut reader), ((30..40).rev().collect(), BackwardStopped::Complete));
}

#[test]
fn what_was_refused_while_paused_is_told() {
    let (mut page, mut data) = (PlainRing::new(), [0; SIZE / 8]);
    let (writing, reading) = page.split(&mut data, SIZE, Direction::Backward).unwrap();
    let mut writer = Writer::new(writing, WakeupPolicy::HalfFull).unwrap();
    let mut reader = BackwardReader::new(reading).unwrap();
    let _ = writer.output(&1u64.to_ne_bytes()).unwrap();
    writer.pause();
    for _ in 0..3 {
        assert!(writer.output(&2u64.to_ne_bytes()).is_err());
    }
    writer.resume();
    let _ = writer.output(&3u64.to_ne_bytes()).unwrap();
    // The lost record stands before the sample it came with.
    assert_eq!(read(&mut reader), (vec![1003, 3, 1], BackwardStopped::Complete));
    assert!(writer.output(&[0; SIZE]).is_err(), "longer than the ring");
}

#[test]
fn a_write_under_way_keeps_the_oldest_from_being_believed() {
    let (mut page, mut data) = (PlainRing::new(), [0; SIZE / 8]);
    let (writing, reading) = page.split(&mut data, SIZE, Direction::Backward).unwrap();
    let mut writer = Writer::new(writing, WakeupPolicy::HalfFull).unwrap();
    for value in 0..20u64 {
        let _ = writer.output(&value.to_ne_bytes()).unwrap();
    }
    let mut reader = BackwardReader::new(reading).unwrap().with_writes_under_way(24);
    // Sixteen bytes are no record anyway; eight of the tenth record may be gone.
    assert_eq!(read(&mut reader), ((11..20).rev().collect(), BackwardStopped::Overwritten));
}

#[test]
fn a_writer_that_comes_round_while_it_is_read_is_noticed() {
    let (mut page, mut data) = (PlainRing::new(), [0; SIZE / 8]);
    let (writing, reading) = page.split(&mut data, SIZE, Direction::Backward).unwrap();
    let mut writer = Writer::new(writing, WakeupPolicy::HalfFull).unwrap();
    for value in 0..20u64 {
        let _ = writer.output(&value.to_ne_bytes()).unwrap();
    }
    let mut reader = BackwardReader::new(reading).unwrap();
    let mut seen = vec![];
    let read = reader.read(&mut [0; 64], |record| {
        let Copied::Sample { raw, .. } = record else { panic!("{record:?}") };
        seen.push(raw[0]);
        // Two new ones for each that is read.
        for _ in 0..2 {
            let _ = writer.output(&99u64.to_ne_bytes()).unwrap();
        }
        ControlFlow::Continue(())
    });
    assert_eq!(seen, [19, 18, 17, 16], "what is overwritten in time is not given");
    assert_eq!(read.stopped, BackwardStopped::Overwritten);
}

#[test]
fn buffers_may_be_short_and_callers_may_stop() {
    let (mut page, mut data) = (PlainRing::new(), [0; SIZE / 8]);
    let (writing, reading) = page.split(&mut data, SIZE, Direction::Backward).unwrap();
    let mut writer = Writer::new(writing, WakeupPolicy::HalfFull).unwrap();
    let _ = writer.output(b"a payload that does not fit").unwrap();
    let _ = writer.output(b"a payload that does not fit").unwrap();
    let mut reader = BackwardReader::new(reading).unwrap();
    let read = reader.read(&mut [0; 13], |record| {
        assert_eq!(record, Copied::Sample { raw: b"a payload", raw_size: 28 });
        ControlFlow::Break(())
    });
    assert_eq!((read.records, read.stopped), (1, BackwardStopped::Asked));
}

#[test]
fn memory_that_holds_no_ring_is_said_to() {
    for size in [4u16, 12, 1] {
        let mut ring = Raw::new(SIZE, Direction::Backward);
        let head = 0usize.wrapping_sub(64);
        ring.put_record(SIZE - 64, Header::new(9, 1, size), &[]);
        ring.set(head, 0);
        let mut reader = BackwardReader::new(ring.memory()).unwrap();
        let read = reader.read(&mut [0; 64], |_| panic!("no record"));
        assert!(
            matches!(read.stopped, BackwardStopped::Corrupt(Corrupt::Size { .. })),
            "{size}: {}",
            read.stopped
        );
    }
    let mut ring = Raw::new(SIZE, Direction::Backward);
    ring.set(3, 0);
    let read = BackwardReader::new(ring.memory()).unwrap().read(&mut [], |_| panic!("no record"));
    assert!(matches!(read.stopped, BackwardStopped::Corrupt(Corrupt::Head { .. })));
}

#[test]
fn directions_are_not_mixed_up() {
    let mut ring = Raw::new(SIZE, Direction::Backward);
    assert_eq!(Reader::new(ring.memory()).err(), Some(GeometryError::Direction(Direction::Backward)));
    let mut ring = Raw::new(SIZE, Direction::Forward);
    assert_eq!(BackwardReader::new(ring.memory()).err(), Some(GeometryError::Direction(Direction::Forward)));
}

/// Bytes written count for wakeups as in a ring that is written forward.
#[test]
fn wakeups_count_alike_in_both_directions() {
    let ledgers = [Direction::Forward, Direction::Backward].map(|direction| {
        let geometry = Geometry::new(SIZE, direction).unwrap();
        Ledger::new(geometry, WakeupPolicy::watermark(100), 0).unwrap()
    });
    let [mut forward, mut backward] = ledgers;
    for number in 0..1000 {
        let tail = forward.head();
        let [one, other] = [forward.sample(number % 40, tail), backward.sample(number % 40, 0)];
        assert_eq!(one.unwrap().wakeup, other.unwrap().wakeup, "{number}");
    }
}
