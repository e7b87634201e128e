//! An object before and after loading.

use core::fmt;

use ebpf_progtable::{
    Instruction, Label, Map, MapKind, ObjectFile, OpenError, Options, Program, RelocateError, Resolver,
    SlotTarget,
};
use ebpf_ringbuf::{Consumer, UserProducer};
use heapless::Vec;

use crate::{
    AttachError, Attached, AutoloadError, Links, LoadError, MapSpec, Platform, ProgramSpec, RingError,
    SlotProblem, SlotValue,
};

/// An opened object: programs may be chosen, nothing is loaded yet.
///
/// `PROGRAMS` bounds programs and subprograms together, `MAPS` the maps; an object with more is refused at open with the number it has.
/// Shared freely between threads: [`set_autoload`](Self::set_autoload) and [`load`](Self::load) both take `&self`, and of several loads exactly one proceeds.
pub struct Object<'data, const PROGRAMS: usize = 64, const MAPS: usize = 64> {
    file: ObjectFile<'data, PROGRAMS, MAPS>,
}

impl<'data, const PROGRAMS: usize, const MAPS: usize> Object<'data, PROGRAMS, MAPS> {
    /// Opens an object that has no name; its internal maps are named after their sections alone.
    ///
    /// # Errors
    /// What is wrong with the file; see [`OpenError`].
    pub fn open(data: &'data [u8]) -> Result<Self, OpenError> {
        ObjectFile::open(data).map(Self::from)
    }

    /// Opens an object under its file name, from which libbpf (and we) derive the names of internal maps.
    ///
    /// # Errors
    /// What is wrong with the file; see [`OpenError`].
    pub fn open_named(name: &'data str, data: &'data [u8]) -> Result<Self, OpenError> {
        ObjectFile::open_named(name, data).map(Self::from)
    }

