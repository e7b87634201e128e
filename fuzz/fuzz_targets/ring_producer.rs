//! Produces while a hostile consumer writes any `consumer_pos` it likes: reservations never overlap, nothing is lost or counted twice, no call fails to end.
//!
//! Input: a byte for each call and its argument in the next two.
#![no_main]

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use ebpf_ringbuf::memory::Memory;
use ebpf_ringbuf::{FlatRing, PageOffset, SubmitFlags, marks_for};
use libfuzzer_sys::fuzz_target;

const SIZE: usize = 1024;

fuzz_target!(|input: &[u8]| {
    let mut data = [0u64; SIZE / 8];
    let mut ring = FlatRing::<{ marks_for(SIZE).next_power_of_two() }>::new();
    let (producer, consumer) = ring.split(&mut data, 64, PageOffset::FromData).expect("sizes of a ring");
    let producer = producer.counting();
    let mut open: VecDeque<_> = VecDeque::new();
    let mut refused = 0;
    for call in input.chunks_exact(3) {
        let argument = usize::from(u16::from_le_bytes([call[1], call[2]]));
        match call[0] % 6 {
            0 | 1 => match producer.reserve(argument % (SIZE + 16)) {
                Ok(mut reservation) => {
                    let end = reservation.position() + (reservation.len() + 15) / 8 * 8;
                    if let Some((oldest, _)) = open.front() {
                        assert!(end - oldest < SIZE, "more than a lap is being written");
                    }
                    // Each owner's bytes are its own: written now, still there at the commit.
                    let mark = call[1];
                    reservation.fill(mark);
                    open.push_back((reservation.position(), (reservation, mark)));
                }
                Err(error) => {
                    refused += 1;
                    assert!(!error.to_string().is_empty());
                }
            },
            2 | 3 if !open.is_empty() => {
                let (_, (reservation, mark)) =
                    open.remove(argument % open.len()).expect("an index below the length");
                assert!(reservation.iter().all(|byte| *byte == mark), "somebody wrote into a claimed record");
                let flags = SubmitFlags::from_bits_truncate(u64::from(call[2]));
                let wakeup = match call[0] % 3 {
                    0 => reservation.submit(flags),
                    1 => reservation.discard(flags),
                    _ => {
                        drop(reservation);
                        continue;
                    }
                };
                if flags.contains(SubmitFlags::FORCE_WAKEUP) {
                    assert!(wakeup.is_needed());
                }
            }
            4 => {
                // A lie; not even a multiple of eight.
                let lie = if call[2] & 1 == 0 { argument } else { 0usize.wrapping_sub(argument) };
                consumer.memory().consumer_position().store(lie, Ordering::Relaxed);
            }
            // As an honest consumer that has read everything committed would.
            _ => {
                let position = producer.memory().pending_position().load(Ordering::Relaxed);
                consumer.memory().consumer_position().store(position, Ordering::Relaxed);
            }
        }
        let tally = producer.tally();
        assert_eq!(tally.outstanding(), open.len());
        assert_eq!(tally.refused(), refused);
    }
});
