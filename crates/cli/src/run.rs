//! `ebpf-blocks run`: load an object on the embedded machine or the kernel, run its programs, print what comes out of its rings.

#[cfg(target_os = "linux")]
mod linux;
mod report;

use std::io;

use ebpf_loader::{Instruction, Loaded, Object, Program};
use ebpf_vm::{Vm, VmConfig, VmProgram};

use crate::args::{PlatformName, Run};
use crate::console::{Console, Status};
use crate::cost::ProgramCost;
use crate::source::{self, file_name};
use crate::{MAPS, PROGRAMS};

use report::{Report, Summary};

/// What to run, how often, on what machine.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "not an API: see the crate's documentation")]
pub struct Plan {
    /// If not empty: the programs to load, and no others.
    pub only: Vec<String>,
    /// Programs not to load, also if `only` names them.
    pub skip: Vec<String>,
    /// Runs of each program.
    pub repeat: u64,
    /// What runs them.
    pub platform: PlatformName,
    /// The embedded machine, if it is that.
    pub machine: VmConfig,
}

/// Runs the object that the command line names.
pub(crate) fn run(arguments: &Run, console: &mut Console<'_>) -> io::Result<Status> {
    let path = arguments.object.to_string_lossy();
    let data = match source::read(&arguments.object) {
        Ok(data) => data,
        Err(error) => {
            console.failure(&path, error)?;
            return Ok(Status::Failed);
        }
    };
    let plan = Plan {
        only: arguments.only.clone(),
        skip: arguments.skip.clone(),
        repeat: arguments.repeat,
        platform: arguments.platform,
        machine: VmConfig::default(),
    };
    run_object(&path, &file_name(&arguments.object), &data, &plan, console)
}

/// Loads the object in `data` and runs its programs as planned.
///
/// # Errors
/// What the console's sinks report. An object that cannot be loaded, or a program that faults, is not an error here but a
/// message and [`Status::Failed`].
pub fn run_object(
    path: &str,
    file_name: &str,
    data: &[u8],
    plan: &Plan,
    console: &mut Console<'_>,
) -> io::Result<Status> {
    let object = match Object::<'_, PROGRAMS, MAPS>::open_named(file_name, data) {
        Ok(object) => object,
        Err(error) => return failed(path, error, console),
    };
    if let Err(unknown) = choose(&object, plan) {
        console.failure(path, unknown)?;
        return Ok(Status::Usage);
    }
    match plan.platform {
        PlatformName::Vm => on_machine(path, &object, plan, console),
        #[cfg(target_os = "linux")]
        PlatformName::Linux => {
            linux::on_kernel(&linux::Source { path, file_name, data }, &object, plan, console)
        }
        #[cfg(not(target_os = "linux"))]
        PlatformName::Linux => {
            console.failure(
                path,
                "this system is not Linux: there is no kernel to run on; take `--platform vm`",
            )?;
            Ok(Status::Usage)
        }
    }
}

fn on_machine(
    path: &str,
    object: &Object<'_, PROGRAMS, MAPS>,
    plan: &Plan,
    console: &mut Console<'_>,
) -> io::Result<Status> {
    let mut scratch = match object.scratch_len() {
        Ok(len) => vec![Instruction::default(); len],
        Err(error) => return failed(path, error, console),
    };
    let machine = Vm::with_config(plan.machine);
    let mut loaded = object.on(&machine);
    if let Err(error) = loaded.load(&mut scratch) {
        return failed(path, error, console);
    }
    drop(scratch);
    let mut report = Report::new(path, console);
    let mut summary = Summary::default();
    let cost = ProgramCost::ask();
    for (program, handle) in loaded.programs() {
        // A program that cannot be linked is no reason to refuse the others; it costs what the file holds of it.
        let len = object.file().linked_len(program).unwrap_or_else(|_| program.len());
        match handle {
            Some(_) => summary.loaded(),
            None => summary.skipped(len, cost.of(program.name(), len)),
        }
        report.program(program, len, handle)?;
    }
    let status = run_programs(&loaded, plan.repeat, &mut report, &mut summary)?;
    report.summary(&summary)?;
    Ok(status)
}

