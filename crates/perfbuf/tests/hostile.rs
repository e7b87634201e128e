//! Memory that holds no ring, or records nobody knows: errors and skips, never a loop and never a byte from outside.
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

use ebpf_perfbuf::record::RECORD_SAMPLE;
use ebpf_perfbuf::{Corrupt, Direction, Event, Header, Reader, Stopped};
use support::Raw;

/// What a drain of a ring of 256 bytes gives, as text, and why it stopped.
fn drain(ring: &mut Raw) -> (Vec<String>, Stopped) {
    let mut seen = vec![];
    let drained = Reader::new(ring.memory()).unwrap().drain(usize::MAX, |event| {
        seen.push(match event {
            Event::Sample(sample) => {
                let (first, second) = sample.slices();
                format!("sample {} + {}", first.len(), second.len())
            }
            Event::Lost(lost) => format!("lost {} of {}", lost.count, lost.id),
            Event::Truncated { sample, raw_size } => format!("{} of {raw_size}", sample.raw_len()),
            Event::Other(other) => format!("type {}, {}", other.header().kind(), other.body().raw_len()),
            _ => panic!("a new kind of event"),
        });
        ControlFlow::Continue(())
    });
    (seen, drained.stopped)
}

#[test]
fn sizes_that_cannot_be_are_errors_that_name_the_record() {
    for (size, available) in
        [(0u16, 64), (1, 64), (7, 64), (12, 64), (20, 64), (72, 64), (0xffff, 64), (0xfff8, 256)]
    {
        let mut ring = Raw::new(256, Direction::Forward);
        let header = Header::new(RECORD_SAMPLE, 0, size);
        ring.put_record(16, header, &4u32.to_ne_bytes());
        ring.set(16 + available, 16);
        let corrupt = Corrupt::Size { position: 16, header, available };
        assert_eq!(drain(&mut ring), (vec![], Stopped::Corrupt(corrupt)), "{size}");
        assert_eq!(ring.tail(), 16, "nothing is moved over");
        assert!(corrupt.to_string().contains(&format!("size {size}")), "{corrupt}");
    }
}

#[test]
fn heads_that_cannot_be_are_errors() {
    for (head, tail) in [(257 + 7, 0), (12, 0), (0, 8), (usize::MAX - 7, 0), (64, 4)] {
        let mut ring = Raw::new(256, Direction::Forward);
        ring.set(head, tail);
        let (seen, stopped) = drain(&mut ring);
        assert_eq!((seen.len(), stopped), (0, Stopped::Corrupt(Corrupt::Head { position: tail, head })));
        let reader = Reader::new(ring.memory()).unwrap();
        assert_eq!(reader.pending(), Err(Corrupt::Head { position: tail, head }));
    }
}

#[test]
fn records_of_unknown_kinds_are_moved_over_by_their_size() {
    let mut ring = Raw::new(256, Direction::Forward);
    let sample = Header::new(RECORD_SAMPLE, 1, 24);
    ring.put_record(224, Header::new(77, 0, 40), &[9; 32]);
    ring.put_record(264, sample, &12u32.to_ne_bytes());
    // A lost record too short to say how many, and a sample without raw data.
    ring.put_record(288, Header::new(2, 0, 16), &[0; 8]);
    ring.put_record(304, Header::new(RECORD_SAMPLE, 0, 8), &[]);
    ring.put_record(312, Header::new(2, 0, 24), &[5, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    ring.set(336, 224);
    let (seen, stopped) = drain(&mut ring);
    #[cfg(target_endian = "little")]
    assert_eq!(seen, ["type 77, 32", "sample 12 + 0", "type 2, 8", "type 9, 0", "lost 3 of 5"]);
    assert_eq!((seen.len(), stopped, ring.tail()), (5, Stopped::Empty, 336));
}

#[test]
fn a_sample_that_says_more_than_its_record_holds_is_cut() {
    let mut ring = Raw::new(256, Direction::Forward);
    for (position, raw) in [(0usize, 12u32), (24, 13), (48, u32::MAX), (72, 12), (96, 0)] {
        ring.put_record(position, Header::new(RECORD_SAMPLE, 1, 24), &raw.to_ne_bytes());
    }
    ring.set(120, 0);
    let (seen, stopped) = drain(&mut ring);
    assert_eq!(seen, ["sample 12 + 0", "12 of 13", "12 of 4294967295", "sample 12 + 0", "sample 0 + 0"]);
    assert_eq!(stopped, Stopped::Empty);
}

/// Also in the middle of a run that is guessed.
#[test]
fn what_is_guessed_is_checked_like_anything_else() {
    for (place, header, raw) in
        [(30u32, Header::new(RECORD_SAMPLE, 1, 0), 4), (30, Header::new(RECORD_SAMPLE, 1, 16), 5)]
    {
        let mut ring = Raw::new(1024, Direction::Forward);
        for index in 0..60 {
            let (header, raw) =
                if index == place { (header, raw) } else { (Header::new(RECORD_SAMPLE, 1, 16), 4u32) };
            ring.put_record(1000 + index as usize * 16, header, &raw.to_ne_bytes());
        }
        ring.set(1000 + 60 * 16, 1000);
        let (seen, stopped) = drain(&mut ring);
        if header.size() == 0 {
            assert_eq!(seen.len(), 30);
            assert!(matches!(stopped, Stopped::Corrupt(Corrupt::Size { position: 1480, .. })), "{stopped}");
        } else {
            assert_eq!((seen.len(), stopped), (60, Stopped::Empty));
            assert_eq!(seen.iter().filter(|seen| *seen == "4 of 5").count(), 1);
        }
    }
}

#[test]
fn giving_up_goes_on_behind_what_cannot_be_read() {
    let mut ring = Raw::new(256, Direction::Forward);
    ring.set(64, 0);
    let mut reader = Reader::new(ring.memory()).unwrap();
    assert!(matches!(reader.drain(9, |_| ControlFlow::Continue(())).stopped, Stopped::Corrupt(_)));
    assert_eq!(reader.resync(), 64);
    assert_eq!(reader.drain(9, |_| ControlFlow::Continue(())).stopped, Stopped::Empty);
    assert_eq!(reader.totals().given_up, 64);
    assert_eq!(ring.tail(), 64);
}
