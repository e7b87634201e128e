//! An object before and after loading.
//!
//! The steps are not inlined: what one has on the stack is not there while another runs.

use core::fmt;

use ebpf_progtable::{
    InitialValue, Instruction, Label, Map, MapKind, ObjectFile, OpenError, Options, Program, RelocateError,
    Resolver, SlotTarget,
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
/// Shared freely between threads: [`set_autoload`](Self::set_autoload) and [`on`](Self::on) take `&self`, and of several loads exactly one proceeds.
pub struct Object<'data, const PROGRAMS: usize = 64, const MAPS: usize = 64> {
    file: ObjectFile<'data, PROGRAMS, MAPS>,
}

impl<'data, const PROGRAMS: usize, const MAPS: usize> Object<'data, PROGRAMS, MAPS> {
    /// Opens an object that has no name; its internal maps are named after their sections alone.
    ///
    /// # Errors
    /// What is wrong with the file; see [`OpenError`].
    pub fn open(data: &'data [u8]) -> Result<Self, OpenError> {
        Self::open_with(data, &Options::default())
    }

    /// Opens an object under its file name, from which libbpf (and we) derive the names of internal maps.
    ///
    /// # Errors
    /// What is wrong with the file; see [`OpenError`].
    pub fn open_named(name: &str, data: &'data [u8]) -> Result<Self, OpenError> {
        Self::open_with(data, &options(name))
    }

    fn open_with(data: &'data [u8], options: &Options<'_>) -> Result<Self, OpenError> {
        let mut object = Self::empty();
        ObjectFile::open_into(&mut object.file, data, options)?;
        Ok(object)
    }

