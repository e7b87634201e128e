//! One step of a ring, or of a transaction, as often as told, to have its instructions counted: `steps NAME COUNT`.
//!
//! What is set up is the same for every count, so the difference between two counts is that many steps.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a step that goes wrong must not count"
)]

#[path = "../idle.rs"]
mod idle;

use std::hint::black_box;
use std::ops::ControlFlow;

use ebpf_perfbuf::{Direction, Event, PlainRing, WakeupPolicy, Writer};
use ebpf_ringbuf::{
    Consumer, ExclusiveProducer, FlatRing, Mapped, PageOffset, Producer, SharedMarks, SubmitFlags, marks_for,
};

const SIZE: usize = 256 * 1024;
/// More than any count.
const RECORDS: usize = 1500;

/// A step's name as it stands in the table, and what does it so many times.
type Step = (&'static str, fn(usize));

const STEPS: [Step; 27] = [
    ("exclusive/push-64", |count| exclusive_push(count, SubmitFlags::NO_WAKEUP)),
    ("exclusive/push-64-adaptive", |count| exclusive_push(count, SubmitFlags::empty())),
    ("exclusive/reserve-submit-64", exclusive_reserve),
    ("exclusive/discard-64", exclusive_discard),
    ("exclusive/full-64", exclusive_full),
    ("exclusive/wrap", exclusive_wrap),
    ("shared/push-64", |count| shared_push(count, SubmitFlags::NO_WAKEUP)),
    ("shared/push-64-adaptive", |count| shared_push(count, SubmitFlags::empty())),
    ("shared/reserve-submit-64", shared_reserve),
    ("shared/discard-64", shared_discard),
    ("shared/full-64", shared_full),
    ("shared/wrap", shared_wrap),
    ("consumer/pop-64", |count| pop(count, &[64])),
    ("consumer/skip-discarded-64", skip),
    ("consumer/empty", empty),
    ("consumer/drain-64", |count| drain(count, &[64])),
    ("consumer/drain-8-and-64-in-turn", |count| drain(count, &[8, 64])),
    ("consumer/drain-mixed", |count| drain(count, &MIXED)),
    ("perf-writer/output-64", perf_output),
    ("perf-writer/full-64", perf_full),
    ("perf-reader/empty", perf_empty),
    ("perf-reader/drain-64", |count| perf_drain(count, &[64])),
    ("perf-reader/drain-8-and-64-in-turn", |count| perf_drain(count, &[8, 64])),
    ("perf-reader/drain-mixed", |count| perf_drain(count, &MIXED)),
    ("wfp/bare-mutex", |count| {
        let mutex = parking_lot::Mutex::new(());
        (0..count).for_each(|_| idle::bare_transaction(&mutex));
    }),
    ("wfp/grouped", |count| {
        let strategy = idle::grouped();
        (0..count).for_each(|_| idle::transaction(&strategy));
    }),
    ("wfp/serialized", |count| {
        let strategy = idle::serialized();
        (0..count).for_each(|_| idle::transaction(&strategy));
    }),
];

const MIXED: [usize; 11] = [8, 64, 16, 32, 8, 16, 16, 64, 32, 8, 64];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        for (name, _) in STEPS {
            println!("{name}");
        }
        return;
    };
    let count = arguments.next().and_then(|count| count.parse().ok()).filter(|count| *count <= RECORDS);
    let (_, step) = STEPS.iter().find(|(known, _)| *known == name).expect("a step of the list");
    step(count.expect("a count"));
}

type Exclusive = ExclusiveProducer<Mapped<'static>>;
type Shared = Producer<Mapped<'static>, SharedMarks<'static>>;
type Reader = Consumer<Mapped<'static>>;

fn exclusive(size: usize) -> (Exclusive, Reader) {
    let ring = Box::leak(Box::new(FlatRing::<0>::new()));
    ring.split_exclusive(vec![0; size / 8].leak(), 4096, PageOffset::FromRing).expect("a ring")
}

fn shared<const MARKS: usize>(size: usize) -> (Shared, Reader) {
    let ring = Box::leak(Box::new(FlatRing::<MARKS>::new()));
    ring.split(vec![0; size / 8].leak(), 4096, PageOffset::FromRing).expect("a ring")
}

const BYTES: [u8; 64] = [7; 64];

fn payload(length: usize) -> &'static [u8] {
    black_box(&BYTES[..black_box(length)])
}

fn exclusive_push(count: usize, flags: SubmitFlags) {
    let (mut producer, _consumer) = exclusive(SIZE);
    for _ in 0..count {
        let _ = black_box(producer.output(payload(64), black_box(flags)).expect("space"));
    }
}

fn exclusive_reserve(count: usize) {
    let (mut producer, _consumer) = exclusive(SIZE);
    for _ in 0..count {
        let mut record = producer.reserve(black_box(64)).expect("space");
        record.copy_from_slice(payload(64));
        let _ = black_box(record.submit(SubmitFlags::empty()));
    }
}

fn exclusive_discard(count: usize) {
    let (mut producer, _consumer) = exclusive(SIZE);
    for _ in 0..count {
        let _ = black_box(producer.reserve(black_box(64)).expect("space").discard(SubmitFlags::empty()));
    }
}

fn exclusive_full(count: usize) {
    let (mut producer, _consumer) = exclusive(4096);
    while producer.output(payload(64), SubmitFlags::NO_WAKEUP).is_ok() {}
    for _ in 0..count {
        assert!(black_box(producer.reserve(black_box(64))).is_err(), "the ring is full");
    }
}