    /// The table behind: programs, subprograms, maps, licence.
    #[must_use]
    pub fn file(&self) -> &ObjectFile<'data, PROGRAMS, MAPS> {
        &self.file
    }

    /// The programs in libbpf's order.
    pub fn programs(&self) -> impl Iterator<Item = &Program<'data>> {
        self.file.programs()
    }

    /// The program of that name.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<&Program<'data>> {
        self.file.program(name)
    }

    /// Chooses whether `load` loads the program `name`.
    ///
    /// A change that returned `Ok` is honoured by the load, whichever thread made it.
    ///
    /// # Errors
    /// [`AutoloadError::NotFound`] for a name the object does not have, [`AutoloadError::Frozen`] once a load has begun.
    pub fn set_autoload(&self, name: &str, autoload: bool) -> Result<(), AutoloadError> {
        let program = self.file.program(name).ok_or(AutoloadError::NotFound)?;
        self.file.set_autoload(program, autoload).map_err(|_| AutoloadError::Frozen)
    }

    /// Chooses whether `load` creates the map `name`. Programs that refer to a map that is not created are loaded with
    /// calls in its place that no verifier accepts where they can be reached
    /// ([`POISONED_MAP`](ebpf_progtable::POISONED_MAP)).
    ///
    /// # Errors
    /// As [`set_autoload`](Self::set_autoload).
    pub fn set_autocreate(&self, name: &str, autocreate: bool) -> Result<(), AutoloadError> {
        let map = self.file.map(name).ok_or(AutoloadError::NotFound)?;
        self.file.set_autocreate(map, autocreate).map_err(|_| AutoloadError::Frozen)
    }

    /// How many instructions the scratch buffer of [`load`](Self::load) must hold: the longest chosen program, linked.
    ///
    /// # Errors
    /// The first chosen program that is damaged. What a program needs of a kernel is asked for when it is loaded.
    pub fn scratch_len(&self) -> Result<usize, RelocateError> {
        self.programs()
            .filter(|program| program.autoload())
            .try_fold(0, |longest: usize, program| Ok(longest.max(self.file.layout(program)?.len())))
    }

    /// Creates every map, then links and loads every chosen program, in table order.
    ///
    /// All or nothing: when any step fails, what was created before is taken back in reverse order.
    /// A program that is not chosen costs nothing: it is neither linked nor shown to the platform.
    /// `scratch` holds one program at a time; see [`scratch_len`](Self::scratch_len).
    ///
    /// # Errors
    /// Which step failed, for which map or program, and why. The object stays frozen, as with libbpf: open it again for another try.
    pub fn load<'o, 'p, P: Platform>(
        &'o self,
        platform: &'p P,
        scratch: &mut [Instruction],
    ) -> Result<Loaded<'o, 'p, 'data, P, PROGRAMS, MAPS>, LoadError<P::Error>> {
        self.load_with(platform, &mut (), scratch)
    }

    /// As [`load`](Self::load), with somebody who knows where the object's externs are. The map of configuration values
    /// gets the contents that [`Resolver::kconfig`] gives; zeroes if it gives none.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with<'o, 'p, P: Platform>(
        &'o self,
        platform: &'p P,
        resolver: &mut impl Resolver,
        scratch: &mut [Instruction],
    ) -> Result<Loaded<'o, 'p, 'data, P, PROGRAMS, MAPS>, LoadError<P::Error>> {
        self.file.freeze().map_err(|_| LoadError::AlreadyLoaded)?;

        // From here on `loaded` owns what the platform made; leaving early drops it, which is the undo.
        let mut loaded = Loaded { object: self, platform, maps: Vec::new(), programs: Vec::new() };
        for map in self.file.maps() {
            let created = if map.autocreate() { Some(self.create(platform, resolver, map)?) } else { None };
            // The table holds at most `MAPS` maps, so there is room; if ever not, the map is handed back, not lost.
            if let Err(Some(created)) = loaded.maps.push(created) {
                platform.destroy_map(created);
            }
        }
        loaded.set_slots(|target| matches!(target, SlotTarget::Map(_)))?;
        for program in self.programs() {
            let handle =
                if program.autoload() { Some(loaded.load_one(program, resolver, scratch)?) } else { None };
            if let Err(Some(handle)) = loaded.programs.push(handle) {
                platform.unload_program(handle);
            }
        }
        loaded.set_slots(|target| matches!(target, SlotTarget::Program(_)))?;
        Ok(loaded)
    }

    fn create<P: Platform>(
        &self,
        platform: &P,
        resolver: &impl Resolver,
        map: &Map<'data>,
    ) -> Result<P::Map, LoadError<P::Error>> {
        let mut spec = MapSpec::from_map(map);
        if map.is_kconfig() {
            spec.initial_value = resolver.kconfig();
        }
        let created = match self.file.inner_map(map, &Options::default()) {
            Some(inner) => platform.create_map_of_maps(&spec, &inner),
            None => platform.create_map(&spec),
        };
        created.map_err(|source| LoadError::CreateMap { map: Label::new(map.name()), source })
    }
}

impl<'data, const PROGRAMS: usize, const MAPS: usize> From<ObjectFile<'data, PROGRAMS, MAPS>>
    for Object<'data, PROGRAMS, MAPS>
{
    fn from(file: ObjectFile<'data, PROGRAMS, MAPS>) -> Self {
        Self { file }
    }
}

impl<const PROGRAMS: usize, const MAPS: usize> fmt::Debug for Object<'_, PROGRAMS, MAPS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("programs", &self.programs().count())
            .field("maps", &self.file.maps().len())
            .finish()
    }
}

/// An object on a platform. Dropping it unloads the programs and destroys the maps, in reverse order of their creation.
pub struct Loaded<'o, 'p, 'data, P: Platform, const PROGRAMS: usize = 64, const MAPS: usize = 64> {
    object: &'o Object<'data, PROGRAMS, MAPS>,
    platform: &'p P,
    /// Index for index the maps of the table; `None` was not to be created.
    maps: Vec<Option<P::Map>, MAPS>,
    /// Index for index the programs of the table; `None` was not chosen.
    programs: Vec<Option<P::Program>, PROGRAMS>,
}

