//! The same on the running kernel, and what not loading a program saves there.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use ebpf_linux::{Linux, LinuxProgram, RingMemory, TestRun, ids};
use ebpf_loader::{Instruction, LoadError, Loaded, MapKind, Object, Program, ProgramKind};
use ebpf_ringbuf::{Consumer, Stopped};
use serde::Serialize;

use super::report::{Report, counted};
use super::{Plan, choose, failed};
use crate::console::{ALARM, Console, FAINT, NAME, Status, one_line};
use crate::table::Table;
use crate::{MAPS, PROGRAMS};

/// Where an object came from: to measure, it is opened and loaded more than once.
pub(super) struct Source<'s> {
    pub(super) path: &'s str,
    pub(super) file_name: &'s str,
    pub(super) data: &'s [u8],
}

type OnKernel<'o, 'd> = Loaded<'o, 'static, 'd, Linux, PROGRAMS, MAPS>;

/// Loads the chosen programs of `object` into the kernel, runs each through `BPF_PROG_TEST_RUN`, reads every ring.
pub(super) fn on_kernel(
    source: &Source<'_>,
    object: &Object<'_, PROGRAMS, MAPS>,
    plan: &Plan,
    console: &mut Console<'_>,
) -> io::Result<Status> {
    let loaded = match load(object) {
        Ok(loaded) => loaded,
        Err(error) => return failed(source.path, error, console),
    };
    let mut report = Report::new(source.path, console);
    let mut summary = Summary::default();
    for (program, handle) in loaded.programs() {
        let len = object.file().linked_len(program).unwrap_or_else(|_| program.len());
        match handle {
            Some(_) => summary.loaded = summary.loaded.saturating_add(1),
            None => {
                summary.skipped = summary.skipped.saturating_add(1);
                summary.saved_instructions = summary.saved_instructions.saturating_add(len);
            }
        }
        if let Err(error) = show(&mut report, source.path, program, len, handle)? {
            return failed(source.path, error, console);
        }
    }
    let mut rings = match rings(&loaded) {
        Ok(rings) => rings,
        Err(error) => return failed(source.path, error, console),
    };
    let status = run_programs(&loaded, plan.repeat, &mut rings, &mut report, &mut summary)?;
    drop(rings);
    let held = Held::look(&loaded);
    drop(loaded);
    // Nothing is to be measured beside what was just loaded.
    let (chosen, all) = compare(source, plan);
    let (all, all_error) = match all {
        Ok(all) => (Some(all), None),
        Err(error) => (None, Some(error)),
    };
    let summary =
        Line::Summary { object: source.path, summary: &summary, held: &held, chosen, all, all_error };
    print_summary(report.console(), &summary)?;
    Ok(status)
}

fn load<'o, 'd>(object: &'o Object<'d, PROGRAMS, MAPS>) -> Result<OnKernel<'o, 'd>, String> {
    let length = object.scratch_len().map_err(|error| error.to_string())?;
    let mut scratch = vec![Instruction::default(); length];
    let mut loaded = object.on(&Linux);
    let outcome = loaded.load(&mut scratch).map_err(|error| {
        let why = error.to_string();
        // Without rights nothing else matters: say what would help.
        match &error {
            LoadError::CreateMap { source, .. } | LoadError::LoadProgram { source, .. }
                if source.is_permission() =>
            {
                format!("{why} (`ebpf-blocks doctor` says more)")
            }
            _ => why,
        }
    });
    outcome.map(|()| loaded)
}

/// A program of the table, with what the kernel says of it if it is loaded.
fn show(
    report: &mut Report<'_, '_>,
    object: &str,
    program: &Program<'_>,
    len: usize,
    handle: Option<&LinuxProgram>,
) -> io::Result<Result<(), String>> {
    let kernel = match handle.map(Kernel::ask).transpose() {
        Ok(kernel) => kernel,
        Err(error) => return Ok(Err(error)),
    };
    let console = report.console();
    if console.json() {
        console.line(&Line::Program {
            object,
            name: program.name(),
            loaded: handle.is_some(),
            section: program.section_name(),
            r#type: program.kind().0,
            type_name: program.kind().type_name(),
            insns: len,
            kernel,
        })?;
        return Ok(Ok(()));
    }
    let (name, kind) = (one_line(program.name()), program.kind());
    match kernel {
        Some(Kernel { id, descriptor, memory, verified, .. }) => console.text(format_args!(
            "loaded   {NAME}{name}{NAME:#} ({kind}, {len} instructions): id {id}, descriptor {descriptor}, {memory} bytes, {verified} instructions verified\n"
        ))?,
        None => console.text(format_args!(
            "{FAINT}skipped  {name} ({kind}, {len} instructions): no id, no descriptor, no memory{FAINT:#}\n"
        ))?,
    }
    Ok(Ok(()))
}

/// What the kernel holds of one program.
#[derive(Serialize)]
struct Kernel {
    id: u32,
    descriptor: i32,
    /// `memlock` of the descriptor's fdinfo, in bytes.
    memory: u64,
    /// Instructions that the verifier walked.
    verified: u32,
    /// Bytes of machine code.
    jited: u32,
}

