//! What a platform must be able to do: the only way the loader reaches an operating system or an interpreter.

use ebpf_progtable::{Instruction, Map, MapDefinition, MapKind, ProgramKind};
use ebpf_ringbuf::memory::Memory;

/// Creates maps, loads programs and attaches them; the loader says which, in which order, and what to undo.
///
/// Every method takes `&self`, so that several objects may be loaded onto one platform at once; a platform that keeps books locks them itself.
/// Handles are plain values: the loader gives each one back to [`destroy_map`](Self::destroy_map),
/// [`unload_program`](Self::unload_program) or [`detach`](Self::detach) exactly once, also when a step fails half-way.
pub trait Platform {
    /// Why the platform refused; carried unchanged inside [`LoadError`](crate::LoadError), [`AttachError`](crate::AttachError) and
    /// [`RingError`](crate::RingError).
    type Error: core::error::Error;
    /// A created map.
    type Map;
    /// A loaded program.
    type Program;
    /// An attached program.
    type Link;
    /// What a program can be attached to: a hook's name, an interface, a descriptor. Places differ from platform to platform, so does this.
    type Target<'t>;
    /// A ring's memory, as `ebpf-ringbuf` reads and writes it.
    type Ring: Memory;

    /// Creates a map and gives it its initial value.
    ///
    /// # Errors
    /// Whatever the platform reports; nothing may be left behind.
    fn create_map(&self, map: &MapSpec<'_>) -> Result<Self::Map, Self::Error>;

    /// Creates a map that holds maps like `inner`. Unless implemented, as any other map.
    ///
    /// # Errors
    /// Whatever the platform reports; nothing may be left behind.
    fn create_map_of_maps(&self, map: &MapSpec<'_>, inner: &MapDefinition) -> Result<Self::Map, Self::Error> {
        let _ = inner;
        self.create_map(map)
    }

    /// Puts a map or a program into entry `slot` of `map`, as the source says (`.values = { … }`): maps once all
    /// are created, programs once all are loaded. `None`, unless implemented: the platform cannot, and the object
    /// is not loaded.
    ///
    /// # Errors
    /// Whatever the platform reports.
    fn set_slot(
        &self,
        map: &Self::Map,
        slot: u32,
        value: SlotValue<'_, Self::Map, Self::Program>,
    ) -> Option<Result<(), Self::Error>> {
        let _ = (map, slot, value);
        None
    }

    /// Takes back a map that no loaded program of this loader refers to any more.
    fn destroy_map(&self, map: Self::Map);

    /// What an instruction that refers to `map` carries in its immediate: on Linux, the file descriptor.
    fn map_reference(&self, map: &Self::Map) -> i32;

    /// Verifies a relocated program and makes it runnable.
    ///
    /// # Errors
    /// Whatever the platform reports; nothing may be left behind.
    fn load_program(&self, program: &ProgramSpec<'_>) -> Result<Self::Program, Self::Error>;

    /// Takes back a program. Called before the maps it refers to are destroyed.
    fn unload_program(&self, program: Self::Program);

    /// Lets events at `target` run `program` until the link is given to [`detach`](Self::detach).
    ///
    /// # Errors
    /// Whatever the platform reports; nothing may be left behind.
    fn attach(&self, program: &Self::Program, target: Self::Target<'_>) -> Result<Self::Link, Self::Error>;

    /// Ends an attachment. Called before the program is unloaded.
    fn detach(&self, link: Self::Link);

    /// The memory of a ring map, for this side of it: the consuming side of a `RINGBUF`, the producing side of a `USER_RINGBUF`. A ring has one
    /// of each, so this is refused while what it gave before still exists.
    ///
    /// # Errors
    /// Whatever the platform reports, also for a map that is no ring.
    fn ring(&self, map: &Self::Map) -> Result<Self::Ring, Self::Error>;
}

/// What a map entry holds from the start.
#[derive(Debug)]
#[non_exhaustive]
pub enum SlotValue<'a, M, P> {
    /// A map.
    Map(&'a M),
    /// A program.
    Program(&'a P),
}

/// A map to create; sizes in bytes, numbers as in Linux's `union bpf_attr`.
#[derive(Clone, Copy, Debug)]
pub struct MapSpec<'a> {
    /// The map's name, at most 15 bytes for maps the object file names by itself (`.data` and its kin), otherwise the symbol's.
    pub name: &'a str,
    /// `BPF_MAP_TYPE_*`.
    pub kind: MapKind,
    /// Bytes of a key; 0 for rings, queues and stacks.
    pub key_size: u32,
    /// Bytes of a value; 0 for rings.
    pub value_size: u32,
    /// Entries, or bytes of data for a ring.
    pub max_entries: u32,
    /// `BPF_F_*` creation flags.
    pub flags: u32,
    /// Contents of element 0 for the maps that hold a data section.
    pub initial_value: Option<&'a [u8]>,
    /// Nobody writes the map once `initial_value` is in it: `.rodata` (`BPF_MAP_FREEZE` on Linux).
    pub read_only: bool,
}

impl<'a> MapSpec<'a> {
    /// A map without flags and without an initial value, which anybody may write. Sizes stand in the order of libbpf's `bpf_map_create`.
    ///
    /// ```
    /// use ebpf_loader::{MapKind, MapSpec};
    ///
    /// const COUNTERS: MapSpec<'_> = MapSpec::new("counters", MapKind::ARRAY, 4, 8, 16);
    /// assert_eq!((COUNTERS.key_size, COUNTERS.value_size, COUNTERS.max_entries), (4, 8, 16));
    ///
    /// let limits = MapSpec { initial_value: Some(&[9; 8]), read_only: true, ..MapSpec::new("limits", MapKind::ARRAY, 4, 8, 1) };
    /// assert_eq!(limits.flags, 0);
    /// ```
    #[must_use]
    pub const fn new(name: &'a str, kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> Self {
        Self {
            name,
            kind,
            key_size,
            value_size,
            max_entries,
            flags: 0,
            initial_value: None,
            read_only: false,
        }
    }

    /// The map as the object file declares it.
    #[must_use]
    pub fn from_map(map: &'a Map<'_>) -> Self {
        Self {
            name: map.name(),
            kind: map.kind(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: map.max_entries(),
            flags: map.flags(),
            initial_value: map.initial_value(),
            read_only: map.is_read_only(),
        }
    }
}

/// A program to verify and load, relocated and linked with the subprograms it calls.
#[derive(Clone, Copy, Debug)]
pub struct ProgramSpec<'a> {
    /// The function's name in the object file.
    pub name: &'a str,
    /// The section it stands in, without a leading `?`.
    pub section: &'a str,
    /// `BPF_PROG_TYPE_*`.
    pub kind: ProgramKind,
    /// `BPF_*` attach type that the verifier needs to know; 0 when there is none.
    pub expected_attach_type: u32,
    /// The object's licence; empty when it names none.
    pub license: &'a str,
    /// The instructions, map references already in place.
    pub instructions: &'a [Instruction],
}
