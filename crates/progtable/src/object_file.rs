//! The opened object file.

use core::fmt;

use crate::btf::Btf;
use crate::elf::{Container, Order};
use crate::error::{Frozen, OpenError};
use crate::info::Layout;
use crate::instruction::Instruction;
use crate::map::{Map, MapDefinition};
use crate::map_definition;
use crate::open::{Found, Opening, Options};
use crate::order::{self, Byte};
use crate::program::Program;
use crate::references::{Needs, Reference, References};
use crate::relocate::{self, Resolver};
use crate::relocate_error::RelocateError;

/// An opened object file: its programs, maps and licence.
///
/// `PROGRAMS` is how many programs, subprograms included, and `MAPS` how many maps there is room for; opening
/// an object with more fails, and says how many there are; neither can be more than 65 535. The value takes about 56 bytes for each program
/// and 64 for each map, and borrows everything else from the object's bytes.
pub struct ObjectFile<'data, const PROGRAMS: usize = 64, const MAPS: usize = 64> {
    pub(crate) container: Container<'data>,
    pub(crate) found: Found<'data>,
    /// By section and offset.
    pub(crate) programs: heapless::Vec<Program<'data>, PROGRAMS>,
    pub(crate) maps: heapless::Vec<Map<'data>, MAPS>,
    /// Set once, by the winner of [`freeze`](Self::freeze); read by everybody.
    frozen: Byte,
}

impl<'data, const PROGRAMS: usize, const MAPS: usize> ObjectFile<'data, PROGRAMS, MAPS> {
    /// A table of nothing: a place for [`open_into`](Self::open_into) to fill, such as a `static`.
    ///
    /// ```compile_fail,E0080
    /// // A table for more than 65 535 programs is none.
    /// let file = ebpf_progtable::ObjectFile::<70_000, 64>::empty();
    /// ```
    #[cfg(not(loom))]
    #[must_use]
    pub const fn empty() -> Self {
        const { assert!(PROGRAMS <= MAX_PROGRAMS && MAPS <= MAX_PROGRAMS, "a table holds up to 65 535") }
        Self {
            container: Container::EMPTY,
            found: Found::NOTHING,
            programs: heapless::Vec::new(),
            maps: heapless::Vec::new(),
            frozen: Byte::new(0),
        }
    }

    /// The same; what the model checker watches cannot be made at compile time.
    #[cfg(loom)]
    #[must_use]
    pub fn empty() -> Self {
        Self {
            container: Container::EMPTY,
            found: Found::NOTHING,
            programs: heapless::Vec::new(),
            maps: heapless::Vec::new(),
            frozen: Byte::new(0),
        }
    }

    /// Opens an object that has no name: internal maps are named `.data`, `.bss`, and so on.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what is wrong with the object, or that it has more programs or maps than there is
    /// room for.
    pub fn open(data: &'data [u8]) -> Result<Self, OpenError> {
        Self::open_with(data, &Options::default())
    }

