//! The process that reads, and may be killed at any time: what it knows is in a pinned map, and where it stands is in the ring.

use std::error::Error;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::Ordering;

use ebpf_linux::{Interest, LinuxMap, PerfMemory, PerfRing, RingMemory, Trigger, Waiter};
use ebpf_perfbuf::{CpuReader, End, Event, PerCpu, Reader, Turn};
use ebpf_ringbuf::{Consumer, Stopped};

use crate::check::{Checker, Progress};
use crate::conduct::{NAMES, OPTIONS};

/// The key of standard input, at whose end the reader ends too, once it has read everything.
const INPUT: u64 = u64::MAX;

/// Reads the pinned ring.
pub(crate) fn ring() -> Result<(), Box<dyn Error>> {
    let map = LinuxMap::open_pinned(Path::new(NAMES).join("ring"))?;
    let mut checker = checker(false)?;
    let mut consumer = Consumer::new(RingMemory::map(&map)?)?;
    let waiter = waiter()?;
    waiter.add(&map, 0, Interest::Readable, Trigger::Edge)?;
    let (mut ready, mut is_last) = (Vec::new(), false);
    loop {
        let drained = consumer.drain(usize::MAX, |record| {
            checker.record((*record).try_into().expect("a record of our length"));
            ControlFlow::Continue(())
        });
        match drained.stopped {
            Stopped::Empty if is_last => return Ok(()),
            Stopped::Empty | Stopped::Busy => {}
            other => return Err(other.into()),
        }
        wait(&waiter, &mut ready, checker.progress())?;
        is_last = ready.contains(&INPUT);
    }
}

/// Reads perf rings whose events this process has inherited: `descriptor:cpu`, in the order of their producers.
pub(crate) fn perf(events: &[String]) -> Result<(), Box<dyn Error>> {
    let mut checker = checker(true)?;
    let waiter = waiter()?;
    let (mut rings, mut readers, mut cpus) = (vec![], vec![], vec![]);
    for (number, event) in events.iter().enumerate() {
        let (descriptor, cpu) = event.split_once(':').ok_or("DESCRIPTOR:CPU")?;
        // SAFETY: the process that has started this one says that it is open here, and nobody else here knows of it.
        let event = unsafe { OwnedFd::from_raw_fd(descriptor.parse()?) };
        let ring = PerfRing::from_event(event, cpu.parse()?, OPTIONS)?;
        waiter.add(&ring, number as u64, Interest::Readable, Trigger::Edge)?;
        readers.push(CpuReader::new(ring.cpu(), Reader::<PerfMemory>::new(ring.memory()?)?));
        cpus.push(ring.cpu());
        rings.push(ring);
    }
    let mut set = PerCpu::new(readers)?;
    let mut ready = Vec::new();
    loop {
        let turn = set.turn(0, usize::MAX, |cpu, event| {
            let producer = cpus.iter().position(|known| *known == cpu).expect("a CPU of the set");
            match event {
                Event::Sample(sample) => checker.record(&sample.to_array().expect("a record of our length")),
                Event::Lost(lost) => checker.lost(producer, lost.count),
                other => panic!("{other:?}"),
            }
            ControlFlow::Continue(())
        });
        match turn {
            Turn::Read(drained) => assert_eq!(drained.corrupt, None),
            Turn::Ended(End::Flushed) => return Ok(()),
            Turn::Ended(other) => return Err(other.into()),
            _ => {
                wait(&waiter, &mut ready, checker.progress())?;
                if ready.contains(&INPUT) {
                    // What woke nobody is read too.
                    set.flush();
                }
            }
        }
    }
}

fn checker(tells_of_losses: bool) -> Result<Checker, ebpf_linux::Error> {
    let progress = Progress::open(&LinuxMap::open_pinned(Path::new(NAMES).join("progress"))?)?;
    Ok(Checker::new(progress, tells_of_losses))
}

fn waiter() -> Result<Waiter, ebpf_linux::Error> {
    let waiter = Waiter::new()?;
    waiter.add(&io::stdin(), INPUT, Interest::Readable, Trigger::Level)?;
    Ok(waiter)
}

/// Without a limit: a wakeup that is lost is to be seen.
fn wait(waiter: &Waiter, ready: &mut Vec<u64>, progress: &Progress) -> Result<(), ebpf_linux::Error> {
    progress.sleeps().fetch_add(1, Ordering::Relaxed);
    waiter.wait(ready, None)
}
