//! What loading an object takes: `inspect --cost`.

use std::fmt;

use ebpf_loader::{MapSpec, Platform};
use ebpf_vm::{Vm, VmConfig};
use serde::Serialize;

use super::File;
use super::survey::Survey;
use crate::cost::ProgramCost;
use crate::table::Table;

/// The figures of an object.
#[derive(Serialize)]
pub(super) struct Costs {
    #[serde(skip)]
    pub(super) programs: Vec<(String, bool, Option<Cost>)>,
    /// Of the programs that are to be loaded.
    load: Sum,
    /// Of those that are off: what loading them too would take.
    saved: Sum,
    /// Maps that are created, whatever programs are loaded.
    maps: usize,
    /// Bytes they take on the embedded machine; maps that it does not have are left out.
    map_memory_bytes: usize,
    /// Maps that the embedded machine does not have.
    maps_unsupported: usize,
}

/// What loading one program takes.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Cost {
    /// Instructions with the subprograms: what is copied, and what a verifier has to look at.
    insns: usize,
    /// References that linking puts in.
    relocations: usize,
    /// Maps that it refers to.
    maps: usize,
    /// Bytes of the linked program.
    image_bytes: usize,
    /// Bytes on the embedded machine.
    memory_bytes: usize,
}

#[derive(Default, Serialize)]
struct Sum {
    programs: usize,
    insns: usize,
    relocations: usize,
    image_bytes: usize,
    memory_bytes: usize,
    /// Runs of a verifier, and descriptors held afterwards: one each for every program.
    verifications: usize,
}

impl Costs {
    pub(super) fn of(object: &File<'_>, survey: &Survey<'_, '_>, machine: VmConfig) -> Self {
        let charge = ProgramCost::ask();
        let mut costs = Self {
            programs: Vec::new(),
            load: Sum::default(),
            saved: Sum::default(),
            maps: 0,
            map_memory_bytes: 0,
            maps_unsupported: 0,
        };
        for row in &survey.programs {
            let cost = row.needs.map(|needs| Cost {
                insns: needs.instructions,
                relocations: needs.relocations(),
                maps: needs.maps().count(),
                image_bytes: needs.instructions.saturating_mul(8),
                memory_bytes: charge.of(row.program.name(), needs.instructions),
            });
            let autoload = row.program.autoload();
            let sum = if autoload { &mut costs.load } else { &mut costs.saved };
            if let Some(cost) = cost {
                sum.add(cost);
            }
            costs.programs.push((row.program.name().to_owned(), autoload, cost));
        }
        for map in object.maps().iter().filter(|map| map.autocreate()) {
            costs.maps = costs.maps.saturating_add(1);
            let machine = Vm::with_config(machine);
            match machine.create_map(&MapSpec::from_map(map)) {
                Ok(created) => {
                    let memory = machine.memory_in_use();
                    costs.map_memory_bytes = costs.map_memory_bytes.saturating_add(memory);
                    machine.destroy_map(created);
                }
                Err(_) => costs.maps_unsupported = costs.maps_unsupported.saturating_add(1),
            }
        }
        costs
    }

    pub(super) fn table(&self) -> Table {
        let titles = ["COST OF", "LOADED", ">INSNS", ">RELOCATIONS", ">MAPS", ">IMAGE", ">MEMORY"];
        let mut table = Table::new(&titles);
        for (name, autoload, cost) in &self.programs {
            let cell = |figure: fn(&Cost) -> usize| {
                cost.as_ref().map_or_else(|| "-".to_owned(), |cost| figure(cost).to_string())
            };
            table.row([
                name.clone(),
                if *autoload { "yes" } else { "no: saved" }.to_owned(),
                cell(|cost| cost.insns),
                cell(|cost| cost.relocations),
                cell(|cost| cost.maps),
                cell(|cost| cost.image_bytes),
                cell(|cost| cost.memory_bytes),
            ]);
        }
        table
    }
}

impl Sum {
    fn add(&mut self, cost: Cost) {
        let terms = [
            (&mut self.programs, 1),
            (&mut self.insns, cost.insns),
            (&mut self.relocations, cost.relocations),
            (&mut self.image_bytes, cost.image_bytes),
            (&mut self.memory_bytes, cost.memory_bytes),
            (&mut self.verifications, 1),
        ];
        for (sum, term) in terms {
            *sum = sum.saturating_add(term);
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { programs, insns, relocations, image_bytes, memory_bytes, verifications } = self;
        write!(
            f,
            "{programs} programs, {insns} instructions, {relocations} relocations, image {image_bytes} bytes, \
             memory {memory_bytes} bytes, {verifications} verifications and descriptors"
        )
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  to load  {}", self.load)?;
        write!(f, "           {} maps, memory {} bytes", self.maps, self.map_memory_bytes)?;
        if self.maps_unsupported > 0 {
            write!(f, " ({} of them are of sorts that the embedded machine lacks)", self.maps_unsupported)?;
        }
        writeln!(f, "\n  saved    {}", self.saved)
    }
}