impl Kernel {
    fn ask(program: &LinuxProgram) -> Result<Self, String> {
        let info = program.info().map_err(|error| error.to_string())?;
        let descriptor = program.as_fd().as_raw_fd();
        Ok(Self {
            id: info.id,
            descriptor,
            memory: memory_of(program),
            verified: info.verified_instructions,
            jited: info.jited_len,
        })
    }
}

fn rings<'o>(loaded: &OnKernel<'o, '_>) -> Result<Vec<(&'o str, Consumer<RingMemory>)>, String> {
    let rings = loaded.maps().map(|(map, _)| map).filter(|map| map.kind() == MapKind::RINGBUF);
    rings.map(|map| Ok((map.name(), loaded.ring(map.name()).map_err(|error| error.to_string())?))).collect()
}

fn run_programs(
    loaded: &OnKernel<'_, '_>,
    repeat: u64,
    rings: &mut [(&str, Consumer<RingMemory>)],
    report: &mut Report<'_, '_>,
    summary: &mut Summary,
) -> io::Result<Status> {
    let mut status = Status::Done;
    let chosen = || loaded.programs().filter_map(|(program, handle)| Some((program.name(), handle?)));
    report.progress().start(u64::try_from(chosen().count()).unwrap_or(u64::MAX).saturating_mul(repeat));
    for (name, program) in chosen() {
        let mut returned = 0;
        let mut refused = None;
        for run in 1..=repeat {
            let outcome = test_run(program);
            drain(rings, report, summary)?;
            report.progress().advance(1);
            match outcome {
                Ok(outcome) => returned = outcome,
                Err(error) => {
                    report.fault(name, run, None, &error)?;
                    report.progress().advance(repeat.saturating_sub(run));
                    refused = Some(error);
                    break;
                }
            }
        }
        match refused {
            Some(_) => status = Status::Failed,
            None => report.result(name, repeat, None, u64::from(returned))?,
        }
        report.settle()?;
    }
    report.progress().finish();
    Ok(status)
}

/// One run with zeroes for whatever a program of that kind is called for.
fn test_run(program: &LinuxProgram) -> Result<u32, ebpf_linux::Error> {
    let zeroes = [0; PACKET];
    let mut context = [0; 64];
    let run = match program.kind() {
        ProgramKind::SYSCALL | ProgramKind::RAW_TRACEPOINT => {
            TestRun { context: &mut context, ..Default::default() }
        }
        _ => TestRun { data: &zeroes, ..Default::default() },
    };
    program.test_run(run).map(|outcome| outcome.returned)
}

/// The shortest packet that every kind takes, and some more.
const PACKET: usize = 64;

