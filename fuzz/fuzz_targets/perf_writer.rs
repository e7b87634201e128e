//! Writes a perf ring, reads it, and keeps beside it what the rule says, naively: which samples are taken, which losses are reported, which of them wake,
//! and that what is read is what was written.
//!
//! Input: size and policy (1 byte), the policy's number (1 byte), then a byte for each call and its argument in the next.
#![no_main]

use std::collections::VecDeque;
use std::ops::ControlFlow;

use ebpf_perfbuf::memory::{Memory, Position};
use ebpf_perfbuf::{
    Direction, Event, LOST_SIZE, PlainRing, Reader, Stopped, WakeupPolicy, Writer, raw_size, sample_size, sites,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&[kind, number], calls)) = input.split_first_chunk() else { return };
    let size = 64usize << (kind & 3);
    let policy = match kind >> 2 & 3 {
        0 => WakeupPolicy::HalfFull,
        1 => WakeupPolicy::watermark(u32::from(number)),
        _ => WakeupPolicy::events(u32::from(number)),
    };
    let mut ring = PlainRing::new();
    let mut data = vec![0; size / 8];
    let (writing, reading) = ring.split(&mut data, size, Direction::Forward).expect("sizes of a ring");
    let mut writer = Writer::new(writing, policy).expect("a byte's worth of events can be counted");
    let mut reader = Reader::new(reading).expect("a forward ring");
    let mut naive = Naive::new(size, policy);
    for call in calls.chunks_exact(2) {
        let argument = usize::from(call[1]);
        match call[0] % 8 {
            0..=3 => {
                let payload = vec![call[1]; argument % (size + 8)];
                let written = writer.output(&payload);
                match (naive.sample(&payload), written) {
                    (Some(wakes), Ok(wakeup)) => assert_eq!(wakes, wakeup.is_needed()),
                    (None, Err(refused)) => assert!(!refused.to_string().is_empty()),
                    (expected, really) => panic!("{really:?} instead of {expected:?}"),
                }
            }
            4 => {
                writer.pause();
                naive.paused = true;
            }
            5 => {
                writer.resume();
                naive.paused = false;
            }
            _ => read(&mut reader, &mut naive, argument % 4),
        }
        assert_eq!(Position::load(writer.memory().head(), sites::SETUP), naive.head);
    }
    read(&mut reader, &mut naive, usize::MAX);
    assert!(naive.records.is_empty(), "nothing is left unread");
});

/// What the ring does, in the words of the documentation.
struct Naive {
    size: usize,
    head: usize,
    tail: usize,
    lost: u64,
    paused: bool,
    records: VecDeque<Record>,
    watermark: usize,
    wanted: u32,
    events: u32,
    wakeup: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Record {
    Lost(u64),
    Sample(Vec<u8>),
}

impl Naive {
    fn new(size: usize, policy: WakeupPolicy) -> Self {
        let (watermark, wanted) = match policy {
            WakeupPolicy::Watermark(bytes) => ((bytes.get() as usize).min(size), 0),
            WakeupPolicy::Events(events) => (size / 2, events.get()),
            _ => (size / 2, 0),
        };
        let (records, paused) = (VecDeque::new(), false);
        Self { size, head: 0, tail: 0, lost: 0, paused, records, watermark, wanted, events: 0, wakeup: 0 }
    }

    /// Whether the sample wakes the reader; `None` if it is refused.
    fn sample(&mut self, payload: &[u8]) -> Option<bool> {
        let lost = if self.lost > 0 { LOST_SIZE } else { 0 };
        let length = sample_size(payload.len()) + lost;
        // One byte always stays free.
        if self.paused || self.head - self.tail + length > self.size - 1 {
            self.lost += 1;
            return None;
        }
        if lost > 0 {
            self.records.push_back(Record::Lost(std::mem::take(&mut self.lost)));
        }
        self.records.push_back(Record::Sample(payload.to_vec()));
        self.head += length;
        let before = self.wakeup;
        if self.head - self.wakeup > self.watermark {
            self.wakeup += self.watermark;
        }
        if self.wanted > 0 {
            self.events += 1;
            if self.events >= self.wanted {
                self.events -= self.wanted;
                self.wakeup += 1;
            }
        }
        Some(self.wakeup != before)
    }

    fn read(&mut self, record: &Record) {
        assert_eq!(self.records.pop_front().as_ref(), Some(record));
        self.tail += match record {
            Record::Lost(_) => LOST_SIZE,
            Record::Sample(payload) => sample_size(payload.len()),
        };
    }
}

fn read<M: Memory>(reader: &mut Reader<M>, naive: &mut Naive, limit: usize) {
    let drained = reader.drain(limit, |event| {
        match event {
            Event::Sample(sample) => {
                let mut bytes = vec![0; sample.raw_len()];
                sample.copy_to(&mut bytes);
                // Linux rounds what it says is the payload up to its padding.
                let length = naive.records.front().map_or(0, |record| match record {
                    Record::Sample(payload) => payload.len(),
                    Record::Lost(_) => 0,
                });
                assert_eq!(sample.raw_len(), raw_size(length));
                bytes.truncate(length);
                naive.read(&Record::Sample(bytes));
            }
            Event::Lost(lost) => naive.read(&Record::Lost(lost.count)),
            other => panic!("nobody wrote {other:?}"),
        }
        ControlFlow::Continue(())
    });
    match drained.stopped {
        Stopped::Empty => assert!(naive.records.is_empty()),
        Stopped::Limit => assert!(drained.records() == limit),
        other => panic!("{other:?}"),
    }
    assert_eq!(Position::load(reader.memory().tail(), sites::SETUP), naive.tail);
}
