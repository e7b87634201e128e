//! One map of the object: declared in `.maps`, standing for a data section, or a `struct_ops` variable.

use core::fmt;

use crate::error::Label;
use crate::kinds::MapKind;

/// A map that loading the object creates.
///
/// Three sorts exist, in this order in [`ObjectFile::maps`](crate::ObjectFile::maps): maps that the source declares in `.maps`, maps
/// that stand for the sections of global variables (*internal* maps: `.data`, `.rodata`, `.bss`, then `.kconfig`), and
/// `struct_ops` variables.
#[derive(Clone)]
pub struct Map<'data> {
    origin: Origin<'data>,
    definition: MapDefinition,
}

/// What the kernel is told about a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapDefinition {
    /// The map type.
    pub kind: MapKind,
    /// Bytes of a key; 0 if the source does not say.
    pub key_size: u32,
    /// Bytes of a value; 0 if the source does not say.
    pub value_size: u32,
    /// Entries; bytes of data for rings. 0 if the source does not say.
    pub max_entries: u32,
    /// Creation flags (`BPF_F_*`).
    pub flags: u32,
}

/// Where the map stands in the file, and what only its sort has.
#[derive(Clone)]
enum Origin<'data> {
    Declared {
        name: &'data str,
        extra: u64,
        /// Offset in the section, in bytes.
        offset: u32,
        /// BTF number of the inner map's definition; 0 if none.
        inner: u32,
        numa_node: u32,
        section: u16,
        pinned: bool,
    },
    Internal {
        name: ComposedName,
        contents: Option<&'data [u8]>,
        /// [`u16::MAX`] for `.kconfig`, which has none.
        section: u16,
        /// Whether BTF describes the section, and whether it describes a variable there that is not static.
        described: Option<bool>,
        /// Whether the section holds a variable that other objects can see.
        has_visible_symbol: bool,
    },
    StructOps {
        name: &'data str,
        offset: u32,
        section: u16,
    },
}

impl<'data> Map<'data> {
    pub(crate) fn declared(name: &'data str, section: u16, offset: u32, parsed: Parsed) -> Self {
        Self {
            origin: Origin::Declared {
                name,
                extra: parsed.extra,
                offset,
                inner: parsed.inner,
                numa_node: parsed.numa_node,
                section,
                pinned: parsed.pinned,
            },
            definition: parsed.definition,
        }
    }

    pub(crate) fn internal(
        object_name: &str,
        section_name: &str,
        section: u16,
        size: u32,
        contents: Option<&'data [u8]>,
        read_only: bool,
    ) -> Self {
        Self {
            origin: Origin::Internal {
                name: ComposedName::new(object_name, section_name),
                contents,
                section,
                described: None,
                has_visible_symbol: false,
            },
            definition: MapDefinition {
                kind: MapKind::ARRAY,
                key_size: 4,
                value_size: size,
                max_entries: 1,
                flags: if read_only { F_RDONLY_PROG } else { 0 },
            },
        }
    }

    pub(crate) fn struct_ops(name: &'data str, section: u16, offset: u32, size: u32, link: bool) -> Self {
        Self {
            origin: Origin::StructOps { name, offset, section },
            definition: MapDefinition {
                kind: MapKind::STRUCT_OPS,
                key_size: 4,
                value_size: size,
                max_entries: 1,
                flags: if link { F_LINK } else { 0 },
            },
        }
    }

