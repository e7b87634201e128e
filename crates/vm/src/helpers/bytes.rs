//! Of bytes in the program's memory.

use super::{Call, EINVAL, errno};
use crate::dynptr;
use crate::error::FaultKind;
use crate::host::Host;
use crate::memory::{Memory, Scratch, index, low};
use crate::trace;

impl Call<'_> {
    #[inline(never)]
    pub(super) fn comm(&self, memory: &mut Memory<'_, '_>, host: &dyn Host) -> Result<u64, FaultKind> {
        let size = index(low(self.arguments[1]));
        if size == 0 {
            return Ok(errno(EINVAL));
        }
        memory.check(self.arguments[0], size, true)?;
        // Cut to the buffer with a zero at the end, and padded to its end.
        let mut name = host.comm();
        for (place, byte) in name.iter_mut().enumerate() {
            if place >= size.min(16).saturating_sub(1) {
                *byte = 0;
            }
        }
        memory.write(self.arguments[0], name.get(..size.min(16)).unwrap_or_default())?;
        for place in 16..size {
            memory.write(self.arguments[0].wrapping_add(place as u64), &[0])?;
        }
        Ok(0)
    }

    #[inline(never)]
    pub(super) fn trace_printk(&self, memory: &Memory<'_, '_>, host: &dyn Host) -> Result<u64, FaultKind> {
        let [format, size, values @ ..] = *self.arguments;
        let mut scratch = Scratch::new();
        let format = memory.bytes(format, index(low(size)), &mut scratch)?;
        let mut message = trace::Message::new();
        let read = |address: u64| memory.load::<1>(address).map(|byte| byte.to_le_bytes()[0]);
        if message.format(format, values, read).is_none() {
            return Ok(errno(EINVAL));
        }
        host.trace(message.as_bytes());
        Ok(message.as_bytes().len() as u64)
    }

    /// `bpf_csum_diff`: what a checksum becomes when some bytes go and others come.
    #[inline(never)]
    pub(super) fn csum_diff(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let [from, from_size, to, to_size, seed] = *self.arguments;
        let (from_size, to_size) = (low(from_size), low(to_size));
        if from_size & 3 != 0 || to_size & 3 != 0 {
            return Ok(errno(EINVAL));
        }
        let mut sum = u64::from(low(seed));
        for (address, size, invert) in [(to, to_size, 0u32), (from, from_size, u32::MAX)] {
            let mut scratch = Scratch::new();
            let bytes = memory.bytes(address, index(size), &mut scratch)?;
            for word in bytes.as_chunks::<4>().0 {
                sum = sum.wrapping_add(u64::from(u32::from_ne_bytes(*word) ^ invert));
            }
        }
        // Folded to 16 bits, as all architectures do since Linux 6.13.
        while sum >> 16 != 0 {
            sum = (sum & 0xffff).wrapping_add(sum >> 16);
        }
        Ok(sum)
    }

    /// `bpf_memcpy_s`, `bpf_memmove_s`: a target that is too short gets nothing.
    #[inline(never)]
    pub(super) fn memmove(&self, memory: &mut Memory<'_, '_>) -> Result<u64, FaultKind> {
        let [to, room, from, length, _] = *self.arguments;
        if low(length) > low(room) {
            return Ok(errno(EINVAL));
        }
        dynptr::copy(to, from, length, memory)?;
        Ok(0)
    }

    /// `bpf_memcmp_s`: below, equal or above, the shorter one first where one is the other's beginning.
    #[inline(never)]
    pub(super) fn memcmp(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let [first, first_length, second, second_length, _] = *self.arguments;
        let (mut one, mut other) = (Scratch::new(), Scratch::new());
        let first = memory.bytes(first, index(low(first_length)), &mut one)?;
        let second = memory.bytes(second, index(low(second_length)), &mut other)?;
        Ok(errno(first.cmp(second) as i32))
    }

    #[inline(never)]
    pub(super) fn memset(&self, memory: &mut Memory<'_, '_>) -> Result<u64, FaultKind> {
        let [place, length, byte, ..] = *self.arguments;
        let length = index(low(length));
        memory.check(place, length, true)?;
        let piece = [byte.to_le_bytes()[0]; 64];
        for start in (0..length).step_by(piece.len()) {
            let size = length.saturating_sub(start).min(piece.len());
            memory.write(place.wrapping_add(start as u64), piece.get(..size).unwrap_or_default())?;
        }
        Ok(place)
    }
}
