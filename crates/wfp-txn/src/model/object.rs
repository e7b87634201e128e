//! What the engine holds.

use alloc::vec::Vec;

use crate::Code;

/// A name for an object; stands for a GUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "it is a number")]
pub struct Key(pub u64);

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// `FWPM_CALLOUT0`
    Callout,
    /// `FWPM_FILTER0`
    Filter,
    /// `FWPM_PROVIDER0`
    Provider,
    /// `FWPM_SUBLAYER0`
    Sublayer,
}

impl Kind {
    pub(super) const fn not_found(self) -> Code {
        match self {
            Self::Callout => Code::CalloutNotFound,
            Self::Filter => Code::FilterNotFound,
            Self::Provider => Code::ProviderNotFound,
            Self::Sublayer => Code::SublayerNotFound,
        }
    }
}

/// What an object is found and deleted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a kind and a name is what identifies objects")]
pub struct ObjectId {
    /// Its kind.
    pub kind: Kind,
    /// Its name, unique among its kind.
    pub key: Key,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Object {
    /// What it is found by.
    pub id: ObjectId,
    /// Objects that must live as long.
    pub references: Vec<ObjectId>,
    /// Survives the engine's end (`FWPM_*_FLAG_PERSISTENT`).
    pub persistent: bool,
}

impl Object {
    /// An object that refers to no other.
    #[must_use]
    pub const fn new(kind: Kind, key: Key) -> Self {
        Self { id: ObjectId { kind, key }, references: Vec::new(), persistent: false }
    }

    /// With one more reference.
    #[must_use]
    pub fn referring_to(mut self, id: ObjectId) -> Self {
        self.references.push(id);
        self
    }

    /// Persistent.
    #[must_use]
    pub fn persistent(self) -> Self {
        Self { persistent: true, ..self }
    }
}

/// One modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// An object was added.
    Added(ObjectId),
    /// An object was deleted.
    Deleted(ObjectId),
}

/// What happened to the engine as a whole, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// These modifications were committed together.
    Committed(Vec<Change>),
    /// These went with their dynamic session.
    SessionEnded(Vec<ObjectId>),
    /// These went when the engine stopped.
    Stopped(Vec<ObjectId>),
}