type LoadedObject<'o, 'p, 'd> = Loaded<'o, 'p, 'd, Vm, PROGRAMS, MAPS>;

fn run_programs(
    loaded: &LoadedObject<'_, '_, '_>,
    repeat: u64,
    report: &mut Report<'_, '_>,
    summary: &mut Summary,
) -> io::Result<Status> {
    let mut status = Status::Done;
    let chosen = || loaded.programs().filter_map(|(program, handle)| Some((program, handle?)));
    let programs = u64::try_from(chosen().count()).unwrap_or(u64::MAX);
    report.progress().start(programs.saturating_mul(repeat));
    for (program, handle) in chosen() {
        status = status.max(run_program(program, handle, loaded, repeat, report, summary)?);
        report.settle()?;
    }
    report.progress().finish();
    for (_, handle) in loaded.maps() {
        if let Some(ring) = handle.ring() {
            summary.close(ring);
        }
    }
    Ok(status)
}

/// All runs of one program; after a fault there are no more, because the next would most likely end the same way.
fn run_program(
    program: &Program<'_>,
    handle: &VmProgram,
    loaded: &LoadedObject<'_, '_, '_>,
    repeat: u64,
    report: &mut Report<'_, '_>,
    summary: &mut Summary,
) -> io::Result<Status> {
    let mut instructions: u64 = 0;
    let mut returned = 0;
    for run in 1..=repeat {
        // What a program gets to see of the packet or event it is called for: nothing but zeroes.
        let mut context = [0; CONTEXT];
        let outcome = handle.run(&mut context);
        drain(loaded, report, summary)?;
        report.progress().advance(1);
        match outcome {
            Ok(outcome) => {
                instructions = instructions.saturating_add(outcome.instructions);
                returned = outcome.return_value;
            }
            Err(fault) => {
                report.fault(program.name(), run, Some(fault.instruction), &fault)?;
                report.progress().advance(repeat.saturating_sub(run));
                return Ok(Status::Failed);
            }
        }
    }
    report.result(program.name(), repeat, Some(instructions), returned)?;
    Ok(Status::Done)
}

/// Takes every record out of every ring.
fn drain(
    loaded: &LoadedObject<'_, '_, '_>,
    report: &mut Report<'_, '_>,
    summary: &mut Summary,
) -> io::Result<()> {
    for (map, handle) in loaded.maps() {
        let Some(ring) = handle.ring() else { continue };
        let mut written = Ok(());
        let drained = ring.drain(usize::MAX, |record| {
            if written.is_ok() {
                written = report.record(map.name(), record);
            }
        });
        written?;
        summary.drained(&drained);
    }
    report.settle()
}

/// Sets autoload as planned.
fn choose(object: &Object<'_, PROGRAMS, MAPS>, plan: &Plan) -> Result<(), String> {
    if !plan.only.is_empty() {
        for program in object.programs() {
            set_autoload(object, program.name(), false)?;
        }
    }
    for name in &plan.only {
        set_autoload(object, name, true)?;
    }
    for name in &plan.skip {
        set_autoload(object, name, false)?;
    }
    Ok(())
}

fn set_autoload(object: &Object<'_, PROGRAMS, MAPS>, name: &str, autoload: bool) -> Result<(), String> {
    object.set_autoload(name, autoload).map_err(|_| {
        let known: Vec<&str> = object.programs().map(Program::name).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        format!("no program is called `{name}`; the object's programs are: {known}")
    })
}

fn failed(path: &str, error: impl std::fmt::Display, console: &mut Console<'_>) -> io::Result<Status> {
    console.failure(path, error)?;
    Ok(Status::Failed)
}

/// As large as the largest context of the kernel that programs are given by value (`struct __sk_buff`, 192 bytes), rounded up.
const CONTEXT: usize = 256;
