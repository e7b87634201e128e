//! Reads an overwriting ring out of arbitrary bytes: whatever a hostile producer left in memory, the reader ends, stays inside, gives out nothing that was
//! overwritten, and never goes back.
//!
//! Input: size (1 byte), length of the buffer (1 byte), unused (6 bytes), `consumer_pos` (8), `producer_pos` (8), `overwrite_pos` (8), then the data area, zero
//! where the input ends.
#![no_main]

use std::ptr::NonNull;

use ebpf_ringbuf::{Geometry, HEADER_SIZE, Mapped, Mapping, OverwriteReader, PageOffset, Query, Stopped};
use libfuzzer_sys::fuzz_target;

const HEAD: usize = 32;

fuzz_target!(|input: &[u8]| {
    let Some((head, data)) = input.split_at_checked(HEAD) else { return };
    let size = 8usize << (head[0] % 10);
    let mut buffer = vec![0; usize::from(head[1])];
    let word = |at: usize| usize::from_ne_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let (start, produced, overwritten) = (word(8), word(16), word(24));

    let geometry = Geometry::new(size, 4096, Mapping::Mirrored, PageOffset::FromRing)
        .expect("a power of two from 8 on")
        .overwriting();
    // Boxes of exactly these sizes, so that the sanitizer sees one byte too far.
    let mut bytes = vec![0; size];
    let length = data.len().min(size);
    bytes[..length].copy_from_slice(&data[..length]);
    bytes.extend_from_within(..);
    let mut area: Box<[u64]> =
        bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes"))).collect();
    let mut consumer_page: Box<usize> = Box::new(start);
    let mut producer_page: Box<[usize; 3]> = Box::new([produced, 0, overwritten]);
    let first = NonNull::from(&mut *consumer_page).cast();
    let second = NonNull::from(&mut *producer_page).cast();
    let third = NonNull::from(&mut *area).cast();

    // SAFETY: the boxes live to the end of this function, are as long as the geometry says, aligned to eight bytes, and nothing
    // but this one reader touches them until it is dropped.
    let memory = unsafe { Mapped::new(first, second, third, geometry) };
    let Ok(mut reader) = OverwriteReader::new(memory) else {
        assert!(!start.is_multiple_of(HEADER_SIZE), "a whole position is taken");
        return;
    };
    let mut position = start;
    let mut stopped = None;
    for _ in 0..=size / HEADER_SIZE {
        match reader.next_record(&mut buffer) {
            Ok(copied) => {
                assert!(copied.payload_len + HEADER_SIZE <= size, "a record fits its ring");
                let moved = copied.position.wrapping_sub(position);
                assert!(moved.is_multiple_of(HEADER_SIZE), "records begin at multiples of eight");
                assert!(overwritten.wrapping_sub(copied.position).cast_signed() <= 0, "not overwritten");
                let end = copied.position.wrapping_add(HEADER_SIZE).wrapping_add(copied.payload_len);
                assert!(produced.wrapping_sub(end) < size, "nor beyond what was produced");
                // What was copied is what stands there.
                let at = copied.position % size + HEADER_SIZE;
                let copied_len = copied.payload_len.min(buffer.len());
                assert_eq!(buffer[..copied_len], bytes[at..at + copied_len]);
                position = copied.position;
            }
            Err(reason) => {
                stopped = Some(reason);
                break;
            }
        }
    }
    // What stopped it stops it again, and nothing moves: the memory does not change.
    let stopped = stopped.expect("a lap holds at most one record for every eight bytes");
    assert!(!stopped.to_string().is_empty());
    assert_eq!(reader.next_record(&mut buffer).err(), Some(stopped));
    if stopped == Stopped::Empty {
        assert_eq!(reader.query(Query::AvailableData), 0);
    }
    assert_eq!(reader.query(Query::OverwritePosition), overwritten);
    let missed = reader.missed();
    drop(reader);
    let consumed = (*consumer_page).wrapping_sub(start);
    assert!(missed <= consumed || consumed == 0, "what was missed has been moved over");
    assert_eq!(*producer_page, [produced, 0, overwritten], "the producer's page is the producer's");
});
