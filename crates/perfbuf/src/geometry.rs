//! Size of a ring, and which way it is written.

use core::fmt;

/// Which way a ring is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a head grows or shrinks")]
pub enum Direction {
    /// The head grows; a full ring refuses records and counts them as lost.
    Forward,
    /// The head shrinks, so that it always stands at the newest record; the oldest are overwritten (`write_backward`).
    Backward,
}

/// Size of a ring and direction, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    mask: usize,
    direction: Direction,
}

impl Geometry {
    /// A ring of `size` bytes of data.
    ///
    /// Linux asks for whole pages besides; a ring inside one process may be as small as 32 bytes.
    ///
    /// # Errors
    /// When `size` is not a power of two from 32 to 2^31.
    pub const fn new(size: usize, direction: Direction) -> Result<Self, GeometryError> {
        if !size.is_power_of_two() || size < 32 || size > 1 << 31 {
            return Err(GeometryError::Size(size));
        }
        Ok(Self { mask: size.wrapping_sub(1), direction })
    }

    /// Bytes of data.
    #[inline]
    #[must_use]
    pub const fn size(self) -> usize {
        self.mask.wrapping_add(1)
    }

    /// `size - 1`: a position and this mask give an offset.
    #[inline]
    #[must_use]
    pub const fn mask(self) -> usize {
        self.mask
    }

    /// Which way it is written.
    #[inline]
    #[must_use]
    pub const fn direction(self) -> Direction {
        self.direction
    }

    /// Bytes from the start of the data to `position`.
    #[inline]
    #[must_use]
    pub const fn offset(self, position: usize) -> usize {
        position & self.mask
    }
}

/// What was given for a ring is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GeometryError {
    /// The direction is not the one that is asked for here: `Reader` reads forward rings, `BackwardReader` backward ones.
    Direction(Direction),
    /// The control page puts the data outside of what is mapped, or into itself.
    Outside {
        /// `data_offset`.
        offset: u64,
        /// `data_size`.
        size: u64,
        /// Bytes mapped.
        mapped: usize,
    },
    /// The size of the data is not a power of two from 32 to 2^31.
    Size(usize),
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direction(Direction::Forward) => f.write_str("the ring is written forward"),
            Self::Direction(Direction::Backward) => f.write_str("the ring is written backward"),
            Self::Outside { offset, size, mapped } => {
                write!(f, "{size} bytes of data at {offset} are not within the {mapped} bytes mapped")
            }
            Self::Size(size) => {
                write!(f, "a ring of {size} bytes: it must be a power of two from 32 to 2^31")
            }
        }
    }
}

impl core::error::Error for GeometryError {}