    /// Opens an object under its file name, from which internal maps are named.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_named(name: &str, data: &'data [u8]) -> Result<Self, OpenError> {
        Self::open_with(data, &Options { name, ..Options::default() })
    }

    /// Opens an object, with everything said that it does not say itself.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(data: &'data [u8], options: &Options<'_>) -> Result<Self, OpenError> {
        let mut file = Self::empty();
        file.fill(data, options)?;
        Ok(file)
    }

    /// Opens an object into `place`: what was there before is gone, its freezing included.
    ///
    /// The stack this takes does not depend on the capacities: see [the crate's introduction](crate#stack).
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); `place` is empty then.
    pub fn open_into(place: &mut Self, data: &'data [u8], options: &Options<'_>) -> Result<(), OpenError> {
        place.clear();
        let outcome = place.fill(data, options);
        if outcome.is_err() {
            place.clear();
        }
        outcome
    }

    #[inline(never)]
    fn fill(&mut self, data: &'data [u8], options: &Options<'_>) -> Result<(), OpenError> {
        self.read(data)?;
        let (programs, maps) = (&mut self.programs, &mut self.maps);
        let opening = Opening { container: &self.container, options, programs, maps, maps_found: 0 };
        opening.run(&mut self.found)
    }

    #[inline(never)]
    fn read(&mut self, data: &'data [u8]) -> Result<(), OpenError> {
        self.container = Container::parse(data)?;
        Ok(())
    }

    /// Makes the table [`empty`](Self::empty) without moving one.
    fn clear(&mut self) {
        self.container = Container::EMPTY;
        self.found = Found::NOTHING;
        self.programs.clear();
        self.maps.clear();
        self.frozen = Byte::new(0);
    }

    /// The programs, in the order of their sections and, within a section, of their offsets. Subprograms are
    /// not among them.
    #[must_use]
    pub fn programs(&self) -> impl DoubleEndedIterator<Item = &Program<'data>> {
        self.programs.iter().filter(|program| !program.is_subprogram())
    }

    /// The functions of `.text`, which programs call, in the order of their offsets.
    #[must_use]
    pub fn subprograms(&self) -> impl DoubleEndedIterator<Item = &Program<'data>> {
        self.programs.iter().filter(|program| program.is_subprogram())
    }

    /// The first program of that name.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<&Program<'data>> {
        self.programs().find(|program| program.name() == name)
    }

    /// The maps: those declared in `.maps` by their offset there, then internal maps by section, then
    /// `.kconfig`, then `struct_ops`.
    #[must_use]
    pub fn maps(&self) -> &[Map<'data>] {
        &self.maps
    }

    /// The first map of that name.
    #[must_use]
    pub fn map(&self, name: &str) -> Option<&Map<'data>> {
        self.maps.iter().find(|map| map.name() == name)
    }

    /// What the maps are like that are to be put into `map`, if `map` holds maps and its declaration says.
    #[must_use]
    pub fn inner_map(&self, map: &Map<'data>, options: &Options<'_>) -> Option<MapDefinition> {
        let id = map.inner_type()?;
        let mut btf: Btf<'_> = Btf::empty(self.container.order);
        btf.index(self.found.btf?, INNER_LOOKUPS).ok()?;
        map_definition::parse_inner(&btf, id, options).ok()
    }

    /// The licence: empty if the object names none, at most 63 bytes.
    #[must_use]
    pub fn license(&self) -> &'data str {
        self.found.license
    }

    /// Whether the object is of this machine's byte order. If not, its table can be read and its programs
    /// cannot be linked.
    #[must_use]
    pub fn is_native(&self) -> bool {
        self.container.order == Order::NATIVE
    }

    /// Says whether `program` is to be loaded.
    ///
    /// Together with [`freeze`](Self::freeze) this is linearizable over the whole table: once any thread has
    /// been told [`Frozen`], no thread can change any program.
    ///
    /// # Errors
    ///
    /// [`Frozen`] once loading has begun.
    pub fn set_autoload(&self, program: &Program<'data>, autoload: bool) -> Result<(), Frozen> {
        // Reporting what is seen here before the winner has reached every program would let another thread change
        // one of those afterwards: so the loser helps first.
        if self.frozen.load(order::FROZEN) != 0 {
            self.freeze_programs();
            return Err(Frozen);
        }
        program.set_autoload(autoload).inspect_err(|Frozen| self.freeze_programs())
    }

    /// Says whether loading the object creates `map`; with libbpf `bpf_map__set_autocreate`. Linearizable
    /// together with [`freeze`](Self::freeze), as [`set_autoload`](Self::set_autoload) is.
    ///
    /// # Errors
    ///
    /// [`Frozen`] once loading has begun.
    pub fn set_autocreate(&self, map: &Map<'data>, autocreate: bool) -> Result<(), Frozen> {
        if self.frozen.load(order::FROZEN) != 0 {
            self.freeze_programs();
            return Err(Frozen);
        }
        map.set_autocreate(autocreate).inspect_err(|Frozen| self.freeze_programs())
    }

    /// Begins loading: from now on no program or map can be switched on or off.
    ///
    /// Exactly one caller succeeds. When this returns, whatever it returns, every change that was answered
    /// with `Ok` is visible to the caller, with all that its author wrote before it, and every later one is
    /// refused.
    ///
    /// # Errors
    ///
    /// [`Frozen`] for every caller but the first.
    pub fn freeze(&self) -> Result<(), Frozen> {
        let won = self.frozen.swap(1, order::FREEZE_TABLE) == 0;
        self.freeze_programs();
        if won { Ok(()) } else { Err(Frozen) }
    }

    /// How many instructions `program` has with the subprograms that it calls: what
    /// [`relocate`](Self::relocate) needs room for. Like [`layout`](Self::layout) this takes programs with externs
    /// and CO-RE relocations as they are, of either byte order.
    ///
    /// # Errors
    ///
    /// As [`layout`](Self::layout).
    pub fn linked_len(&self, program: &Program<'data>) -> Result<usize, RelocateError> {
        relocate::len(self, program)
    }

    /// Where each function of the linked program stands, and what is known of its instructions. Unlike
    /// linking, this takes programs with externs and CO-RE relocations as they are, of either byte order.
    ///
    /// # Errors
    ///
    /// As [`relocate`](Self::relocate), for what is wrong with the object.
    pub fn layout(
        &self,
        program: &Program<'data>,
    ) -> Result<Layout<'_, 'data, PROGRAMS, MAPS>, RelocateError> {
        Layout::of(self, program)
    }

    /// What `program` and the subprograms that it calls refer to, instruction by instruction: maps,
    /// variables, subprograms, callbacks, externs, CO-RE. Nothing is needed to know it; the object may be of
    /// either byte order.
    ///
    /// An item is an error if the object is wrong there, and the last.
    pub fn references<'f>(
        &'f self,
        program: &Program<'data>,
    ) -> impl Iterator<Item = Result<Reference<'f, 'data>, RelocateError>> + use<'f, 'data, PROGRAMS, MAPS>
    {
        References::of(self, program)
    }

    /// What `program` needs to be loaded, counted.
    ///
    /// # Errors
    ///
    /// As [`layout`](Self::layout).
    pub fn needs(&self, program: &Program<'data>) -> Result<Needs<MAPS>, RelocateError> {
        Needs::of(self, program)
    }

    /// Links `program` into `buffer`: puts in references to maps, and appends the subprograms that it calls.
    ///
    /// `map_reference` says what an instruction that refers to the map with that index in
    /// [`maps`](Self::maps) is to carry: on Linux the map's file descriptor. Nothing is allocated, and
    /// neither the file nor the table changes: programs can be linked at the same time.
    ///
    /// # Errors
    ///
    /// [`RelocateError`] says which program, section and instruction stand in the way, and how.
    pub fn relocate<'b>(
        &self,
        program: &Program<'data>,
        map_reference: impl Fn(usize) -> i32,
        buffer: &'b mut [Instruction],
    ) -> Result<&'b [Instruction], RelocateError> {
        self.relocate_with(program, map_reference, &mut (), buffer)
    }

    /// As [`relocate`](Self::relocate), with somebody who knows where externs are.
    ///
    /// # Errors
    ///
    /// As [`relocate`](Self::relocate).
    pub fn relocate_with<'b>(
        &self,
        program: &Program<'data>,
        map_reference: impl Fn(usize) -> i32,
        resolver: &mut impl Resolver,
        buffer: &'b mut [Instruction],
    ) -> Result<&'b [Instruction], RelocateError> {
        relocate::link(self, program, map_reference, resolver, buffer)
    }

    fn freeze_programs(&self) {
        for program in &self.programs {
            program.freeze();
        }
        for map in &self.maps {
            map.freeze();
        }
    }
}