fn drain(
    rings: &mut [(&str, Consumer<RingMemory>)],
    report: &mut Report<'_, '_>,
    summary: &mut Summary,
) -> io::Result<()> {
    for (name, ring) in rings {
        let mut written = Ok(());
        let drained = ring.drain(usize::MAX, |record| {
            written = report.record(name, &record);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        written?;
        summary.records = summary.records.saturating_add(drained.records);
        summary.bytes = summary.bytes.saturating_add(drained.bytes);
        summary.discarded = summary.discarded.saturating_add(drained.discarded);
        if let Stopped::Corrupt(corrupt) = drained.stopped {
            return Err(io::Error::other(format!("ring `{name}`: {corrupt}")));
        }
    }
    report.settle()
}

#[derive(Default, Serialize)]
struct Summary {
    loaded: u64,
    skipped: u64,
    /// Instructions of skipped programs, which were neither linked nor verified.
    saved_instructions: usize,
    records: usize,
    /// Of payload.
    bytes: usize,
    discarded: usize,
}

/// What is there, by the kernel's own account and not by ours.
#[derive(Serialize)]
struct Held {
    /// Numbers of the programs that this process has descriptors of, from `/proc/self/fdinfo`.
    program_descriptors: Vec<u32>,
    /// The same for maps.
    map_descriptors: Vec<u32>,
    /// Numbers of all programs in the system that use one of these maps; `None` if the kernel does not let us ask.
    programs_in_kernel: Option<Vec<u32>>,
}

impl Held {
    fn look(loaded: &OnKernel<'_, '_>) -> Self {
        let maps: BTreeSet<u32> =
            loaded.maps().filter_map(|(_, map)| map.info().ok()).map(|info| info.id).collect();
        let uses = |id: &u32| {
            let info = LinuxProgram::open_id(*id).and_then(|program| program.info());
            info.is_ok_and(|info| info.maps.iter().any(|map| maps.contains(map)))
        };
        let programs_in_kernel = ids::programs().ok().map(|ids| ids.into_iter().filter(uses).collect());
        Self { program_descriptors: fdinfo("prog_id"), map_descriptors: fdinfo("map_id"), programs_in_kernel }
    }
}

/// The numbers that stand behind `key` in the fdinfo of this process's descriptors, sorted.
fn fdinfo(key: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc/self/fdinfo") else { return Vec::new() };
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    let mut numbers: Vec<u32> = texts.filter_map(|text| field(&text, key)?.try_into().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// `memlock` of a descriptor: the bytes that the kernel charges for what is behind it.
fn memory_of(object: &impl AsFd) -> u64 {
    let path = format!("/proc/self/fdinfo/{}", object.as_fd().as_raw_fd());
    fs::read_to_string(path).ok().and_then(|text| field(&text, "memlock")).unwrap_or(0)
}

fn field(text: &str, key: &str) -> Option<u64> {
    let value = |line: &str| {
        line.split_once(':').filter(|(name, _)| *name == key).map(|(_, value)| value.trim().to_owned())
    };
    text.lines().find_map(value)?.parse().ok()
}

/// What loading took.
#[derive(Clone, Copy, Serialize)]
struct Cost {
    programs: usize,
    /// The median of several loads, from before the first map is created.
    load_microseconds: u64,
    /// `memlock` of all maps and programs together, in bytes.
    locked_bytes: u64,
}

/// Loads the chosen programs and all of them in turn, several times each: what else this machine does is shared fairly. The second is the reason if
/// all of them cannot be loaded.
fn compare(source: &Source<'_>, plan: &Plan) -> (Option<Cost>, Result<Cost, String>) {
    const TURNS: usize = 7;
    let (mut chosen, mut all) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        chosen.extend(cost(source, Some(plan)).ok());
        match cost(source, None) {
            Ok(cost) => all.push(cost),
            Err(error) => return (median(chosen), Err(error)),
        }
    }
    (median(chosen), median(all).ok_or_else(|| "nothing was measured".to_owned()))
}

fn median(mut costs: Vec<Cost>) -> Option<Cost> {
    costs.sort_by_key(|cost| cost.load_microseconds);
    costs.get(costs.len() / 2).copied()
}

/// Of the programs of a plan, or of all, those with `?` in their section included.
fn cost(source: &Source<'_>, plan: Option<&Plan>) -> Result<Cost, String> {
    let object = Object::<'_, PROGRAMS, MAPS>::open_named(source.file_name, source.data)
        .map_err(|error| error.to_string())?;
    match plan {
        Some(plan) => choose(&object, plan)?,
        None => {
            for program in object.programs() {
                object.set_autoload(program.name(), true).map_err(|error| error.to_string())?;
            }
        }
    }
    let start = Instant::now();
    let loaded = load(&object)?;
    let time = start.elapsed();
    let programs: Vec<&LinuxProgram> = loaded.programs().filter_map(|(_, handle)| handle).collect();
    let maps: u64 = loaded.maps().map(|(_, map)| memory_of(map)).sum();
    let locked_bytes = programs.iter().map(|program| memory_of(*program)).fold(maps, u64::saturating_add);
    Ok(Cost { programs: programs.len(), load_microseconds: microseconds(time), locked_bytes })
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn print_summary(console: &mut Console<'_>, line: &Line<'_>) -> io::Result<()> {
    if console.json() {
        return console.line(line);
    }
    let Line::Summary { summary, held, chosen, all, all_error, .. } = line else { return Ok(()) };
    let Summary { loaded, skipped, records, bytes, discarded, .. } = **summary;
    let numbers = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    console.text(format_args!("\n{} loaded, {skipped} skipped\n", counted(loaded, "program")))?;
    console.text(format_args!(
        "/proc/self/fdinfo: descriptors of programs {{{}}} and of {}\n",
        numbers(&held.program_descriptors),
        counted(u64::try_from(held.map_descriptors.len()).unwrap_or(u64::MAX), "map"),
    ))?;
    if let Some(programs) = &held.programs_in_kernel {
        console.text(format_args!("kernel: programs that use these maps {{{}}}\n", numbers(programs)))?;
    }
    let mut table = Table::new(&["LOADED", ">PROGRAMS", ">LOAD TIME", ">LOCKED MEMORY"]);
    let mut row = |name: &str, cost: &Cost| {
        let (time, bytes) =
            (format!("{} us", cost.load_microseconds), format!("{} bytes", cost.locked_bytes));
        table.row([name.to_owned(), cost.programs.to_string(), time, bytes]);
    };
    if let Some(chosen) = chosen {
        row("chosen", chosen);
    }
    if let Some(all) = all {
        row("all", all);
    }
    console.text(format_args!("\n{table}"))?;
    if let Some(why) = all_error {
        let why = one_line(why);
        console.text(format_args!("  {ALARM}all{ALARM:#} cannot be loaded: {why}\n"))?;
    }
    let records = counted(u64::try_from(records).unwrap_or(u64::MAX), "record");
    console.text(format_args!("\n{records}, {bytes} bytes; {discarded} discarded\n"))
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line<'a> {
    Program {
        object: &'a str,
        name: &'a str,
        loaded: bool,
        section: &'a str,
        r#type: u32,
        type_name: &'static str,
        insns: usize,
        /// `null` for a program that was skipped.
        kernel: Option<Kernel>,
    },
    Summary {
        object: &'a str,
        #[serde(flatten)]
        summary: &'a Summary,
        held: &'a Held,
        chosen: Option<Cost>,
        /// `null` if all of them cannot be loaded.
        all: Option<Cost>,
        /// Why not.
        all_error: Option<String>,
    },
}