/// A lap of two records and the filler at its end, read as well.
fn exclusive_wrap(count: usize) {
    let (mut producer, mut consumer) = exclusive(256);
    for _ in 0..count {
        for _ in 0..2 {
            let _ = producer.output(black_box(&[7; 88]), SubmitFlags::NO_WAKEUP).expect("space");
            black_box(consumer.next_record().expect("a record").len());
        }
    }
}

fn shared_push(count: usize, flags: SubmitFlags) {
    let (producer, _consumer) = shared::<{ marks_for(SIZE) }>(SIZE);
    for _ in 0..count {
        let _ = black_box(producer.output(payload(64), black_box(flags)).expect("space"));
    }
}

fn shared_reserve(count: usize) {
    let (producer, _consumer) = shared::<{ marks_for(SIZE) }>(SIZE);
    for _ in 0..count {
        let mut record = producer.reserve(black_box(64)).expect("space");
        record.copy_from_slice(payload(64));
        let _ = black_box(record.submit(SubmitFlags::empty()));
    }
}

fn shared_discard(count: usize) {
    let (producer, _consumer) = shared::<{ marks_for(SIZE) }>(SIZE);
    for _ in 0..count {
        let _ = black_box(producer.reserve(black_box(64)).expect("space").discard(SubmitFlags::empty()));
    }
}

fn shared_full(count: usize) {
    let (producer, _consumer) = shared::<{ marks_for(4096) }>(4096);
    while producer.output(payload(64), SubmitFlags::NO_WAKEUP).is_ok() {}
    for _ in 0..count {
        assert!(black_box(producer.reserve(black_box(64))).is_err(), "the ring is full");
    }
}

/// As [`exclusive_wrap`].
fn shared_wrap(count: usize) {
    let (producer, mut consumer) = shared::<{ marks_for(256) }>(256);
    for _ in 0..count {
        for _ in 0..2 {
            let _ = producer.output(black_box(&[7; 88]), SubmitFlags::NO_WAKEUP).expect("space");
            black_box(consumer.next_record().expect("a record").len());
        }
    }
}

fn filled(lengths: &[usize]) -> Reader {
    let (mut producer, consumer) = exclusive(SIZE);
    for length in lengths.iter().cycle().take(RECORDS) {
        let _ = producer.output(payload(*length), SubmitFlags::NO_WAKEUP).expect("space");
    }
    consumer
}

fn pop(count: usize, lengths: &[usize]) {
    let mut consumer = filled(lengths);
    let mut sum = 0u64;
    for _ in 0..count {
        let record = consumer.next_record().expect("a record");
        sum = sum.wrapping_add(first(&record));
    }
    black_box(sum);
}

/// A submitted record behind as many discarded ones, of which there are more in the ring.
fn skip(count: usize) {
    let (mut producer, mut consumer) = exclusive(SIZE);
    for number in 0..RECORDS {
        let record = producer.reserve(64).expect("space");
        let _ = if number == count {
            record.submit(SubmitFlags::NO_WAKEUP)
        } else {
            record.discard(SubmitFlags::NO_WAKEUP)
        };
    }
    black_box(consumer.next_record().expect("a record").len());
}

fn empty(count: usize) {
    let (_producer, mut consumer) = exclusive(SIZE);
    for _ in 0..count {
        assert!(black_box(consumer.next_record()).is_err(), "nothing is there");
    }
}

fn drain(count: usize, lengths: &[usize]) {
    let mut consumer = filled(lengths);
    let mut sum = 0u64;
    let drained = consumer.drain(black_box(count), |payload| {
        sum = sum.wrapping_add(first(&payload));
        ControlFlow::Continue(())
    });
    assert_eq!(drained.records, count, "as many as asked for");
    black_box(sum);
}

fn first(payload: &[u8]) -> u64 {
    payload.first_chunk().map_or(0, |first| u64::from_ne_bytes(*first))
}

type PerfWriter = Writer<ebpf_perfbuf::Mapped<'static>>;
type PerfReader = ebpf_perfbuf::Reader<ebpf_perfbuf::Mapped<'static>>;

fn perf(size: usize) -> (PerfWriter, PerfReader) {
    let ring = Box::leak(Box::new(PlainRing::new()));
    let (writer, reader) = ring.split(vec![0; size / 8].leak(), size, Direction::Forward).expect("a ring");
    let writer = Writer::new(writer, WakeupPolicy::events(100)).expect("a policy");
    (writer, ebpf_perfbuf::Reader::new(reader).expect("a forward ring"))
}

fn perf_output(count: usize) {
    let (mut writer, _reader) = perf(SIZE);
    for _ in 0..count {
        let _ = black_box(writer.output(payload(64)).expect("space"));
    }
}

fn perf_full(count: usize) {
    let (mut writer, _reader) = perf(4096);
    while writer.output(payload(64)).is_ok() {}
    for _ in 0..count {
        assert!(black_box(writer.output(payload(64))).is_err(), "the ring is full");
    }
}

fn perf_empty(count: usize) {
    let (_writer, mut reader) = perf(SIZE);
    for _ in 0..count {
        let drained = black_box(reader.drain(usize::MAX, |_| ControlFlow::Continue(())));
        assert_eq!(drained.records(), 0, "nothing is there");
    }
}

fn perf_drain(count: usize, lengths: &[usize]) {
    let (mut writer, mut reader) = perf(SIZE);
    for length in lengths.iter().cycle().take(RECORDS) {
        let _ = writer.output(payload(*length)).expect("space");
    }
    let mut sum = 0u64;
    let drained = reader.drain(black_box(count), |event| {
        if let Event::Sample(sample) = event {
            sum = sum.wrapping_add(first(sample.slices().0));
        }
        ControlFlow::Continue(())
    });
    assert_eq!(drained.samples, count, "as many as asked for");
    black_box(sum);
}
