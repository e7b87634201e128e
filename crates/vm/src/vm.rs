//! The machine: creates maps, validates programs, keeps the books.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use ebpf_loader::{MapDefinition, MapSpec, Platform, ProgramKind, ProgramSpec, SlotValue};
use spin::Mutex;

use crate::MAX_INSTRUCTIONS;
use crate::account::Account;
use crate::error::{Fault, ValidationError, ValidationErrorKind, VmError};
use crate::fuse::fuse;
use crate::hooks::{Hooks, VmLink};
use crate::host::{DeterministicHost, Host};
use crate::maps::VmMap;
use crate::maps::create::Machine;
use crate::numbers::HelperNumbers;
use crate::program::{Outcome, Parts, VmProgram};
use crate::ring::RingMemory;
use crate::validate::{Rules, validate};

/// What a machine may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VmConfig {
    /// Bytes of all its maps and programs together. 64 MiB unless set.
    pub memory_limit: usize,
    /// Instruction slots of one run, looked at wherever control moves: at jumps that are taken, calls and returns. 1 000 000 unless set.
    pub instruction_budget: u64,
    /// Bytes of a page: the size of a ring is a multiple of it, and its records count pages. 4096 unless set.
    pub page_size: u32,
    /// CPUs that per-CPU maps have values for; [`Host::processor`] says on which one a run is. 1 unless set.
    pub cpus: u32,
    /// Whose numbers programs call helpers by. Linux's unless set.
    pub helpers: HelperNumbers,
}

impl VmConfig {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            memory_limit: 64 << 20,
            instruction_budget: 1_000_000,
            page_size: 4096,
            cpus: 1,
            helpers: HelperNumbers::Linux,
        }
    }

    /// With another memory limit, in bytes.
    #[must_use]
    pub const fn with_memory_limit(self, memory_limit: usize) -> Self {
        Self { memory_limit, ..self }
    }

    /// With another budget, in instructions.
    #[must_use]
    pub const fn with_instruction_budget(self, instruction_budget: u64) -> Self {
        Self { instruction_budget, ..self }
    }

    /// With another page size, in bytes, a power of two.
    #[must_use]
    pub const fn with_page_size(self, page_size: u32) -> Self {
        Self { page_size, ..self }
    }

    /// With values for so many CPUs in per-CPU maps. Runs on processor `n` see those of CPU `n % cpus`.
    #[must_use]
    pub const fn with_cpus(self, cpus: u32) -> Self {
        Self { cpus, ..self }
    }

    /// For programs that call helpers by other numbers.
    #[must_use]
    pub const fn with_helpers(self, helpers: HelperNumbers) -> Self {
        Self { helpers, ..self }
    }
}

impl Default for VmConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// A machine that holds maps and programs; see the [crate's documentation](crate).
///
/// Shared freely between threads. What it has created may outlive it.
pub struct Vm {
    config: VmConfig,
    host: Arc<dyn Host>,
    account: Arc<Account>,
    /// The maps that programs may still come to refer to, by their references.
    maps: Mutex<Maps>,
    hooks: Hooks,
    validations: AtomicU64,
    loaded: AtomicU64,
}

struct Maps {
    by_id: BTreeMap<u32, VmMap>,
    next_id: u32,
}

impl Vm {
    /// With the default configuration and the [`DeterministicHost`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_config(VmConfig::new())
    }

    /// With the [`DeterministicHost`].
    #[must_use]
    pub fn with_config(config: VmConfig) -> Self {
        Self::with_host(config, Arc::new(DeterministicHost::new()))
    }

    /// With everything chosen.
    #[must_use]
    pub fn with_host(config: VmConfig, host: Arc<dyn Host>) -> Self {
        Self {
            config,
            host,
            account: Account::new(config.memory_limit as u64),
            maps: Mutex::new(Maps { by_id: BTreeMap::new(), next_id: 1 }),
            hooks: Hooks::default(),
            validations: AtomicU64::new(0),
            loaded: AtomicU64::new(0),
        }
    }

    /// An event at `hook`: runs every program of this kind that is attached there, in the order in which they were, all on the same context, and
    /// hands what became of each to `each`.
    ///
    /// Programs attached or detached meanwhile, also by `each`, make a difference from the next event on.
    pub fn fire(
        &self,
        kind: ProgramKind,
        hook: &str,
        context: &mut [u8],
        mut each: impl FnMut(&VmProgram, Result<Outcome, Fault>),
    ) {
        let attached = self.hooks.at(kind, hook);
        for (_, program) in attached.iter().flat_map(|attached| attached.iter()) {
            each(program, program.run(context));
        }
    }

    /// How many programs of this kind are attached at `hook`.
    #[must_use]
    pub fn attached(&self, kind: ProgramKind, hook: &str) -> usize {
        self.hooks.at(kind, hook).map_or(0, |attached| attached.len())
    }

    /// What it may use.
    #[must_use]
    pub fn config(&self) -> VmConfig {
        self.config
    }

    /// Bytes charged to maps and programs that exist now.
    #[must_use]
    pub fn memory_in_use(&self) -> usize {
        saturate(self.account.in_use())
    }

    /// Programs that were validated so far, the refused ones included.
    #[must_use]
    pub fn validator_runs(&self) -> u64 {
        self.validations.load(Ordering::Relaxed)
    }

    /// Programs that were loaded so far.
    #[must_use]
    pub fn programs_loaded(&self) -> u64 {
        self.loaded.load(Ordering::Relaxed)
    }
}

