//! What can be wrong with the declaration of a map.

use core::fmt;

use crate::error::Label;

/// What is wrong with the declaration of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapProblem {
    /// Two members give different sizes.
    ConflictingSizes {
        /// The member.
        field: &'static str,
        /// The size given before.
        first: u32,
        /// The size it gives.
        second: u32,
    },
    /// The map has no name, or one that is not text or is longer than 255 bytes.
    Name,
    /// An inner map has an inner map.
    NestedInnerMap,
    /// The variable's section ends before the variable.
    OutsideSection,
    /// The variable is static or external.
    Linkage {
        /// `BTF_VAR_*`.
        linkage: u32,
    },
    /// A member is not declared the way its name demands: numbers as `__uint(name, value)`, types as
    /// `__type(name, type)`.
    MalformedField {
        /// The member.
        field: &'static str,
    },
    /// The type of a key or value has no size, or one beyond 32 bits.
    NoSize {
        /// The member.
        field: &'static str,
    },
    /// No symbol says where in its section the variable is.
    NoSymbol,
    /// The declaration does not give the map's type.
    NoType,
    /// The variable is not a struct.
    NotAStruct,
    /// The `pinning` that the declaration asks for is unknown.
    Pinning {
        /// What it asks for; 0 and 1 are known.
        pinning: u32,
    },
    /// More members than there are names for.
    TooManyFields {
        /// How many.
        found: usize,
    },
    /// A member that no map has.
    UnknownField {
        /// Its name.
        field: Label,
    },
    /// `values` is not the last member, or the map's type has none.
    Values,
}

impl fmt::Display for MapProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConflictingSizes { field, first, second } => {
                write!(f, "'{field}' gives a size of {second} bytes, and {first} was given before")
            }
            Self::Name => f.write_str("the name is missing, not text or too long"),
            Self::NestedInnerMap => f.write_str("an inner map cannot have an inner map or be pinned"),
            Self::OutsideSection => f.write_str("the declaration reaches beyond its section"),
            Self::Linkage { linkage } => write!(f, "declared static or extern (linkage {linkage})"),
            Self::MalformedField { field } => write!(f, "'{field}' is malformed"),
            Self::NoSize { field } => write!(f, "the type of '{field}' has no size"),
            Self::NoSymbol => f.write_str("no symbol says where it is"),
            Self::NoType => f.write_str("the map type is not given"),
            Self::NotAStruct => f.write_str("not declared as a struct"),
            Self::Pinning { pinning } => write!(f, "unknown pinning {pinning}"),
            Self::TooManyFields { found } => write!(f, "declared with {found} members"),
            Self::UnknownField { field } => write!(f, "unknown member '{field}'"),
            Self::Values => f.write_str("'values' is not last, or not for this map type"),
        }
    }
}
