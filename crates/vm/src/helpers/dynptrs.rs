//! Of dynamic pointers.

use super::{Call, E2BIG, EINVAL, errno};
use crate::dynptr::{self, Dynptr, Kind};
use crate::error::FaultKind;
use crate::host::Host;
use crate::memory::{Memory, index, low};

impl Call<'_> {
    #[inline(never)]
    pub(super) fn dynptr_from_mem(&self, memory: &mut Memory<'_, '_>) -> Result<u64, FaultKind> {
        let [data, size, flags, out, _] = *self.arguments;
        let size = low(size);
        memory.check(data, index(size), true)?;
        let (dynptr, answer) = if size > dynptr::MAX_SIZE {
            (Dynptr::NULL, errno(E2BIG))
        } else if flags != 0 {
            (Dynptr::NULL, errno(EINVAL))
        } else {
            (Dynptr::new(data, size, Kind::Local), 0)
        };
        dynptr.write(out, memory)?;
        Ok(answer)
    }

    #[inline(never)]
    pub(super) fn ringbuf_reserve_dynptr(&self, memory: &mut Memory<'_, '_>) -> Result<u64, FaultKind> {
        let [_, size, flags, out, _] = *self.arguments;
        let (slot, ring) = self.ring(memory)?;
        let size = low(size);
        Dynptr::NULL.write(out, memory)?;
        if flags != 0 {
            return Ok(errno(EINVAL));
        }
        if size > dynptr::MAX_SIZE {
            return Ok(errno(E2BIG));
        }
        let data = memory.reserve(&slot.map, ring, u64::from(size)).ok_or(FaultKind::TooManyReservations)?;
        if data == 0 {
            return Ok(errno(EINVAL));
        }
        Dynptr::new(data, size, Kind::Ring).write(out, memory)?;
        Ok(0)
    }

    #[inline(never)]
    pub(super) fn ringbuf_commit_dynptr(
        &self,
        memory: &mut Memory<'_, '_>,
        host: &dyn Host,
    ) -> Result<u64, FaultKind> {
        let dynptr = Dynptr::read(self.arguments[0], memory)?;
        if dynptr.kind == Kind::Null {
            return Ok(0);
        }
        self.ringbuf_commit(memory, host, dynptr.data)?;
        Dynptr::NULL.write(self.arguments[0], memory)?;
        Ok(0)
    }

    #[inline(never)]
    pub(super) fn dynptr_read(&self, memory: &mut Memory<'_, '_>) -> Result<u64, FaultKind> {
        let [out, length, source, offset, flags] = *self.arguments;
        let dynptr = Dynptr::read(source, memory)?;
        memory.check(out, index(low(length)), true)?;
        if dynptr.kind == Kind::Null || flags != 0 {
            return Ok(errno(EINVAL));
        }
        let Some(from) = dynptr.slice(offset, u64::from(low(length))) else { return Ok(errno(E2BIG)) };
        dynptr::copy(out, from, length, memory)?;
        Ok(0)
    }

    #[inline(never)]
    pub(super) fn dynptr_write(&self, memory: &mut Memory<'_, '_>) -> Result<u64, FaultKind> {
        let [target, offset, data, length, flags] = *self.arguments;
        let dynptr = Dynptr::read(target, memory)?;
        memory.check(data, index(low(length)), false)?;
        if dynptr.kind == Kind::Null || flags != 0 {
            return Ok(errno(EINVAL));
        }
        let Some(to) = dynptr.slice(offset, u64::from(low(length))) else { return Ok(errno(E2BIG)) };
        dynptr::copy(to, data, length, memory)?;
        Ok(0)
    }

    #[inline(never)]
    pub(super) fn dynptr_data(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let dynptr = Dynptr::read(self.arguments[0], memory)?;
        Ok(dynptr.slice(self.arguments[1], u64::from(low(self.arguments[2]))).unwrap_or(0))
    }
}