impl Vm {
    fn create(&self, map: &MapSpec<'_>, inner: Option<&MapDefinition>) -> Result<VmMap, VmError> {
        let id = {
            let mut maps = self.maps.lock();
            let id = maps.next_id;
            // References are 31 bits. They do not run out before memory does, unless maps come and go for years.
            maps.next_id = id.checked_add(1).filter(|next| i32::try_from(*next).is_ok()).unwrap_or(1);
            id
        };
        let machine = Machine {
            seed: self.host.random(),
            page_size: self.config.page_size,
            cpus: self.config.cpus,
            account: &self.account,
        };
        let created = VmMap::create(map, id, inner, machine)?;
        self.maps.lock().by_id.insert(id, created.clone());
        Ok(created)
    }
}

impl Default for Vm {
    fn default() -> Self {
        Self::new()
    }
}

/// Prog arrays and the programs in them hold each other.
impl Drop for Vm {
    fn drop(&mut self) {
        self.maps.get_mut().by_id.values().for_each(VmMap::let_go);
    }
}

impl Platform for Vm {
    type Error = VmError;
    type Map = VmMap;
    type Program = VmProgram;
    type Link = VmLink;
    /// The name of a hook, which is whatever the embedder [fires](Vm::fire). Programs of another kind have other hooks, of whatever name.
    type Target<'t> = &'t str;
    type Ring = RingMemory;

    fn create_map(&self, map: &MapSpec<'_>) -> Result<VmMap, VmError> {
        self.create(map, None)
    }

    fn create_map_of_maps(&self, map: &MapSpec<'_>, inner: &MapDefinition) -> Result<VmMap, VmError> {
        self.create(map, Some(inner))
    }

    fn set_slot(
        &self,
        map: &VmMap,
        slot: u32,
        value: SlotValue<'_, VmMap, VmProgram>,
    ) -> Option<Result<(), VmError>> {
        let done = match value {
            SlotValue::Map(inner) => map.set_map(slot, inner),
            SlotValue::Program(program) => map.set_program(slot, program),
            _ => return None,
        };
        Some(done.map_err(|error| VmError::InvalidSlot { name: map.name().into(), slot, error }))
    }

    /// Programs and handles keep the map's memory; new programs cannot refer to it any more. A prog array lets go of its programs.
    fn destroy_map(&self, map: VmMap) {
        let removed = self.maps.lock().by_id.remove(&map.id());
        // Dropped here, outside the lock.
        drop(removed);
        map.let_go();
    }

    fn map_reference(&self, map: &VmMap) -> i32 {
        map.id().cast_signed()
    }

    fn load_program(&self, program: &ProgramSpec<'_>) -> Result<VmProgram, VmError> {
        let name = || Box::from(program.name);
        self.validations.fetch_add(1, Ordering::Relaxed);

        // Paid before anything is allocated, once the length is one a program can have.
        let instructions = program.instructions.len();
        if instructions > MAX_INSTRUCTIONS {
            let kind = ValidationErrorKind::TooLong { instructions };
            let error = ValidationError { instruction: MAX_INSTRUCTIONS, kind };
            return Err(VmError::InvalidProgram { name: name(), error });
        }
        let charge = self.account.open();
        let requested = VmProgram::bytes(instructions).saturating_add(program.name.len() as u64);
        charge.add(requested).ok_or_else(|| VmError::MemoryLimit {
            name: name(),
            requested,
            in_use: self.account.in_use(),
            limit: self.account.limit(),
        })?;

        let find = |reference: i32| {
            let id = u32::try_from(reference).ok()?;
            self.maps.lock().by_id.get(&id).cloned()
        };
        let rules = Rules { numbers: self.config.helpers, host: &*self.host };
        let mut validated = validate(program.instructions, rules, find)
            .map_err(|error| VmError::InvalidProgram { name: name(), error })?;
        fuse(&mut validated.ops);
        self.loaded.fetch_add(1, Ordering::Relaxed);
        Ok(VmProgram::new(Parts {
            name: name(),
            kind: program.kind,
            ops: validated.ops,
            maps: validated.maps,
            frames: validated.frames,
            reserves: validated.reserves,
            budget: self.config.instruction_budget,
            numbers: self.config.helpers,
            host: Arc::clone(&self.host),
            charge,
        }))
    }

    fn unload_program(&self, program: VmProgram) {
        drop(program);
    }

    fn attach(&self, program: &VmProgram, hook: &str) -> Result<VmLink, VmError> {
        Ok(self.hooks.attach(program, hook))
    }

    fn detach(&self, link: VmLink) {
        self.hooks.detach(&link);
    }

    /// While a consumer works on this memory, [`RingMap::drain`](crate::RingMap::drain) gives nothing.
    fn ring(&self, map: &VmMap) -> Result<RingMemory, VmError> {
        let lent = match (map.ring(), map.user_ring()) {
            (Some(ring), _) => ring.lend(map),
            (None, Some(ring)) => ring.lend(map),
            (None, None) => return Err(VmError::NotARing { name: map.name().into() }),
        };
        lent.ok_or_else(|| VmError::RingInUse { name: map.name().into() })
    }
}

/// Bytes that exist, or nearly, as the machine counts them.
pub(crate) fn saturate(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl fmt::Debug for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vm")
            .field("config", &self.config)
            .field("memory_in_use", &self.memory_in_use())
            .finish_non_exhaustive()
    }
}
