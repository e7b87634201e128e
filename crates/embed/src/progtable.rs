//! `ebpf-progtable`.

use core::hint::black_box;

use ebpf_progtable::*;

use crate::laws;

laws! {
    "progtable":
    InfoRecord::instruction,
    InfoRecord::bytes,
    InfoRecord::word,
    InfoRecord::write,
    InfoRecord::line_and_column,
    Label::new,
    Label::as_str,
    Extern::name,
    Extern::is_weak,
    Extern::kind,
    Extern::type_id,
    Extern::kconfig,
    ObjectFile::<64, 64>::empty,
    ObjectFile::<64, 64>::open,
    ObjectFile::<64, 64>::open_named,
    ObjectFile::<64, 64>::open_with,
    ObjectFile::<64, 64>::open_into,
    ObjectFile::<64, 64>::programs,
    ObjectFile::<64, 64>::subprograms,
    ObjectFile::<64, 64>::program,
    ObjectFile::<64, 64>::maps,
    ObjectFile::<64, 64>::map,
    ObjectFile::<64, 64>::inner_map,
    ObjectFile::<64, 64>::license,
    ObjectFile::<64, 64>::is_native,
    ObjectFile::<64, 64>::set_autoload,
    ObjectFile::<64, 64>::set_autocreate,
    ObjectFile::<64, 64>::freeze,
    ObjectFile::<64, 64>::linked_len,
    ObjectFile::<64, 64>::layout,
    ObjectFile::<64, 64>::needs,
    Layout::<64, 64>::len,
    Layout::<64, 64>::function_of,
    Instruction::new,
    Instruction::from_bytes,
    Instruction::to_bytes,
    Instruction::opcode,
    Instruction::dst,
    Instruction::src,
    Instruction::offset,
    Instruction::imm,
    Instruction::with_src,
    Instruction::with_imm,
    Instruction::with_offset,
    KconfigValue::parse,
    KconfigVariable::write,
    ProgramKind::windows,
    ProgramKind::windows_number,
    Map::name,
    Map::definition,
    Map::kind,
    Map::key_size,
    Map::value_size,
    Map::max_entries,
    Map::flags,
    Map::extra,
    Map::numa_node,
    Map::is_pinned_by_name,
    Map::initial_value,
    Map::is_internal,
    Map::is_read_only,
    Map::autocreate,
    Map::set_autocreate,
    Map::is_kconfig,
    Map::section_index,
    Program::name,
    Program::section_name,
    Program::section_index,
    Program::section_offset,
    Program::section_kind,
    Program::windows_section,
    Program::kind,
    Program::expected_attach_type,
    Program::instructions,
    Program::instruction_bytes,
    Program::len,
    Program::is_subprogram,
    Program::autoload,
    Program::set_autoload,
    Needs::<64>::maps,
    Needs::<64>::externs,
    Needs::<64>::relocations,
    Needs::<64>::is_self_contained,
    RelocateError::program,
    RelocateError::section,
    RelocateError::instruction,
    RelocateError::kind,
    SectionKind::find,
    SectionKind::all,
    SectionKind::name,
    SectionKind::takes_target,
    SectionKind::kind,
    SectionKind::expected_attach_type,
    SectionKind::attach_type_is_optional,
    SectionKind::is_attachable,
    SectionKind::attaches_by_btf,
    SectionKind::is_sleepable,
    SectionKind::has_xdp_frags,
    WindowsSection::find,
    WindowsSection::all,
    WindowsSection::prefix,
    WindowsSection::kind,
    WindowsSection::program_guid,
    WindowsSection::attach_type,
    WindowsSection::attach_guid,
}

laws! {
    "progtable":
    "ObjectFile::fill_kconfig" => fill_kconfig,
    "ObjectFile::relocate" => relocate,
    "ObjectFile::relocate_with" => relocate_with,
    "ObjectFile::references" => references,
    "ObjectFile::externs" => externs,
    "ObjectFile::initial_values" => initial_values,
    "Layout::functions" => functions,
    "Layout::records" => records,
}

type File = ObjectFile<'static, 64, 64>;

fn fill_kconfig(file: &File, value: &mut [u8]) -> Result<(), KconfigError> {
    file.fill_kconfig(value, |symbol| KconfigValue::parse(black_box(symbol.name())))
}

fn relocate<'b>(
    file: &File,
    program: &Program<'static>,
    buffer: &'b mut [Instruction],
) -> Result<&'b [Instruction], RelocateError> {
    file.relocate(program, |map| black_box(i32::from(map == 0)), buffer)
}

fn relocate_with<'b>(
    file: &File,
    program: &Program<'static>,
    buffer: &'b mut [Instruction],
) -> Result<&'b [Instruction], RelocateError> {
    file.relocate_with(program, |map| black_box(i32::from(map == 0)), &mut Kernel, buffer)
}

/// A kernel that may have anything.
struct Kernel;

impl Resolver for Kernel {
    fn address(&mut self, symbol: &Extern<'_>) -> Option<u64> {
        black_box(symbol.name());
        black_box(None)
    }

    fn variable(&mut self, _: &Extern<'_>) -> Option<KernelObject> {
        black_box(None)
    }

    fn function(&mut self, _: &Extern<'_>) -> Option<KernelObject> {
        black_box(None)
    }

    fn handles_core(&self) -> bool {
        black_box(true)
    }
}

fn references(file: &File, program: &Program<'static>) -> usize {
    // An adaptor would move the iterator.
    let mut references = file.references(program);
    let mut count = 0_usize;
    loop {
        match &references.next() {
            Some(found) => count = count.saturating_add(usize::from(black_box(found).is_ok())),
            None => return count,
        }
    }
}

fn externs(file: &File) -> usize {
    file.externs().take_while(|found| black_box(found).is_ok()).count()
}

fn initial_values(file: &File, map: &Map<'static>) -> usize {
    file.initial_values(map).take_while(|found| black_box(found).is_ok()).count()
}

fn functions(layout: &Layout<'_, 'static, 64, 64>) -> usize {
    layout.functions().take_while(|found| black_box(found).0 != 0).count()
}

fn records(layout: &Layout<'_, 'static, 64, 64>, kind: InfoKind) -> usize {
    layout.records(kind).take_while(|found| black_box(found).is_ok()).count()
}
