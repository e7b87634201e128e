//! Writer and reader beside a queue: any sequence of payloads comes out as it went in, whatever the drains guess.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

use std::collections::VecDeque;
use std::ops::ControlFlow;

use ebpf_perfbuf::{
    Direction, Event, PlainRing, Reader, Refused, Stopped, WakeupPolicy, Writer, raw_size, sample_size,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Call {
    /// So many samples of these lengths in turn.
    Output {
        lengths: Vec<usize>,
        count: usize,
    },
    /// Up to so many records; the callback asks to stop after so many.
    Drain {
        limit: usize,
        asks_after: usize,
    },
    Pause,
    Resume,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let lengths = prop_oneof![
        4 => prop::collection::vec(0usize..40, 1..3),
        2 => prop::collection::vec(prop::sample::select(vec![8usize, 64, 100]), 1..6),
        1 => prop::collection::vec(0usize..2000, 1..4),
    ];
    let some = || prop_oneof![Just(usize::MAX), 0usize..60];
    let call = prop_oneof![
        6 => (lengths, 1usize..80).prop_map(|(lengths, count)| Call::Output { lengths, count }),
        4 => (some(), some()).prop_map(|(limit, asks_after)| Call::Drain { limit, asks_after }),
        1 => Just(Call::Pause),
        2 => Just(Call::Resume),
    ];
    prop::collection::vec(call, 1..40)
}

/// Do the two parts begin with these bytes, padding following?
fn begins_with((first, second): (&[u8], &[u8]), payload: &[u8]) -> bool {
    first.iter().chain(second).take(payload.len()).eq(payload)
}

/// What a queue says is in the ring.
#[derive(Debug, PartialEq)]
enum Item {
    Lost(u64),
    Sample(Vec<u8>),
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(size in prop::sample::select(vec![32usize, 64, 256, 1024, 4096]), calls in calls()) {
        let (mut page, mut data) = (PlainRing::new(), vec![0u64; size / 8]);
        let (writing, reading) = page.split(&mut data, size, Direction::Forward).unwrap();
        let mut writer = Writer::new(writing, WakeupPolicy::HalfFull).unwrap();
        let mut reader = Reader::new(reading).unwrap();
        let mut queue = VecDeque::new();
        let (mut used, mut lost, mut is_paused, mut number) = (0, 0u64, false, 0usize);
        for call in calls {
            match call {
                Call::Pause => { writer.pause(); is_paused = true; }
                Call::Resume => { writer.resume(); is_paused = false; }
                Call::Output { lengths, count } => for length in lengths.iter().cycle().take(count) {
                    number += 1;
                    let payload: Vec<u8> = (0..*length).map(|byte| (byte ^ number) as u8).collect();
                    let needed = sample_size(*length) + if lost == 0 { 0 } else { 24 };
                    let written = writer.output(&payload);
                    if is_paused {
                        prop_assert_eq!(written, Err(Refused::Paused));
                        lost += 1;
                    } else if used + needed > size - 8 {
                        prop_assert_eq!(written, Err(Refused::Full));
                        lost += 1;
                    } else {
                        prop_assert!(written.is_ok());
                        if lost != 0 {
                            queue.push_back((24, Item::Lost(std::mem::take(&mut lost))));
                        }
                        queue.push_back((sample_size(*length), Item::Sample(payload)));
                        used += needed;
                    }
                    prop_assert_eq!(writer.ledger().unreported(), lost);
                },
                Call::Drain { limit, asks_after } => {
                    prop_assert_eq!(reader.pending(), Ok(used));
                    let (mut seen, mut wrong) = (0, None);
                    let drained = reader.drain(limit, |event| {
                        seen += 1;
                        let (bytes, expected) = queue.pop_front().unwrap();
                        used -= bytes;
                        let is_same = match (&event, &expected) {
                            (Event::Lost(lost), Item::Lost(count)) => lost.count == *count,
                            (Event::Sample(sample), Item::Sample(payload)) => {
                                sample.raw_len() == raw_size(payload.len())
                                    && sample.possible_lengths().contains(&payload.len())
                                    && sample.exact(payload.len()).unwrap().is_bytes(payload)
                                    && begins_with(sample.slices(), payload)
                            }
                            _ => false,
                        };
                        if !is_same {
                            wrong.get_or_insert(format!("{event:?} in place of {expected:?}"));
                        }
                        if seen > asks_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    });
                    prop_assert_eq!(wrong, None);
                    prop_assert_eq!(drained.records(), seen);
                    let stopped = match drained.stopped {
                        Stopped::Asked => seen == asks_after + 1,
                        Stopped::Empty => queue.is_empty(),
                        Stopped::Limit => seen == limit && !queue.is_empty(),
                        _ => false,
                    };
                    prop_assert!(stopped, "{:?} after {}", drained, seen);
                }
            }
        }
        let totals = reader.totals();
        let left = queue.iter().map(|(_, item)| match item { Item::Lost(count) => *count, Item::Sample(_) => 1 }).sum::<u64>();
        prop_assert_eq!(totals.samples + totals.lost + left + writer.ledger().unreported(), number as u64);
    }
}