impl<'o, 'data, P: Platform, const PROGRAMS: usize, const MAPS: usize>
    Loaded<'o, '_, 'data, P, PROGRAMS, MAPS>
{
    /// Every program of the table, with the platform's handle for those that were chosen.
    pub fn programs(&self) -> impl Iterator<Item = (&'o Program<'data>, Option<&P::Program>)> {
        self.object.programs().zip(self.programs.iter().map(Option::as_ref))
    }

    /// The handle of a program; `None` when there is no such program or it was not chosen.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<&P::Program> {
        self.programs().find(|(program, _)| program.name() == name)?.1
    }

    /// Every map of the table that was created, with the platform's handle.
    pub fn maps(&self) -> impl Iterator<Item = (&'o Map<'data>, &P::Map)> {
        let maps = self.object.file.maps().iter().zip(&self.maps);
        maps.filter_map(|(map, handle)| Some((map, handle.as_ref()?)))
    }

    /// The handle of a map.
    #[must_use]
    pub fn map(&self, name: &str) -> Option<&P::Map> {
        self.maps().find(|(map, _)| map.name() == name).map(|(_, handle)| handle)
    }

    /// Puts into maps what the source puts there, of the sort that is wanted now.
    fn set_slots(&self, wanted: fn(&SlotTarget<'_, '_>) -> bool) -> Result<(), LoadError<P::Error>> {
        let file = &self.object.file;
        for (map, handle) in self.maps() {
            let name = || Label::new(map.name());
            for value in file.initial_values(map) {
                let value = value.map_err(|problem| LoadError::InitialValue { map: name(), problem })?;
                if !wanted(&value.target) {
                    continue;
                }
                let slot = value.slot;
                let error = |problem| LoadError::SetSlot { map: name(), slot, problem };
                let target = match value.target {
                    SlotTarget::Map(index) => {
                        self.maps.get(index).and_then(Option::as_ref).map(SlotValue::Map)
                    }
                    SlotTarget::Program(program) => {
                        let loaded =
                            self.programs().find(|(other, _)| core::ptr::eq::<Program<'_>>(*other, program));
                        loaded.and_then(|(_, handle)| handle).map(SlotValue::Program)
                    }
                    _ => None,
                };
                let target = target.ok_or_else(|| error(SlotProblem::Off))?;
                match self.platform.set_slot(handle, slot, target) {
                    Some(Ok(())) => {}
                    Some(Err(source)) => return Err(error(SlotProblem::Refused(source))),
                    None => return Err(error(SlotProblem::Unsupported)),
                }
            }
        }
        Ok(())
    }

    /// Attaches a program until what is given back is dropped, which must be before `self` is.
    ///
    /// # Errors
    /// When there is no such program, when it was not chosen, or what the platform says.
    pub fn attach(
        &self,
        name: &str,
        target: P::Target<'_>,
    ) -> Result<Attached<'_, P>, AttachError<P::Error>> {
        let program = || Label::new(name);
        let (_, handle) = self
            .programs()
            .find(|(program, _)| program.name() == name)
            .ok_or_else(|| AttachError::NotFound { program: program() })?;
        let handle = handle.ok_or_else(|| AttachError::NotLoaded { program: program() })?;
        let link = self
            .platform
            .attach(handle, target)
            .map_err(|source| AttachError::Attach { program: program(), source })?;
        Ok(Attached::new(self.platform, link))
    }

    /// Attaches several programs, all or none; `LINKS` bounds how many. A program may be named more than once, with another target.
    ///
    /// # Errors
    /// As for [`attach`](Self::attach), or when there are more than fit. What was attached before is detached, last first.
    pub fn attach_all<'n, 't, const LINKS: usize>(
        &self,
        targets: impl IntoIterator<Item = (&'n str, P::Target<'t>)>,
    ) -> Result<Links<'_, P, LINKS>, AttachError<P::Error>> {
        let mut links = Links::new();
        for (name, target) in targets {
            if links.len() == LINKS {
                return Err(AttachError::TooManyLinks { program: Label::new(name), capacity: LINKS });
            }
            // There is room, as just seen.
            links.push(self.attach(name, target)?);
        }
        Ok(links)
    }

    /// The consuming side of a ring map, which goes on where the ring's `consumer_pos` stands.
    ///
    /// A ring has one consumer: the platform refuses a second one while the first exists.
    ///
    /// # Errors
    /// When there is no such map or it is no `RINGBUF`, or what the platform says.
    pub fn ring(&self, name: &str) -> Result<Consumer<P::Ring>, RingError<P::Error>> {
        let memory = self.ring_memory(name, MapKind::RINGBUF)?;
        Consumer::new(memory).map_err(|source| RingError::Corrupt { map: Label::new(name), source })
    }

    /// The producing side of a user ring map.
    ///
    /// # Errors
    /// When there is no such map or it is no `USER_RINGBUF`, or what the platform says.
    pub fn user_ring(&self, name: &str) -> Result<UserProducer<P::Ring>, RingError<P::Error>> {
        let memory = self.ring_memory(name, MapKind::USER_RINGBUF)?;
        UserProducer::new(memory).map_err(|source| RingError::Positions { map: Label::new(name), source })
    }

    fn ring_memory(&self, name: &str, wanted: MapKind) -> Result<P::Ring, RingError<P::Error>> {
        let label = || Label::new(name);
        let (map, handle) = self
            .maps()
            .find(|(map, _)| map.name() == name)
            .ok_or_else(|| RingError::NotFound { map: label() })?;
        if map.kind() != wanted {
            return Err(RingError::NotARing { map: label(), kind: map.kind() });
        }
        self.platform.ring(handle).map_err(|source| RingError::Map { map: label(), source })
    }

    fn load_one(
        &self,
        program: &'o Program<'data>,
        resolver: &mut impl Resolver,
        scratch: &mut [Instruction],
    ) -> Result<P::Program, LoadError<P::Error>> {
        let file = &self.object.file;
        let needed = file.layout(program).map_err(LoadError::Relocate)?.len();
        let given = scratch.len();
        let buffer = scratch.get_mut(..needed).ok_or(LoadError::ScratchTooShort {
            program: Label::new(program.name()),
            needed,
            given,
        })?;
        // Every map that is asked for exists by now; 0 is what an unknown one would get, and no platform takes it.
        let handle = |map: usize| self.maps.get(map).and_then(Option::as_ref);
        let reference = |map: usize| handle(map).map_or(0, |map| self.platform.map_reference(map));
        let instructions =
            file.relocate_with(program, reference, resolver, buffer).map_err(LoadError::Relocate)?;
        let spec = ProgramSpec {
            name: program.name(),
            section: program.section_name(),
            kind: program.kind(),
            expected_attach_type: program.expected_attach_type(),
            license: file.license(),
            instructions,
        };
        self.platform
            .load_program(&spec)
            .map_err(|source| LoadError::LoadProgram { program: Label::new(program.name()), source })
    }
}

impl<P: Platform, const PROGRAMS: usize, const MAPS: usize> Drop for Loaded<'_, '_, '_, P, PROGRAMS, MAPS> {
    fn drop(&mut self) {
        while let Some(program) = self.programs.pop() {
            if let Some(program) = program {
                self.platform.unload_program(program);
            }
        }
        while let Some(map) = self.maps.pop() {
            if let Some(map) = map {
                self.platform.destroy_map(map);
            }
        }
    }
}

impl<P: Platform, const PROGRAMS: usize, const MAPS: usize> fmt::Debug
    for Loaded<'_, '_, '_, P, PROGRAMS, MAPS>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = self.programs.iter().flatten().count();
        let maps = self.maps.iter().flatten().count();
        f.debug_struct("Loaded").field("programs", &loaded).field("maps", &maps).finish()
    }
}

impl<'a> MapSpec<'a> {
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
