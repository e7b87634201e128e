//! Reads a ring out of arbitrary bytes: whatever a hostile producer left in memory, the consumer ends, stays inside, and never
//! goes back.
//!
//! Input: kind of mapping (1 byte), limit (1 byte), size (1 byte), unused (5 bytes), `consumer_pos` (8), `producer_pos` (8), then
//! the data area, zero where the input ends.
#![no_main]

use std::ops::ControlFlow;
use std::ptr::NonNull;

use ebpf_ringbuf::{Consumer, Geometry, HEADER_SIZE, Mapped, Mapping, PageOffset, Query, Stopped};
use libfuzzer_sys::fuzz_target;

const HEAD: usize = 24;

fuzz_target!(|input: &[u8]| {
    let Some((head, data)) = input.split_at_checked(HEAD) else { return };
    let mirrored = head[0] & 1 != 0;
    let limit = usize::from(head[1]);
    let size = 8usize << (head[2] % 10);
    let word = |at: usize| usize::from_ne_bytes(head[at..at + 8].try_into().expect("eight bytes"));

    let mapping = if mirrored { Mapping::Mirrored } else { Mapping::Flat };
    let geometry =
        Geometry::new(size, 4096, mapping, PageOffset::FromRing).expect("a power of two from 8 on");
    // A second mapping of the same bytes is a copy of them here: the consumer writes no data. Boxes of exactly this size,
    // so that the sanitizer sees one byte too far.
    let mut bytes = vec![0; size];
    let length = data.len().min(size);
    bytes[..length].copy_from_slice(&data[..length]);
    if mirrored {
        bytes.extend_from_within(..);
    }
    let mut area: Box<[u64]> =
        bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes"))).collect();
    let mut consumer_page: Box<usize> = Box::new(word(8));
    // `producer_pos`, `pending_pos`, `overwrite_pos`.
    let mut producer_page: Box<[usize; 3]> = Box::new([word(16), 0, 0]);
    let (start, produced) = (*consumer_page, producer_page[0]);
    let first = NonNull::from(&mut *consumer_page).cast();
    let second = NonNull::from(&mut *producer_page).cast();
    let third = NonNull::from(&mut *area).cast();

    // SAFETY: the boxes live to the end of this function, are as long as the geometry says, aligned to eight bytes, and nothing
    // but this one consumer touches them until it is dropped.
    let memory = unsafe { Mapped::new(first, second, third, geometry) };
    let Ok(mut consumer) = Consumer::new(memory) else {
        assert!(!start.is_multiple_of(HEADER_SIZE), "a whole position is taken");
        return;
    };
    let mut seen = 0;
    let mut position = start;
    let drained = consumer.drain(limit, |payload| {
        assert!(payload.position().wrapping_sub(start) < size, "records lie within a lap of the start");
        assert!(
            payload.position().wrapping_sub(start) >= position.wrapping_sub(start),
            "records come in order"
        );
        assert_eq!(payload.len(), payload.payload_len());
        assert!(payload.len() + HEADER_SIZE <= size, "a record fits its ring");
        position = payload.position();
        seen += std::hint::black_box(payload.iter().map(|byte| usize::from(*byte)).sum::<usize>()) & 1;
        if payload.first() == Some(&0xee) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(drained.records <= limit && drained.bytes <= size);
    assert!(!format!("{}", drained.stopped).is_empty());

    // One at a time from there on.
    let mut stopped = None;
    for _ in 0..=size / HEADER_SIZE {
        match consumer.next_record() {
            Ok(record) => {
                let mut copy = [0; 64];
                let copied = record.copy_to(&mut copy);
                assert_eq!(&copy[..copied], &record[..copied]);
            }
            Err(reason) => {
                stopped = Some(reason);
                break;
            }
        }
    }
    // What stopped it stops it again, and nothing moves: the memory does not change.
    let stopped = stopped.expect("a lap holds at most one record for every eight bytes");
    assert_eq!(consumer.next_record().err(), Some(stopped));
    if stopped == Stopped::Empty {
        assert_eq!(consumer.query(Query::AvailableData), 0);
    }
    drop(consumer);
    let consumed = (*consumer_page).wrapping_sub(start);
    assert!(
        consumed.is_multiple_of(HEADER_SIZE) && consumed <= size,
        "consumer_pos moves over whole records"
    );
    assert!(consumed <= produced.wrapping_sub(start), "and not past producer_pos");
    assert_eq!(producer_page[0], produced, "producer_pos is not the consumer's");
    std::hint::black_box(seen);
});
