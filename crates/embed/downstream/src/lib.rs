//! An audit trail of what is attached, as somebody might write it on top of three blocks.
//!
//! Who attaches a filter adds it in a transaction, counts it in the perf ring of its CPU, and announces it in the ring buffer. Who
//! reads the trail relies on this: **what is announced is attached, is counted already, and is announced once.**
//!
//! The code is generic over the blocks' memory and over the strategy, and that is all it takes: the same code runs on mapped memory in
//! production and on the model checker's in `tests/model.rs`.

use std::ops::ControlFlow;

use ebpf_perfbuf::{CpuReader, PerCpu, Writer};
use ebpf_ringbuf::memory::{Memory, Publication};
use ebpf_ringbuf::{Consumer, Producer, SubmitFlags};
use wfp_txn::{Access, Engine, Error, OperationError, Strategy};

/// Where a mistake can be put in, to see that the model finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    None,
    /// Announced inside the work, which is done again when the engine loses the transaction.
    AnnouncedInWork,
    /// Announced before it is counted.
    CountedLate,
}

/// Attaches filters, on one CPU.
pub struct Attacher<'s, S, M, P, C> {
    pub filters: &'s S,
    pub trail: Producer<M, P>,
    pub count: Writer<C>,
    pub mistake: Mistake,
}

impl<S, M, P, C> Attacher<'_, S, M, P, C>
where
    S: Strategy,
    S::Engine: for<'o> Engine<Object<'o> = u32>,
    M: Memory,
    P: Publication,
    C: ebpf_perfbuf::memory::Memory,
{
    /// # Errors
    /// The engine's, in which case nothing is attached.
    pub fn attach(&mut self, filter: u32) -> Result<(), Error<OperationError>> {
        let trail = &self.trail;
        // A record is eight bytes here, as models of rings want them.
        let announce = || {
            let _ = trail.output(&u64::from(filter).to_ne_bytes(), SubmitFlags::NO_WAKEUP);
        };
        self.filters.transact(Access::ReadWrite, |transaction| {
            transaction.add(filter)?;
            if self.mistake == Mistake::AnnouncedInWork {
                announce();
            }
            Ok(())
        })?;
        if self.mistake == Mistake::CountedLate {
            announce();
        }
        let _ = self.count.output(&filter.to_ne_bytes());
        if self.mistake == Mistake::None {
            announce();
        }
        Ok(())
    }
}

/// What a reader of the trail finds at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub announced: usize,
    pub counted: usize,
    pub attached: bool,
}

/// Reads the trail, then the counts of all CPUs, then asks the engine.
pub fn read<S, M, C, const CPUS: usize>(
    trail: &mut Consumer<M>,
    counts: &mut PerCpu<C, [CpuReader<C>; CPUS]>,
    filters: &S,
    filter: &<S::Engine as Engine>::Id,
) -> Result<Found, Error<OperationError>>
where
    S: Strategy,
    M: Memory,
    C: ebpf_perfbuf::memory::Memory,
{
    let announced = trail.drain(usize::MAX, |_| ControlFlow::Continue(())).records;
    let counted = counts.drain(usize::MAX, |_, _| ControlFlow::Continue(())).samples;
    let attached = filters.transact(Access::ReadOnly, |transaction| transaction.contains(filter))?;
    Ok(Found { announced, counted, attached })
}