    /// The map's name. Names of internal maps are composed as libbpf does: up to 8 bytes of the object's name and the section's
    /// name, or the section's name alone if it has two dots; at most 15 bytes. Other names are complete, and the kernel keeps
    /// the first 15 bytes of them.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.origin {
            Origin::Declared { name, .. } | Origin::StructOps { name, .. } => name,
            Origin::Internal { name, .. } => name.as_str(),
        }
    }

    /// What the kernel is told about the map.
    #[must_use]
    pub fn definition(&self) -> MapDefinition {
        self.definition
    }

    /// The map type.
    #[must_use]
    pub fn kind(&self) -> MapKind {
        self.definition.kind
    }

    /// Bytes of a key; 0 if the source does not say.
    #[must_use]
    pub fn key_size(&self) -> u32 {
        self.definition.key_size
    }

    /// Bytes of a value; 0 if the source does not say.
    #[must_use]
    pub fn value_size(&self) -> u32 {
        self.definition.value_size
    }

    /// Entries; bytes of data for rings, rounded up to what a kernel with the given page size accepts. 0 if the source does not
    /// say; for a perf event array 0 means one entry per possible CPU.
    #[must_use]
    pub fn max_entries(&self) -> u32 {
        self.definition.max_entries
    }

    /// Creation flags (`BPF_F_*`).
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.definition.flags
    }

    /// `map_extra`: what it means depends on the map type.
    #[must_use]
    pub fn extra(&self) -> u64 {
        match self.origin {
            Origin::Declared { extra, .. } => extra,
            _ => 0,
        }
    }

    /// The NUMA node that the source asks for; 0 if it does not say.
    #[must_use]
    pub fn numa_node(&self) -> u32 {
        match self.origin {
            Origin::Declared { numa_node, .. } => numa_node,
            _ => 0,
        }
    }

    /// Whether the source asks that the map be pinned under its name (`LIBBPF_PIN_BY_NAME`).
    #[must_use]
    pub fn is_pinned_by_name(&self) -> bool {
        matches!(self.origin, Origin::Declared { pinned: true, .. })
    }

    /// What an internal map's only value holds at first: the section's bytes, [`value_size`](Self::value_size) of them. `None` where
    /// that is all zero (`.bss`), and for maps that do not stand for a section.
    #[must_use]
    pub fn initial_value(&self) -> Option<&'data [u8]> {
        match self.origin {
            Origin::Internal { contents, .. } => contents,
            _ => None,
        }
    }

    /// Whether the map stands for a section of global variables.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(self.origin, Origin::Internal { .. })
    }

    /// Whether nobody may write to the map once it is filled: `.rodata` and `.kconfig`.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.is_internal() && self.flags() & F_RDONLY_PROG != 0
    }

    /// The ELF section in which the map stands; `None` for `.kconfig`, which occupies none.
    #[must_use]
    pub fn section_index(&self) -> Option<usize> {
        let (Origin::Declared { section, .. }
        | Origin::Internal { section, .. }
        | Origin::StructOps { section, .. }) = self.origin;
        (section != NO_SECTION).then_some(usize::from(section))
    }

    pub(crate) fn inner_type(&self) -> Option<u32> {
        match self.origin {
            Origin::Declared { inner, .. } if inner != 0 => Some(inner),
            _ => None,
        }
    }

    /// Where the map stands among the object's maps.
    pub(crate) fn rank(&self) -> (u8, u16, u32) {
        match self.origin {
            Origin::Declared { section, offset, .. } => (0, section, offset),
            Origin::Internal { section, .. } => (1, section, 0),
            Origin::StructOps { section, offset, .. } => (2, section, offset),
        }
    }

    /// Whether this is the declared map at that place.
    pub(crate) fn is_at(&self, place: u16, byte: u64) -> bool {
        matches!(self.origin, Origin::Declared { section, offset, .. } if section == place && u64::from(offset) == byte)
    }

    /// Whether this is the internal map that stands for that section.
    pub(crate) fn stands_for(&self, place: u16) -> bool {
        matches!(self.origin, Origin::Internal { section, .. } if section == place)
    }

    /// Takes the place of a variable in its section from its symbol, if this map is that variable.
    pub(crate) fn take_offset(&mut self, place: u16, value: u64, is_named: impl FnOnce(&str) -> bool) {
        if let Origin::Declared { name, section, offset, .. } | Origin::StructOps { name, section, offset } =
            &mut self.origin
            && *section == place
            && *offset == NO_OFFSET
            && is_named(name)
        {
            *offset = u32::try_from(value).unwrap_or(NO_OFFSET);
        }
    }

    /// Whether the map waits for a symbol that says where it stands.
    pub(crate) fn has_no_offset(&self) -> bool {
        let (Origin::Declared { offset, .. } | Origin::StructOps { offset, .. }) = self.origin else {
            return false;
        };
        offset == NO_OFFSET
    }

    /// Notes that the section `place` holds a variable that other objects can see.
    pub(crate) fn see_symbol(&mut self, place: u16) {
        if let Origin::Internal { section, has_visible_symbol, .. } = &mut self.origin
            && *section == place
        {
            *has_visible_symbol = true;
        }
    }

    /// Whether [`describe`](Self::describe) was called.
    pub(crate) fn is_described(&self) -> bool {
        matches!(self.origin, Origin::Internal { described: Some(_), .. })
    }

    /// Notes that BTF describes the section, and whether one of its variables is not static.
    pub(crate) fn describe(&mut self, is_global: bool) {
        if let Origin::Internal { described, .. } = &mut self.origin {
            *described = Some(is_global);
        }
    }

    /// Lets users map the value into their memory if it holds variables that they can name.
    pub(crate) fn settle(&mut self) {
        if let Origin::Internal { described: Some(true), has_visible_symbol: true, .. } = self.origin {
            self.definition.flags |= F_MMAPABLE;
        }
    }
}

