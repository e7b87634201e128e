//! Linking: our instructions are libbpf's, one by one, with the subprograms appended in the same order.
//!
//! Twice, because libbpf has two ways of linking: for the running kernel (maps exist, CO-RE records are resolved; needs the
//! right to call bpf(2)) and for its generated loader (nothing is asked of the kernel, so this runs for everybody).
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::indexing_slicing,
    reason = "a test: what goes wrong here is to stop it"
)]

use std::collections::BTreeMap;

use ebpf_conformance::corpus::{self, Package, Sample};
use ebpf_conformance::kernel::Kernel;
use ebpf_conformance::libbpf::{self, Target};
use ebpf_conformance::rows;
use ebpf_progtable::{InfoKind, Instruction, MapKind, Program, RelocateError, RelocateErrorKind};

#[derive(Debug, Default)]
struct Count {
    objects: usize,
    programs: usize,
    instructions: usize,
    /// Instructions that libbpf adapted to this kernel (CO-RE), all of which have a record that says so.
    adapted: usize,
    /// Programs we say need something we do not do here, by what it is.
    declined: BTreeMap<&'static str, usize>,
    /// Objects libbpf or the kernel would not prepare, by error.
    skipped: BTreeMap<String, Vec<String>>,
}

#[test]
fn for_the_kernel() -> Result<(), String> {
    everything(Target::Kernel)
}

#[test]
fn for_the_generated_loader() -> Result<(), String> {
    everything(Target::Generator)
}

fn everything(target: Target) -> Result<(), String> {
    let tool = compare("the tool's", &corpus::tool_programs(), target);
    assert!(tool.declined.is_empty(), "they need nothing that linking does not give: {tool:?}");
    if target == Target::Generator {
        assert!(tool.programs > 0 && tool.skipped.is_empty(), "libbpf links every one of them: {tool:?}");
    }
    compare("our own", &corpus::own(), target);
    let samples = corpus::compiled()?;
    if samples.is_empty() {
        corpus::missing(Package::Clang)?;
    } else {
        let count = compare("compiled here", &samples, target);
        assert!(
            target == Target::Kernel || !count.declined.is_empty(),
            "some of them need a kernel: {count:?}"
        );
    }
    let samples = corpus::xdp_tools();
    if samples.is_empty() {
        corpus::missing(Package::XdpTools)?;
    } else {
        let count = compare("xdp-tools", &samples, target);
        assert!(target == Target::Kernel || count.programs > 0, "{count:?}");
    }
    for package in [Package::XdpTools, Package::LibbpfTools] {
        let samples = corpus::embedded(package);
        if samples.is_empty() {
            corpus::missing(package)?;
            continue;
        }
        compare(&format!("embedded in {}", package.name()), &samples, target);
    }
    Ok(())
}

fn compare(what: &str, samples: &[Sample], target: Target) -> Count {
    let mut count = Count::default();
    let mut report = String::new();
    // Where configuration values stand does not depend on what they are: `tests/needs.rs` compares those.
    let mut kernel = Kernel::running().with_kconfig(Vec::new());
    for sample in samples {
        if let Err(difference) = compare_one(sample, target, &mut kernel, &mut count) {
            report.push_str(&format!("{}\n{difference}", sample.origin));
        }
    }
    println!(
        "{what}, {target:?}: {} objects, {} programs, {} instructions compared; {} adapted to this kernel",
        count.objects, count.programs, count.instructions, count.adapted
    );
    for (need, programs) in &count.declined {
        println!("  {programs} programs {need}");
    }
    for (error, objects) in &count.skipped {
        println!(
            "  skipped: {} objects that libbpf does not prepare here ({}): {error}",
            objects.len(),
            objects.join(", ")
        );
    }
    assert!(report.is_empty(), "differences from libbpf:\n{report}");
    let foreign = count.declined.keys().all(|need| *need == OTHER_ORDER);
    assert!(target == Target::Generator || foreign, "whoever asks a kernel can link the rest: {count:?}");
    count
}

