//! `ebpf-perfbuf`.

use core::hint::black_box;
use core::ops::ControlFlow;
use core::sync::atomic::AtomicUsize;

use ebpf_perfbuf::memory::{Claim, Extent};
use ebpf_perfbuf::*;

use crate::laws;

type Memory = Mapped<'static>;
type Rings = [CpuReader<Memory>; 4];

laws! {
    "perfbuf":
    BackwardReader::<Memory>::new,
    BackwardReader::<Memory>::with_writes_under_way,
    BackwardReader::<Memory>::memory,
    Sample::<Memory>::raw_len,
    Sample::<Memory>::possible_lengths,
    Sample::<Memory>::position,
    Sample::<Memory>::copy_to,
    Sample::<Memory>::exact,
    Sample::<Memory>::prefixed,
    Sample::<Memory>::to_array::<2>,
    Sample::<Memory>::slices,
    Sample::<Memory>::is_bytes,
    Sample::<Memory>::pod::<u64>,
    Sample::<Memory>::value::<u64>,
    Other::<Memory>::header,
    Other::<Memory>::body,
    Geometry::new,
    Geometry::size,
    Geometry::mask,
    Geometry::direction,
    Geometry::offset,
    Ledger::new,
    Ledger::sample,
    Ledger::pause,
    Ledger::unreported,
    Ledger::head,
    Ledger::rule,
    Ledger::geometry,
    Mapped::new,
    Mapped::open,
    Claim::position,
    Claim::length,
    Extent::position,
    Extent::length,
    Extent::is_whole,
    Order::ordering,
    Order::site,
    Page::for_ring,
    Page::from_bytes,
    Page::to_bytes,
    Page::data,
    PlainRing::new,
    PlainRing::split,
    Totals::unreported,
    Reader::<Memory>::new,
    Reader::<Memory>::pending,
    Reader::<Memory>::mark,
    Reader::<Memory>::resync,
    Reader::<Memory>::totals,
    Reader::<Memory>::memory,
    Drained::records,
    raw_size,
    sample_size,
    Header::new,
    Header::kind,
    Header::misc,
    Header::size,
    Header::from_bytes,
    Header::to_bytes,
    Lost::new,
    Lost::body,
    Lost::from_body,
    CpuReader::<Memory>::new,
    CpuReader::<Memory>::cpu,
    CpuReader::<Memory>::reader,
    CpuReader::<Memory>::reader_mut,
    PerCpu::<Memory, Rings>::new,
    PerCpu::<Memory, Rings>::rings,
    PerCpu::<Memory, Rings>::ring,
    PerCpu::<Memory, Rings>::ring_mut,
    PerCpu::<Memory, Rings>::totals,
    PerCpu::<Memory, Rings>::set_deadline,
    PerCpu::<Memory, Rings>::flush,
    PerCpu::<Memory, Rings>::close,
    PerCpu::<Memory, Rings>::is_paused,
    WakeupPolicy::events,
    WakeupPolicy::watermark,
    Wakeup::is_needed,
    Wakeup::or,
    WakeupRule::new,
    WakeupRule::starting_at,
    WakeupRule::sample,
    WakeupRule::counted,
    WakeupRule::until_wakeup,
    Readiness::<AtomicUsize>::new,
    Readiness::<AtomicUsize>::raise,
    Readiness::<AtomicUsize>::take,
    SetCounter::<AtomicUsize>::new,
    SetCounter::<AtomicUsize>::count,
    Writer::<Memory>::new,
    Writer::<Memory>::with_identity,
    Writer::<Memory>::output,
    Writer::<Memory>::output_parts::<2>,
    Writer::<Memory>::output_prefixed,
    Writer::<Memory>::output_counted::<AtomicUsize>,
    Writer::<Memory>::pause,
    Writer::<Memory>::resume,
    Writer::<Memory>::ledger,
    Writer::<Memory>::memory,
}

laws! {
    "perfbuf":
    "BackwardReader::read" => backward_read,
    "Reader::drain" => drain,
    "Reader::drain_until" => drain_until,
    "PerCpu::drain" => set_drain,
    "PerCpu::drain_cpu" => set_drain_cpu,
    "PerCpu::turn" => set_turn,
    "PerCpu::pause" => set_pause,
    "PerCpu::resume" => set_resume,
    "PerCpu::pending" => set_pending,
}

fn backward_read(reader: &mut BackwardReader<Memory>, buffer: &mut [u8]) -> BackwardRead {
    reader.read(buffer, |copied| {
        black_box(&copied);
        ControlFlow::Continue(())
    })
}

fn drain(reader: &mut Reader<Memory>, limit: usize) -> Drained {
    reader.drain(limit, |event| look(&event))
}

fn drain_until(reader: &mut Reader<Memory>, mark: Mark, limit: usize) -> Drained {
    reader.drain_until(mark, limit, |event| look(&event))
}

fn set_drain(set: &mut PerCpu<Memory, Rings>, limit: usize) -> SetDrained {
    set.drain(limit, |_, event| look(&event))
}

fn set_drain_cpu(set: &mut PerCpu<Memory, Rings>, cpu: u32, limit: usize) -> Result<Drained, SetError> {
    set.drain_cpu(cpu, limit, |event| look(&event))
}

fn set_turn(set: &mut PerCpu<Memory, Rings>, now: u64, limit: usize) -> Turn {
    set.turn(now, limit, |_, event| look(&event))
}

fn set_pause(set: &mut PerCpu<Memory, Rings>) -> Result<(), SwitchError<u32>> {
    set.pause(switch, switch)
}

fn set_resume(set: &mut PerCpu<Memory, Rings>) -> Result<(), SwitchError<u32>> {
    set.resume(switch, switch)
}

fn set_pending(set: &PerCpu<Memory, Rings>) -> usize {
    set.pending().filter_map(|(_, bytes)| bytes.ok()).fold(0, usize::wrapping_add)
}

fn look(event: &Event<'_, Memory>) -> ControlFlow<()> {
    if let Event::Sample(sample) = event {
        black_box(sample.slices());
    }
    if black_box(true) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

fn switch(cpu: u32) -> Result<(), u32> {
    if black_box(cpu) == 0 { Ok(()) } else { Err(cpu) }
}
