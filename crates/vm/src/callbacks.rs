//! Helpers that call a function of the program back: for each entry of a map, for each sample of a user ring.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use crate::dynptr::{Dynptr, Kind};
use crate::error::FaultKind;
use crate::helpers::{EINVAL, FOR_EACH_MAP_ELEM, WAKEUP_FLAGS, errno};
use crate::interpret::Callback;
use crate::memory::{MapSlot, Memory, index};

impl Callback<'_, '_> {
    /// The helper, with registers 1 to 5; gives register 0.
    pub(crate) fn run(
        mut self,
        helper: u32,
        arguments: &[u64; 5],
        memory: &mut Memory<'_, '_>,
    ) -> Option<u64> {
        let [map, callback, context, flags, _] = *arguments;
        let function = match self.machine.function(helper, callback) {
            Ok(function) => function,
            Err(kind) => return self.fault(kind),
        };
        let Some(slot) = memory.handle(map) else {
            return self.fault(FaultKind::NotAMap { helper, value: map });
        };
        if helper == FOR_EACH_MAP_ELEM {
            self.for_each(function, slot, [map, context, flags], memory)
        } else {
            self.drain(function, slot, context, flags, memory)
        }
    }

    /// `bpf_for_each_map_elem`: entries in the order of [`VmMap::next_key`](crate::VmMap::next_key); those that are gone when it is their turn are left out.
    fn for_each(
        &mut self,
        function: usize,
        slot: &MapSlot,
        [map, context, flags]: [u64; 3],
        memory: &mut Memory<'_, '_>,
    ) -> Option<u64> {
        if !slot.map.is_keyed() {
            let kind = slot.map.kind();
            return self.fault(FaultKind::WrongMapKind { helper: FOR_EACH_MAP_ELEM, kind });
        }
        if flags != 0 {
            return Some(errno(EINVAL));
        }
        let cpu = self.machine.host.processor();
        let key_size = index(slot.map.key_size());
        let Ok(keys) = slot.map.keys() else {
            return self.fault(FaultKind::NoMemory { size: slot.map.key_size() });
        };
        let is_array = keys.is_empty() && !slot.map.is_empty();
        let elements = if is_array { slot.map.max_entries() } else { 0 };
        let elements = (0..elements).map(|element| Vec::from(element.to_ne_bytes()));
        let keys = keys.chunks(key_size.max(1)).map(Vec::from);
        let mut calls = 0u64;
        for key in elements.chain(keys) {
            let Some(offset) = slot.map.lookup_offset(&key, cpu) else { continue };
            let key = memory.show(key, false);
            let answer = self.call(function, [map, key, slot.address(offset), context, 0], memory);
            memory.hide();
            calls = calls.saturating_add(1);
            if answer? != 0 {
                break;
            }
        }
        Some(calls)
    }

    /// `bpf_user_ringbuf_drain`: a sample is a dynptr that is good during the call.
    fn drain(
        &mut self,
        function: usize,
        slot: &MapSlot,
        context: u64,
        flags: u64,
        memory: &mut Memory<'_, '_>,
    ) -> Option<u64> {
        let Some(ring) = slot.map.user_ring() else {
            let kind = slot.map.kind();
            return self.fault(FaultKind::WrongMapKind { helper: crate::helpers::USER_RINGBUF_DRAIN, kind });
        };
        if flags & !WAKEUP_FLAGS != 0 {
            return Some(errno(EINVAL));
        }
        let mut stopped = false;
        let drained = ring.drain(flags, |sample| {
            let size = u32::try_from(sample.len()).unwrap_or(0);
            let data = memory.show(sample, true);
            let pointer = memory.show(Dynptr::new(data, size, Kind::Local).to_bytes().into(), false);
            let answer = self.call(function, [pointer, context, 0, 0, 0], memory);
            memory.hide();
            memory.hide();
            match answer {
                Some(0) => ControlFlow::Continue(()),
                Some(_) => ControlFlow::Break(()),
                None => {
                    stopped = true;
                    ControlFlow::Break(())
                }
            }
        });
        if stopped {
            return None;
        }
        match drained {
            Ok((samples, wakes)) => {
                if wakes {
                    self.machine.host.wake(&slot.map);
                }
                Some(samples as u64)
            }
            Err(number) => Some(errno(number)),
        }
    }
}
