//! The kernel as a platform of the loader.

use std::os::fd::{AsFd, AsRawFd};

use ebpf_loader::{MapDefinition, MapKind, MapSpec, Platform, ProgramSpec, SlotValue};

use crate::error::Error;
use crate::link::{LinuxLink, Target};
use crate::map::LinuxMap;
use crate::program::LinuxProgram;
use crate::ring::RingMemory;

/// The running kernel. It holds nothing: what it makes are descriptors, each of which closes itself.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "there is one kernel")]
pub struct Linux;

impl Platform for Linux {
    type Error = Error;
    type Map = LinuxMap;
    type Program = LinuxProgram;
    type Link = LinuxLink;
    type Target<'t> = Target<'t>;
    type Ring = RingMemory;

    fn create_map(&self, map: &MapSpec<'_>) -> Result<LinuxMap, Error> {
        LinuxMap::create(map)
    }

    fn create_map_of_maps(&self, map: &MapSpec<'_>, inner: &MapDefinition) -> Result<LinuxMap, Error> {
        // Programs and their like have a prototype where these have a map.
        if !matches!(map.kind, MapKind::ARRAY_OF_MAPS | MapKind::HASH_OF_MAPS) {
            return LinuxMap::create(map);
        }
        let name = format!("{}.inner", map.name);
        let inner = MapSpec {
            flags: inner.flags,
            ..MapSpec::new(&name, inner.kind, inner.key_size, inner.value_size, inner.max_entries)
        };
        LinuxMap::create_of_maps(map, &LinuxMap::create(&inner)?)
    }

    fn set_slot(
        &self,
        map: &LinuxMap,
        slot: u32,
        value: SlotValue<'_, LinuxMap, LinuxProgram>,
    ) -> Option<Result<(), Error>> {
        let descriptor = match value {
            SlotValue::Map(inner) => inner.as_fd(),
            SlotValue::Program(program) => program.as_fd(),
            _ => return None,
        };
        Some(map.set_descriptor(slot, descriptor))
    }

    fn destroy_map(&self, map: LinuxMap) {
        drop(map);
    }

    /// The descriptor's number.
    fn map_reference(&self, map: &LinuxMap) -> i32 {
        map.as_fd().as_raw_fd()
    }

    fn load_program(&self, program: &ProgramSpec<'_>) -> Result<LinuxProgram, Error> {
        LinuxProgram::load(program)
    }

    fn unload_program(&self, program: LinuxProgram) {
        drop(program);
    }

    fn attach(&self, program: &LinuxProgram, target: Target<'_>) -> Result<LinuxLink, Error> {
        LinuxLink::attach(program, target)
    }

    fn detach(&self, link: LinuxLink) {
        drop(link);
    }

    fn ring(&self, map: &LinuxMap) -> Result<RingMemory, Error> {
        RingMemory::map(map)
    }
}
