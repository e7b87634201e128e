//! The operations of RFC 9669 §4.1 whose edge cases it defines. None of them can overflow or divide by zero.

use crate::memory::low;

#[inline(always)]
pub(crate) fn lsh64(a: u64, b: u64) -> u64 {
    a.wrapping_shl(low(b))
}

#[inline(always)]
pub(crate) fn rsh64(a: u64, b: u64) -> u64 {
    a.wrapping_shr(low(b))
}

#[inline(always)]
pub(crate) fn arsh64(a: u64, b: u64) -> u64 {
    a.cast_signed().wrapping_shr(low(b)).cast_unsigned()
}

#[inline(always)]
pub(crate) fn arsh32(a: u32, b: u32) -> u32 {
    a.cast_signed().wrapping_shr(b).cast_unsigned()
}

#[inline(always)]
pub(crate) fn div64(a: u64, b: u64) -> u64 {
    a.checked_div(b).unwrap_or(0)
}

#[inline(always)]
pub(crate) fn div32(a: u32, b: u32) -> u32 {
    a.checked_div(b).unwrap_or(0)
}

#[inline(always)]
pub(crate) fn mod64(a: u64, b: u64) -> u64 {
    a.checked_rem(b).unwrap_or(a)
}

#[inline(always)]
pub(crate) fn mod32(a: u32, b: u32) -> u32 {
    a.checked_rem(b).unwrap_or(a)
}

/// The one overflow, the least number by -1, gives the least number.
#[inline(always)]
pub(crate) fn sdiv64(a: u64, b: u64) -> u64 {
    if b == 0 { 0 } else { a.cast_signed().checked_div(b.cast_signed()).map_or(a, i64::cast_unsigned) }
}

#[inline(always)]
pub(crate) fn sdiv32(a: u32, b: u32) -> u32 {
    if b == 0 { 0 } else { a.cast_signed().checked_div(b.cast_signed()).map_or(a, i32::cast_unsigned) }
}

/// The remainder has the dividend's sign; that of the one overflow is 0.
#[inline(always)]
pub(crate) fn smod64(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { a.cast_signed().checked_rem(b.cast_signed()).map_or(0, i64::cast_unsigned) }
}

#[inline(always)]
pub(crate) fn smod32(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { a.cast_signed().checked_rem(b.cast_signed()).map_or(0, i32::cast_unsigned) }
}

#[inline(always)]
pub(crate) fn extend8(value: u64) -> u64 {
    (value.wrapping_shl(56).cast_signed() >> 56).cast_unsigned()
}

#[inline(always)]
pub(crate) fn extend16(value: u64) -> u64 {
    (value.wrapping_shl(48).cast_signed() >> 48).cast_unsigned()
}

#[inline(always)]
pub(crate) fn extend32(value: u64) -> u64 {
    (value.wrapping_shl(32).cast_signed() >> 32).cast_unsigned()
}