fn compare_one(
    sample: &Sample,
    target: Target,
    kernel: &mut Kernel,
    count: &mut Count,
) -> Result<(), String> {
    let Ok(mut object) = libbpf::Object::open(&sample.name, &sample.bytes) else { return Ok(()) };
    let file =
        rows::open(&sample.name, &sample.bytes).map_err(|error| format!("  we refuse it: {error}\n"))?;
    if target == Target::Generator && object.table().maps.iter().any(|map| map.kind == MapKind::STRUCT_OPS.0)
    {
        // Without the kernel's types it does not know the structure's layout, and follows a null pointer.
        count
            .skipped
            .entry("its generator crashes on struct_ops".to_owned())
            .or_default()
            .push(sample.name.clone());
        return Ok(());
    }
    object.settle().map_err(|error| format!("  libbpf's settings: {error}\n"))?;
    if let Err(error) = object.relocate(target) {
        count.skipped.entry(error.to_string()).or_default().push(sample.name.clone());
        return Ok(());
    }
    let descriptors = object.map_descriptors();
    let reference = |index: usize| match target {
        Target::Generator => index as i32,
        _ => descriptors[index],
    };
    count.objects += 1;
    let mut report = String::new();
    for (program, (name, libbpf)) in file.programs().zip(object.instructions()) {
        assert_eq!(program.name(), name);
        let linked = match target {
            Target::Generator => file.linked_len(program).and_then(|length| {
                let mut buffer = vec![Instruction::default(); length];
                file.relocate(program, reference, &mut buffer).map(by_index)
            }),
            _ => for_this_kernel(&file, program, reference, &libbpf, kernel, count),
        };
        match linked {
            Ok(ours) => {
                count.programs += 1;
                count.instructions += ours.len();
                report.push_str(&first_difference(&name, &ours, &libbpf));
            }
            Err(error) => match need(&error) {
                Some(need) => *count.declined.entry(need).or_default() += 1,
                None => report.push_str(&format!("  {name}: we cannot link it: {error}\n")),
            },
        }
    }
    if report.is_empty() { Ok(()) } else { Err(report) }
}

/// The program linked for the running kernel. Instructions that CO-RE records name are taken from libbpf, which adapted them; the
/// others are to be the same.
fn for_this_kernel<'data>(
    file: &rows::File<'data>,
    program: &Program<'data>,
    reference: impl Fn(usize) -> i32,
    libbpf: &[Instruction],
    kernel: &mut Kernel,
    count: &mut Count,
) -> Result<Vec<Instruction>, RelocateError> {
    const LOAD_64: u8 = 0x18;
    let layout = file.layout(program)?;
    let mut ours = vec![Instruction::default(); layout.len()];
    file.relocate_with(program, reference, kernel, &mut ours)?;
    for record in layout.records(InfoKind::CoRe) {
        let first = record?.instruction();
        let wide = ours[first].opcode() == LOAD_64;
        for (our, adapted) in ours.iter_mut().zip(libbpf).skip(first).take(1 + usize::from(wide)) {
            count.adapted += usize::from(our != adapted);
            *our = *adapted;
        }
    }
    Ok(ours)
}

/// What a program needs that linking alone cannot give, or nothing if the error is another one.
fn need(error: &RelocateError) -> Option<&'static str> {
    match error.kind() {
        RelocateErrorKind::ByteOrder => Some(OTHER_ORDER),
        RelocateErrorKind::NeedsCoRe => Some("need CO-RE"),
        RelocateErrorKind::Extern { .. } => Some("need a kernel's symbols, functions or configuration"),
        _ => None,
    }
}

const OTHER_ORDER: &str = "are of the other byte order";

/// The same instructions with map descriptors spelt as indices, which is how the generated loader wants them.
fn by_index(instructions: &[Instruction]) -> Vec<Instruction> {
    const LOAD_64: u8 = 0x18;
    let mut second_half = false;
    let convert = |instruction: &Instruction| {
        let wide = instruction.opcode() == LOAD_64 && !second_half;
        second_half = wide;
        match instruction.src() {
            1 if wide => instruction.with_src(5),
            2 if wide => instruction.with_src(6),
            _ => *instruction,
        }
    };
    instructions.iter().map(convert).collect()
}

fn first_difference(name: &str, ours: &[Instruction], libbpf: &[Instruction]) -> String {
    let length = ours.len().max(libbpf.len());
    let Some(at) = (0..length).find(|index| ours.get(*index) != libbpf.get(*index)) else {
        return String::new();
    };
    let side = |instructions: &[Instruction]| match instructions.get(at) {
        Some(instruction) => format!("{instruction:?}"),
        None => "—".to_owned(),
    };
    let lengths = format!("{} and {} instructions", ours.len(), libbpf.len());
    format!(
        "  {name} ({lengths}), instruction {at}\n    ours   {}\n    libbpf {}\n",
        side(ours),
        side(libbpf)
    )
}
