//! Rings of the running kernel that overwrite their oldest records (Linux 6.19): its figures are ours, and our reader reads them.
//!
//! `ring_bytes.rs` compares such rings call by call.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test: what goes wrong here is to stop it"
)]

use ebpf_conformance::bpf::not_possible;
use ebpf_conformance::kernel_ring::KernelRing;
use ebpf_conformance::ring_program::{Call, Desk};
use ebpf_ringbuf::{OverwriteReader, Stopped};

const PAGE: usize = 4096;

/// The kernel's own test: what is admitted, and what the queries then say.
#[test]
fn the_kernels_figures() -> Result<(), String> {
    let Some((ring, desk)) = overwriting()? else { return Ok(()) };
    let first = PAGE as u64 / 2;
    let second = PAGE as u64 / 4;
    let third = PAGE as u64 - first - second - 24;
    let fourth = third - 8;
    let reserve = |slot, length| Call::Reserve { slot, length, dynptr: false, payload: 0 };
    let commit = |slot| Call::Commit { slot, dynptr: false, discard: false, flags: 0 };
    let calls = [
        reserve(0, first),
        reserve(1, second),
        reserve(2, third),
        commit(2),
        reserve(2, fourth),
        commit(0),
        commit(1),
        commit(2),
        reserve(3, third),
        commit(3),
    ];
    let seen = desk.run(&ring, &calls, |_| Ok(()))?;
    let answers: Vec<i64> = seen.iter().map(|seen| seen.answer).collect();
    assert_eq!(answers, [0, 0, -1, 0, 0, 0, 0, 0, 0, 0], "the third is eight bytes too long");
    let last = seen.last().unwrap();
    let produced = first + second + fourth + third + 32;
    let available = second + fourth + third + 24;
    assert_eq!(last.queries, [available, PAGE as u64, 0, produced, first + 8, 0]);
    assert_eq!(last.positions, [0, produced, last.positions[2], first + 8]);
    Ok(())
}

/// Twenty laps, read now and then: every record that is given is whole and in order, and what was missed is counted to the byte.
#[test]
fn a_reader_accounts_for_every_byte() -> Result<(), String> {
    let Some((ring, desk)) = overwriting()? else { return Ok(()) };
    let payload = desk.payload();
    let mut reader = OverwriteReader::new(ring.side()).unwrap();
    let (mut made, mut read_bytes, mut records) = (0u64, 0, 0);
    let mut last = None;
    for round in 0..100u64 {
        let calls: Vec<Call> = (0..1 + round % 30)
            .map(|_| {
                let length = 8 + made * 29 % 200;
                made += 1;
                Call::Output { length, flags: 0, payload: made as usize % 1000 }
            })
            .collect();
        desk.run(&ring, &calls, |_| Ok(()))?;
        if round % 3 == 0 {
            continue;
        }
        let mut buffer = [0; 256];
        loop {
            match reader.next_record(&mut buffer) {
                Ok(copied) => {
                    let record = &buffer[..copied.payload_len];
                    assert!(payload.windows(record.len()).take(1001).any(|cut| cut == record), "torn");
                    assert!(last.is_none_or(|last| copied.position > last), "out of order");
                    last = Some(copied.position);
                    read_bytes += 8 + copied.payload_len.next_multiple_of(8);
                    records += 1;
                }
                Err(stopped) => {
                    assert_eq!(stopped, Stopped::Empty);
                    break;
                }
            }
        }
        let produced = ring.producer_position().load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(read_bytes + reader.missed(), produced);
    }
    println!("{made} records made, {records} read, {} bytes missed", reader.missed());
    assert!(records > 0 && reader.missed() > 0);
    Ok(())
}

fn overwriting() -> Result<Option<(KernelRing, Desk)>, String> {
    let ring = match KernelRing::overwriting(PAGE) {
        Ok(Some(ring)) => ring,
        Ok(None) => return Ok(None),
        Err(error) => return not_possible("ring maps cannot be made and mapped here", error).map(|()| None),
    };
    let payload: Vec<u8> = (0..2 * PAGE).map(|index| (index * index % 253) as u8).collect();
    let desk = Desk::new(PAGE, &payload).map_err(|error| error.to_string())?;
    Ok(Some((ring, desk)))
}
