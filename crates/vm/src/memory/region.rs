//! Regions by their numbers, the high halves of pointers.

use super::{high, index};
use crate::{MAX_CALL_FRAMES, MAX_PROGRAM_MAPS};

/// The first stack frame's region.
pub(super) const FRAMES: u32 = 2;
/// Regions before those of maps: null, the context, the frames.
const PLAIN_REGIONS: usize = 2 + MAX_CALL_FRAMES;

/// Something a pointer can point into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Region {
    Context,
    Map { slot: u32, id: u32 },
    Reservation { slot: u32, serial: u32 },
    Handle(u32),
    Function,
    Shown { slot: u32, serial: u32 },
}

pub(crate) const CONTEXT: u32 = 1;

pub(super) const MAP: u32 = 1;
pub(super) const RESERVATION: u32 = 2;
const HANDLE: u32 = 3;
const FUNCTION: u32 = 4;
const SHOWN: u32 = 5;

/// Positions of a program's own maps, and of as many that it finds in maps.
const SLOT_BITS: u32 = 7;
pub(super) const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;
pub(super) const KIND_SHIFT: u32 = 28;
const KIND_MASK: u32 = 0xf << KIND_SHIFT;

const _: () = assert!(MAX_PROGRAM_MAPS * 2 == 1 << SLOT_BITS && crate::MAX_RESERVATIONS <= 1 << SLOT_BITS);

impl Region {
    #[inline(always)]
    pub(crate) fn number(self) -> u32 {
        let numbered = |kind: u32, slot: u32, serial: u32| {
            kind << KIND_SHIFT | (serial << SLOT_BITS) & !KIND_MASK | slot & SLOT_MASK
        };
        match self {
            Self::Context => CONTEXT,
            Self::Map { slot, id } => numbered(MAP, slot, id),
            Self::Reservation { slot, serial } => numbered(RESERVATION, slot, serial),
            Self::Handle(slot) => numbered(HANDLE, slot, 0),
            Self::Function => FUNCTION << KIND_SHIFT,
            Self::Shown { slot, serial } => numbered(SHOWN, slot, serial),
        }
    }

    #[inline(always)]
    pub(crate) fn address(self, offset: u32) -> u64 {
        u64::from(self.number()) << 32 | u64::from(offset)
    }
}

/// What stands at an address, for people.
pub(crate) fn describe(address: u64) -> &'static str {
    match high(address) {
        0 => "not a pointer",
        1 => "outside the context",
        region if index(region) < PLAIN_REGIONS => "outside the stack frame",
        region => match region >> KIND_SHIFT {
            MAP => "outside the map value",
            RESERVATION => "outside the ring reservation, or it is committed",
            HANDLE => "a map itself cannot be accessed",
            FUNCTION => "a function cannot be accessed",
            SHOWN => "outside of what the helper shows, or the callback is over",
            _ => "not a pointer",
        },
    }
}
