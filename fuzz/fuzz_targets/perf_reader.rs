//! Reads perf rings out of arbitrary bytes: whatever stands in memory, the readers end, stay inside, and never go back.
//!
//! Input: direction and whether the page is followed (1 byte), limit (1 byte), size (1 byte), what to do in the end (1 byte), unused (4 bytes), `data_head` (8), `data_tail`
//! (8), then the data, zero where the input ends.
#![no_main]

use std::ops::ControlFlow;
use std::ptr::NonNull;

use ebpf_perfbuf::page::field;
use ebpf_perfbuf::{
    BackwardReader, BackwardStopped, CpuReader, Direction, Event, Geometry, Mapped, PAGE_FIELDS, PerCpu, Reader,
    Stopped, Turn,
};
use libfuzzer_sys::fuzz_target;

const HEAD: usize = 24;

fuzz_target!(|input: &[u8]| {
    let Some((head, data)) = input.split_at_checked(HEAD) else { return };
    let direction = if head[0] & 1 == 0 { Direction::Forward } else { Direction::Backward };
    let limit = usize::from(head[1]);
    let size = 32usize << (head[2] % 8);
    let word = |at: usize| u64::from_ne_bytes(head[at..at + 8].try_into().expect("eight bytes"));

    // Page and data in one box of exactly this size, so that the sanitizer sees one byte too far.
    let mut bytes = vec![0; PAGE_FIELDS + size];
    bytes[field::DATA_HEAD..][..8].copy_from_slice(&word(8).to_ne_bytes());
    bytes[field::DATA_TAIL..][..8].copy_from_slice(&word(16).to_ne_bytes());
    // What the page says of its data is sometimes anything, too.
    let (offset, said) = if head[0] & 2 == 0 { (PAGE_FIELDS as u64, size as u64) } else { (word(8), word(16)) };
    bytes[field::DATA_OFFSET..][..8].copy_from_slice(&offset.to_ne_bytes());
    bytes[field::DATA_SIZE..][..8].copy_from_slice(&said.to_ne_bytes());
    let length = data.len().min(size);
    bytes[PAGE_FIELDS..][..length].copy_from_slice(&data[..length]);
    let mut area: Box<[u64]> =
        bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes"))).collect();
    let page = NonNull::from(&mut *area).cast();
    let open = || {
        // SAFETY: the box lives to the end of this function, is as long as said, aligned to eight bytes, and the values made here are used one after the other.
        unsafe { Mapped::open(page, PAGE_FIELDS + size, direction) }
    };
    let Ok(memory) = open() else {
        assert!(head[0] & 2 != 0, "a page that is right is taken");
        return;
    };
    let size = ebpf_perfbuf::memory::Memory::geometry(&memory).size();
    assert!(Geometry::new(size, direction).is_ok());
    match direction {
        Direction::Forward => {
            let tail = word(16) as usize;
            let seen = forward(memory, tail, limit, size);
            // The same through a set, flushed, in parts: it gives the same records.
            let rest = flushed(open().expect("as before"), limit.max(1), size);
            assert!(rest <= size / 8 && seen <= size / 8);
        }
        Direction::Backward => backward(memory, limit, size),
    }
});

/// Gives how many records were read.
fn forward(memory: Mapped<'_>, tail: usize, limit: usize, size: usize) -> usize {
    let mut reader = Reader::new(memory).expect("a forward ring");
    let pending = reader.pending();
    let (mut last, mut count) = (tail, 0);
    let drained = reader.drain(limit, |event| {
        count += 1;
        let sample = match &event {
            Event::Sample(sample) | Event::Truncated { sample, .. } => sample,
            Event::Other(other) => other.body(),
            _ => return ControlFlow::Continue(()),
        };
        assert!(sample.position().wrapping_sub(tail) >= last.wrapping_sub(tail), "records come in order");
        last = sample.position();
        let (first, second) = sample.slices();
        assert_eq!(first.len() + second.len(), sample.raw_len());
        assert!(sample.raw_len() + 8 <= size, "a record fits its ring");
        let sum: usize = first.iter().chain(second).map(|byte| usize::from(*byte)).sum();
        let mut copy = vec![0; sample.raw_len()];
        assert_eq!(sample.copy_to(&mut copy), copy.len());
        assert!(sample.is_bytes(&copy) && std::hint::black_box(sum) <= copy.len() * 255);
        if let Ok(payload) = sample.prefixed() {
            assert!(payload.raw_len() + 4 <= sample.raw_len());
        }
        if sum == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(drained.records(), count);
    assert!(count <= limit);
    if let Stopped::Corrupt(corrupt) = drained.stopped {
        assert!(!corrupt.to_string().is_empty());
        // What stopped it stops it again, unless it is given up.
        assert_eq!(reader.drain(1, |_| ControlFlow::Continue(())).stopped, drained.stopped);
        if let Ok(pending) = pending {
            assert!(reader.resync() <= pending);
            assert_eq!(reader.drain(1, |_| ControlFlow::Continue(())).stopped, Stopped::Empty);
        }
    }
    // Back to where it was, for the next reader.
    let records = count;
    ebpf_perfbuf::memory::Position::store(
        ebpf_perfbuf::memory::Memory::tail(reader.memory()),
        tail,
        ebpf_perfbuf::sites::READER_TAIL,
    );
    records
}

fn flushed(memory: Mapped<'_>, limit: usize, size: usize) -> usize {
    let reader = CpuReader::new(0, Reader::new(memory).expect("a forward ring"));
    let mut set = PerCpu::new([reader]).expect("one ring");
    set.flush();
    let mut records = 0;
    // Nothing is written, so it ends after as many turns as there can be records.
    for _ in 0..=size / 8 {
        match set.turn(0, limit, |_, _| ControlFlow::Continue(())) {
            Turn::Read(drained) if drained.corrupt.is_none() => records += drained.records,
            Turn::Read(_) | Turn::Ended(_) => return records,
            Turn::Wait { .. } => panic!("a flush does not wait"),
            other => panic!("{other:?}"),
        }
    }
    panic!("a flush ends");
}

fn backward(memory: Mapped<'_>, limit: usize, size: usize) {
    let mut reader = BackwardReader::new(memory).expect("a backward ring").with_writes_under_way(limit);
    let mut buffer = vec![0; limit];
    let mut count = 0;
    let read = reader.read(&mut buffer, |record| {
        count += 1;
        assert!(!format!("{record:?}").is_empty());
        ControlFlow::Continue(())
    });
    assert_eq!(read.records, count);
    assert!(read.bytes <= size && count <= size / 8);
    // Nothing is newer than what was just read.
    let again = reader.read(&mut buffer, |_| ControlFlow::Continue(()));
    assert!(again.records == 0 || matches!(read.stopped, BackwardStopped::Corrupt(_)));
}
