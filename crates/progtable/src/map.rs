//! One map of the object: declared in `.maps`, standing for a data section, or a `struct_ops` variable.

use core::fmt;

use crate::error::Frozen;
use crate::kinds::MapKind;
use crate::map_name::ComposedName;
use crate::program::AutoloadState;

/// A map that loading the object creates.
///
/// Three sorts exist, in this order in [`ObjectFile::maps`](crate::ObjectFile::maps): maps that the source
/// declares in `.maps`, maps that stand for the sections of global variables (*internal* maps: `.data`,
/// `.rodata`, `.bss`, then `.kconfig`), and `struct_ops` variables.
#[derive(Clone)]
pub struct Map<'data> {
    origin: Origin<'data>,
    definition: MapDefinition,
    autocreate: AutoloadState,
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
    /// `.data`, `.rodata`, `.kconfig`, or any `.bss`.
    Internal {
        name: ComposedName,
        contents: Option<&'data [u8]>,
        /// [`NO_SECTION`] for `.kconfig`, which has none.
        section: u16,
        /// How many variables BTF describes there that are neither static nor hidden, or [`NOT_DESCRIBED`].
        globals: i16,
    },
    /// A section of variables that the source named, such as `.data.hot`.
    Named {
        name: &'data str,
        contents: Option<&'data [u8]>,
        section: u16,
        globals: i16,
    },
    StructOps {
        name: &'data str,
        offset: u32,
        section: u16,
    },
}