    /// No object: a place for [`open_into`](Self::open_into) to fill, such as a `static`.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn empty() -> Self {
        Self { file: ObjectFile::empty() }
    }

    /// The same; what the model checker watches cannot be made at compile time.
    #[cfg(loom)]
    #[must_use]
    pub fn empty() -> Self {
        Self { file: ObjectFile::empty() }
    }

    /// Opens an object under its file name into `place`: there is no other table on the stack, however many programs there is room for.
    ///
    /// # Errors
    /// As [`open`](Self::open); `place` is empty then.
    pub fn open_into(place: &mut Self, name: &str, data: &'data [u8]) -> Result<(), OpenError> {
        ObjectFile::open_into(&mut place.file, data, &options(name))
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

    /// How many instructions the scratch buffer of [`Loaded::load`] must hold: the longest chosen program, linked.
    ///
    /// # Errors
    /// The first chosen program that is damaged. What a program needs of a kernel is asked for when it is loaded.
    pub fn scratch_len(&self) -> Result<usize, RelocateError> {
        self.programs()
            .filter(|program| program.autoload())
            .try_fold(0, |longest: usize, program| Ok(longest.max(self.file.linked_len(program)?)))
    }

    /// The object on a platform, with nothing there yet: [`Loaded::load`] is next.
    #[must_use]
    pub fn on<'o, 'p, P: Platform>(&'o self, platform: &'p P) -> Loaded<'o, 'p, 'data, P, PROGRAMS, MAPS> {
        Loaded { object: self, platform, maps: Vec::new(), programs: Vec::new() }
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

/// An object on a platform: [`Object::on`] makes it, [`load`](Self::load) fills it. Dropping it unloads the programs and destroys the maps, in
/// reverse order of their creation.
///
/// It has room for a handle of every map and program, so loading happens where it stands: nothing is moved, and no second one is on the stack.
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
    /// Creates every map, then links and loads every chosen program, in table order.
    ///
    /// All or nothing: when any step fails, what was created before is taken back in reverse order.
    /// A program that is not chosen costs nothing: it is neither linked nor shown to the platform.
    /// `scratch` holds one program at a time; see [`Object::scratch_len`].
    ///
    /// # Errors
    /// Which step failed, for which map or program, and why. The object stays frozen, as with libbpf: open it again for another try.
    pub fn load(&mut self, scratch: &mut [Instruction]) -> Result<(), LoadError<P::Error>> {
        self.load_with(&mut (), scratch)
    }

    /// As [`load`](Self::load), with somebody who knows where the object's externs are. The map of configuration values
    /// gets the contents that [`Resolver::kconfig`] gives; zeroes if it gives none.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(
        &mut self,
        resolver: &mut impl Resolver,
        scratch: &mut [Instruction],
    ) -> Result<(), LoadError<P::Error>> {
        if self.object.file.freeze().is_err() {
            return Err(LoadError::AlreadyLoaded);
        }
        // An error is long. It is put into its place, and on nobody's stack but here.
        let mut outcome = Ok(());
        if self.fill(resolver, scratch, &mut outcome).is_none() {
            self.undo();
        }
        outcome
    }

    /// `None`, and the error in `outcome`, where a step failed.
    fn fill(
        &mut self,
        resolver: &mut impl Resolver,
        scratch: &mut [Instruction],
        outcome: &mut Result<(), LoadError<P::Error>>,
    ) -> Option<()> {
        for map in self.object.file.maps() {
            let created = if map.autocreate() { Some(self.create(resolver, map, outcome)?) } else { None };
            // The table holds at most `MAPS` maps, so there is room; if ever not, the map is handed back, not lost.
            if let Err(Some(created)) = self.maps.push(created) {
                self.platform.destroy_map(created);
            }
        }
        self.set_slots(|target| matches!(target, SlotTarget::Map(_)), outcome)?;
        for program in self.object.programs() {
            let handle = match program.autoload() {
                true => {
                    let instructions = self.link(program, resolver, scratch, outcome)?;
                    Some(self.hand_over(program, instructions, outcome)?)
                }
                false => None,
            };
            if let Err(Some(handle)) = self.programs.push(handle) {
                self.platform.unload_program(handle);
            }
        }
        self.set_slots(|target| matches!(target, SlotTarget::Program(_)), outcome)
    }

    #[inline(never)]
    fn create(
        &self,
        resolver: &impl Resolver,
        map: &'o Map<'data>,
        outcome: &mut Result<(), LoadError<P::Error>>,
    ) -> Option<P::Map> {
        let mut spec = MapSpec::from_map(map);
        if map.is_kconfig() {
            spec.initial_value = resolver.kconfig();
        }
        let created = match self.object.file.inner_map(map, &Options::default()) {
            Some(inner) => self.platform.create_map_of_maps(&spec, &inner),
            None => self.platform.create_map(&spec),
        };
        let error = |source| LoadError::CreateMap { map: Label::new(map.name()), source };
        created.map_err(|source| *outcome = Err(error(source))).ok()
    }

    /// Gives everything back, last first.
    fn undo(&mut self) {
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
    #[inline(never)]
    fn set_slots(
        &self,
        wanted: fn(&SlotTarget<'_, '_>) -> bool,
        outcome: &mut Result<(), LoadError<P::Error>>,
    ) -> Option<()> {
        for (map, handle) in self.maps() {
            for value in self.object.file.initial_values(map) {
                match value {
                    Ok(value) if !wanted(&value.target) => {}
                    Ok(value) => {
                        if let Err(problem) = self.set_slot(handle, &value) {
                            let (map, slot) = (Label::new(map.name()), value.slot);
                            *outcome = Err(LoadError::SetSlot { map, slot, problem });
                            return None;
                        }
                    }
                    Err(problem) => {
                        *outcome = Err(LoadError::InitialValue { map: Label::new(map.name()), problem });
                        return None;
                    }
                }
            }
        }
        Some(())
    }

    fn set_slot(&self, map: &P::Map, value: &InitialValue<'_, '_>) -> Result<(), SlotProblem<P::Error>> {
        let target = match value.target {
            SlotTarget::Map(index) => self.maps.get(index).and_then(Option::as_ref).map(SlotValue::Map),
            SlotTarget::Program(program) => {
                let loaded = self.programs().find(|(other, _)| core::ptr::eq::<Program<'_>>(*other, program));
                loaded.and_then(|(_, handle)| handle).map(SlotValue::Program)
            }
            _ => None,
        };
        let target = target.ok_or(SlotProblem::Off)?;
        match self.platform.set_slot(map, value.slot, target) {
            Some(Ok(())) => Ok(()),
            Some(Err(source)) => Err(SlotProblem::Refused(source)),
            None => Err(SlotProblem::Unsupported),
        }
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
        let position = self.object.programs().position(|program| program.name() == name);
        let position = position.ok_or_else(|| AttachError::NotFound { program: program() })?;
        let handle = self.programs.get(position).and_then(Option::as_ref);
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

    #[inline(never)]
    fn link<'b>(
        &self,
        program: &Program<'data>,
        resolver: &mut impl Resolver,
        scratch: &'b mut [Instruction],
        outcome: &mut Result<(), LoadError<P::Error>>,
    ) -> Option<&'b [Instruction]> {
        // Every map that is asked for exists by now; 0 is what an unknown one would get, and no platform takes it.
        let handle = |map: usize| self.maps.get(map).and_then(Option::as_ref);
        let reference = |map: usize| handle(map).map_or(0, |map| self.platform.map_reference(map));
        match self.object.file.relocate_with(program, reference, resolver, scratch) {
            Ok(instructions) => Some(instructions),
            Err(error) => {
                *outcome = LoadError::linking(&error);
                None
            }
        }
    }

    #[inline(never)]
    fn hand_over(
        &self,
        program: &Program<'data>,
        instructions: &[Instruction],
        outcome: &mut Result<(), LoadError<P::Error>>,
    ) -> Option<P::Program> {
        let spec = ProgramSpec {
            name: program.name(),
            section: program.section_name(),
            kind: program.kind(),
            expected_attach_type: program.expected_attach_type(),
            license: self.object.file.license(),
            instructions,
        };
        let error = |source| LoadError::LoadProgram { program: Label::new(program.name()), source };
        self.platform.load_program(&spec).map_err(|source| *outcome = Err(error(source))).ok()
    }
}

impl<P: Platform, const PROGRAMS: usize, const MAPS: usize> Drop for Loaded<'_, '_, '_, P, PROGRAMS, MAPS> {
    fn drop(&mut self) {
        self.undo();
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

fn options(name: &str) -> Options<'_> {
    let mut options = Options::default();
    options.name = name;
    options
}