impl fmt::Debug for Map<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("name", &self.name())
            .field("kind", &self.kind())
            .field("key_size", &self.key_size())
            .field("value_size", &self.value_size())
            .field("max_entries", &self.max_entries())
            .field("flags", &self.flags())
            .field("is_internal", &self.is_internal())
            .finish_non_exhaustive()
    }
}

/// What the declaration of a map says.
#[derive(Clone, Copy, Default)]
pub(crate) struct Parsed {
    pub(crate) definition: MapDefinition,
    pub(crate) extra: u64,
    pub(crate) inner: u32,
    pub(crate) numa_node: u32,
    pub(crate) pinned: bool,
}

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
    /// A member is not declared the way its name demands: numbers as `__uint(name, value)`, types as `__type(name, type)`.
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

/// The name of an internal map: at most 15 bytes of ASCII.
#[derive(Clone, Copy)]
struct ComposedName {
    bytes: [u8; Self::CAPACITY],
    len: u8,
}

impl ComposedName {
    const CAPACITY: usize = 15;

    /// libbpf's rule (`internal_map_name`): room is kept for at least 7 bytes of the section's name even where it is shorter, and a
    /// section's name with a second dot stands alone.
    fn new(object_name: &str, section_name: &str) -> Self {
        let suffix = section_name.len().clamp(7, Self::CAPACITY);
        let custom = section_name.bytes().skip(1).any(|byte| byte == b'.');
        let prefix = if custom { 0 } else { Self::CAPACITY.saturating_sub(suffix) };
        let mut name = Self { bytes: [0; Self::CAPACITY], len: 0 };
        let composed = object_name.bytes().take(prefix).chain(section_name.bytes().take(suffix));
        for (to, from) in name.bytes.iter_mut().zip(composed) {
            // The kernel takes no other characters.
            *to = if from.is_ascii_alphanumeric() || from == b'.' { from } else { b'_' };
            name.len = name.len.saturating_add(1);
        }
        name
    }

    fn as_str(&self) -> &str {
        self.bytes.get(..usize::from(self.len)).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

/// The object's name as libbpf takes it from a file name: without directories, up to the first dot, at most 15 bytes.
pub(crate) fn object_name(file_name: &str) -> &str {
    let base = file_name.rsplit('/').next().unwrap_or_default();
    let stem = base.split('.').next().unwrap_or_default();
    let mut len = stem.len().min(ComposedName::CAPACITY);
    while !stem.is_char_boundary(len) {
        len = len.saturating_sub(1);
    }
    stem.get(..len).unwrap_or_default()
}

/// `BPF_F_RDONLY_PROG`: programs cannot write.
const F_RDONLY_PROG: u32 = 0x80;
/// `BPF_F_MMAPABLE`: the value can be mapped into memory.
const F_MMAPABLE: u32 = 0x400;
/// `BPF_F_LINK`: attached through a link.
const F_LINK: u32 = 0x2000;
/// The map stands in no section.
pub(crate) const NO_SECTION: u16 = u16::MAX;
/// The map's place in its section is not known yet.
pub(crate) const NO_OFFSET: u32 = u32::MAX;