impl<const PROGRAMS: usize, const MAPS: usize> Default for ObjectFile<'_, PROGRAMS, MAPS> {
    fn default() -> Self {
        Self::empty()
    }
}

impl<const PROGRAMS: usize, const MAPS: usize> fmt::Debug for ObjectFile<'_, PROGRAMS, MAPS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectFile")
            .field("programs", &self.programs)
            .field("maps", &self.maps)
            .field("license", &self.found.license)
            .finish_non_exhaustive()
    }
}

/// Where a table has state for each program, it names it in two bytes.
#[cfg(not(loom))]
const MAX_PROGRAMS: usize = 0xffff;
const INNER_LOOKUPS: usize = 256;

#[cfg(test)]
mod tests {
    use super::ObjectFile;
    use crate::error::Frozen;
    use crate::order;

    static OBJECT: &[u8] = include_bytes!("../tests/objects/choose.bpf.o");

    #[test]
    fn nothing_changes_after_freezing() {
        let file: ObjectFile<'_> = ObjectFile::open(OBJECT).unwrap();
        let program = file.program("test_maps").unwrap();
        assert_eq!(program.set_autoload(false), Ok(()));
        assert_eq!(file.freeze(), Ok(()));
        assert_eq!(file.freeze(), Err(Frozen));
        assert_eq!(program.set_autoload(true), Err(Frozen));
        assert_eq!(file.set_autoload(program, true), Err(Frozen));
        assert!(!program.autoload());
    }

    /// A thread that freezes can be stopped between its two steps. Whoever is refused then takes the second
    /// step for it: otherwise another program could still be changed after the refusal.
    #[test]
    fn who_is_refused_finishes_the_freeze() {
        fn switched(file: &ObjectFile<'_>) -> Result<(), Frozen> {
            file.set_autoload(file.program("test_LRU_map").unwrap(), false)
        }
        fn frozen(file: &ObjectFile<'_>) -> Result<(), Frozen> {
            file.freeze()
        }
        for refused in [switched, frozen] {
            let file: ObjectFile<'_> = ObjectFile::open(OBJECT).unwrap();
            file.frozen.swap(1, order::FREEZE_TABLE);
            assert_eq!(refused(&file), Err(Frozen));
            assert!(file.programs().all(|program| program.set_autoload(false) == Err(Frozen)));
            assert!(file.programs().all(|program| program.autoload()));
        }
    }
}
