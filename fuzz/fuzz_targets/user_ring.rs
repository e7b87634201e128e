//! Drains a user ring of arbitrary bytes: whatever user space left in it, the drain ends, stays inside, and moves over whole samples only.
//!
//! Input: size (1 byte), unused (7 bytes), `consumer_pos` (8), `producer_pos` (8), then the data area, zero where the input ends.
#![no_main]

use std::ops::ControlFlow;
use std::ptr::NonNull;

use ebpf_ringbuf::{
    Geometry, HEADER_SIZE, MAX_USER_SAMPLES, Mapped, Mapping, PageOffset, SubmitFlags, UserConsumer,
};
use libfuzzer_sys::fuzz_target;

const HEAD: usize = 24;

fuzz_target!(|input: &[u8]| {
    let Some((head, data)) = input.split_at_checked(HEAD) else { return };
    let size = 8usize << (head[0] % 10);
    let word = |at: usize| usize::from_ne_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let geometry =
        Geometry::new(size, 4096, Mapping::Mirrored, PageOffset::FromRing).expect("a power of two from 8 on");
    let mut bytes = vec![0; size];
    let length = data.len().min(size);
    bytes[..length].copy_from_slice(&data[..length]);
    bytes.extend_from_within(..);
    let mut area: Box<[u64]> =
        bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes"))).collect();
    // The kernel's own position is always whole.
    let mut consumer_page: Box<usize> = Box::new(word(8) & !7);
    let mut producer_page: Box<[usize; 3]> = Box::new([word(16), 0, 0]);
    let start = *consumer_page;
    let first = NonNull::from(&mut *consumer_page).cast();
    let second = NonNull::from(&mut *producer_page).cast();
    let third = NonNull::from(&mut *area).cast();

    // SAFETY: the boxes live to the end of this function, are as long as the geometry says, aligned to eight bytes, and nothing
    // but this one consumer touches them until it is dropped.
    let memory = unsafe { Mapped::new(first, second, third, geometry) };
    let mut consumer = UserConsumer::new(memory);
    let mut bytes = 0usize;
    let result = consumer.drain(SubmitFlags::empty(), |sample| {
        assert!(sample.len() + HEADER_SIZE <= size, "a sample fits its ring");
        bytes = bytes.wrapping_add(sample.iter().map(|byte| usize::from(*byte)).sum());
        ControlFlow::Continue(())
    });
    match result {
        Ok(drained) => {
            assert!(drained.samples + drained.discarded <= MAX_USER_SAMPLES);
            assert_eq!(drained.wakeup.is_needed(), drained.samples + drained.discarded != 0);
        }
        Err(failed) => assert!(matches!(failed.error.errno(), 7 | 22) && !failed.to_string().is_empty()),
    }
    drop(consumer);
    let moved = (*consumer_page).wrapping_sub(start);
    assert!(moved.is_multiple_of(HEADER_SIZE) && moved / HEADER_SIZE <= 4 * MAX_USER_SAMPLES * size);
    std::hint::black_box(bytes);
});