impl<'data> Map<'data> {
    pub(crate) fn declared(name: &'data str, section: u16, offset: u32, parsed: &Parsed) -> Self {
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
            autocreate: AutoloadState::new(true),
        }
    }

    pub(crate) fn internal(
        object_name: &str,
        section_name: &'data str,
        section: u16,
        size: u32,
        contents: Option<&'data [u8]>,
        read_only: bool,
    ) -> Self {
        let globals = NOT_DESCRIBED;
        let origin = if section_name.starts_with(".data.") || section_name.starts_with(".rodata.") {
            Origin::Named { name: section_name, contents, section, globals }
        } else {
            let name = ComposedName::new(object_name, section_name);
            Origin::Internal { name, contents, section, globals }
        };
        Self {
            origin,
            definition: MapDefinition {
                kind: MapKind::ARRAY,
                key_size: 4,
                value_size: size,
                max_entries: 1,
                flags: if read_only { F_RDONLY_PROG } else { 0 },
            },
            autocreate: AutoloadState::new(true),
        }
    }

    pub(crate) fn struct_ops(name: &'data str, section: u16, offset: u32, size: u32, of: &str) -> Self {
        Self {
            origin: Origin::StructOps { name, offset, section },
            definition: MapDefinition {
                kind: MapKind::STRUCT_OPS,
                key_size: 4,
                value_size: size,
                max_entries: 1,
                flags: if of.ends_with(".link") { F_LINK } else { 0 },
            },
            autocreate: AutoloadState::new(!of.starts_with('?')),
        }
    }

    /// The map's name, as libbpf has it. A section of variables that the source named (`.data.hot`) gives its
    /// map that name; the maps of `.data`, `.rodata`, `.bss` and `.kconfig` have composed names of at most 15
    /// bytes: the start of the object's name, then the section's. The kernel keeps the first 15 bytes of any
    /// name.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.origin {
            Origin::Declared { name, .. } | Origin::Named { name, .. } | Origin::StructOps { name, .. } => {
                name
            }
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

    /// Entries; bytes of data for rings, rounded up to what a kernel with the given page size accepts. 0 if
    /// the source does not say; for a perf event array 0 means one entry per possible CPU.
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

    /// What an internal map's only value holds at first: the section's bytes,
    /// [`value_size`](Self::value_size) of them. `None` where that is all zero (`.bss`), and for maps that do
    /// not stand for a section.
    #[must_use]
    pub fn initial_value(&self) -> Option<&'data [u8]> {
        match self.origin {
            Origin::Internal { contents, .. } | Origin::Named { contents, .. } => contents,
            _ => None,
        }
    }

    /// Whether the map stands for a section of global variables.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(self.origin, Origin::Internal { .. } | Origin::Named { .. })
    }

    /// Whether nobody may write to the map once it is filled: `.rodata` and `.kconfig`.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.is_internal() && self.flags() & F_RDONLY_PROG != 0
    }

    /// Whether loading the object creates the map: yes, unless it is a `struct_ops` variable in a section
    /// that starts with `?`.
    #[must_use]
    pub fn autocreate(&self) -> bool {
        self.autocreate.load()
    }

    /// Says whether loading the object creates the map. If not, what programs do with it is replaced by
    /// calls that no verifier accepts where they can be reached: see [`POISONED_MAP`](crate::POISONED_MAP).
    ///
    /// This looks at this map only; see [`ObjectFile::set_autocreate`](crate::ObjectFile::set_autocreate).
    ///
    /// # Errors
    ///
    /// [`Frozen`] once loading has begun.
    pub fn set_autocreate(&self, autocreate: bool) -> Result<(), Frozen> {
        self.autocreate.store(autocreate)
    }

    /// Whether the map holds the kernel's configuration values that the object reads; see
    /// [`ObjectFile::fill_kconfig`](crate::ObjectFile::fill_kconfig).
    #[must_use]
    pub fn is_kconfig(&self) -> bool {
        matches!(self.origin, Origin::Internal { section: NO_SECTION, .. })
    }

    pub(crate) fn freeze(&self) {
        self.autocreate.freeze();
    }

    /// Offset of a declared map in its section.
    pub(crate) fn declared_place(&self) -> Option<(u16, u32)> {
        match self.origin {
            Origin::Declared { section, offset, .. } => Some((section, offset)),
            _ => None,
        }
    }

    /// The ELF section in which the map stands; `None` for `.kconfig`, which occupies none.
    #[must_use]
    pub fn section_index(&self) -> Option<usize> {
        let (Origin::Declared { section, .. }
        | Origin::Internal { section, .. }
        | Origin::Named { section, .. }
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
            Origin::Internal { section, .. } | Origin::Named { section, .. } => (1, section, 0),
            Origin::StructOps { section, offset, .. } => (2, section, offset),
        }
    }

    /// Whether this is the declared map at that place.
    pub(crate) fn is_at(&self, place: u16, byte: u64) -> bool {
        match self.origin {
            Origin::Declared { section, offset, .. } => section == place && u64::from(offset) == byte,
            _ => false,
        }
    }

    /// Whether this is the internal map that stands for that section.
    pub(crate) fn stands_for(&self, place: u16) -> bool {
        match self.origin {
            Origin::Internal { section, .. } | Origin::Named { section, .. } => section == place,
            _ => false,
        }
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

    /// Notes that the section `place` holds a variable that is global but hidden, which libbpf takes for a static one.
    pub(crate) fn see_hidden(&mut self, place: u16) {
        if let Origin::Internal { section, globals, .. } | Origin::Named { section, globals, .. } =
            &mut self.origin
            && *section == place
            && *globals > 0
        {
            *globals = globals.saturating_sub(1);
        }
    }

    /// Whether [`describe`](Self::describe) was called.
    pub(crate) fn is_described(&self) -> bool {
        matches!(
            self.origin,
            Origin::Internal { globals, .. } | Origin::Named { globals, .. } if globals != NOT_DESCRIBED
        )
    }

    /// Notes that BTF describes the section, and how many of its variables are not static.
    pub(crate) fn describe(&mut self, count: i16) {
        if let Origin::Internal { globals, .. } | Origin::Named { globals, .. } = &mut self.origin {
            *globals = count;
        }
    }

    /// Lets users map the value into their memory if it holds variables that they can name.
    pub(crate) fn settle(&mut self) {
        if let Origin::Internal { globals: 1.., .. } | Origin::Named { globals: 1.., .. } = self.origin {
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
            .field("autocreate", &self.autocreate())
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

/// `BPF_F_RDONLY_PROG`: programs cannot write.
const F_RDONLY_PROG: u32 = 0x80;
/// No BTF was found for the section.
const NOT_DESCRIBED: i16 = -1;

/// `BPF_F_MMAPABLE`: the value can be mapped into memory.
const F_MMAPABLE: u32 = 0x400;
/// `BPF_F_LINK`: attached through a link.
const F_LINK: u32 = 0x2000;
/// The map stands in no section.
pub(crate) const NO_SECTION: u16 = u16::MAX;
/// The map's place in its section is not known yet.
pub(crate) const NO_OFFSET: u32 = u32::MAX;

// A model's atomics are larger.
#[cfg(not(loom))]
const _: () = assert!(size_of::<Map<'static>>() <= 64);
