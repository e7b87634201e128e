//! The rows both sides are brought to, and the comparison.

use std::fmt::Write as _;

use ebpf_progtable::{Instruction, Map, ObjectFile, OpenError, Program};

/// Room for the largest object in the corpus.
pub type File<'data> = ObjectFile<'data, 512, 128>;

/// What an object holds, in the order of iteration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Table {
    /// Programs; subprograms are not among them.
    pub programs: Vec<ProgramRow>,
    /// Maps, those of data sections included.
    pub maps: Vec<MapRow>,
}

/// One program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgramRow {
    /// The function's name.
    pub name: String,
    /// The section's name without a leading `?`.
    pub section: String,
    /// `enum bpf_prog_type`.
    pub kind: u32,
    /// `enum bpf_attach_type`.
    pub expected_attach_type: u32,
    /// Whether it would be loaded.
    pub autoload: bool,
    /// Instructions in the file.
    pub instructions: usize,
}

/// One map.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapRow {
    /// The name it is created under.
    pub name: String,
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// Bytes.
    pub key_size: u32,
    /// Bytes.
    pub value_size: u32,
    /// Entries; bytes for rings.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// `map_extra`.
    pub extra: u64,
    /// Whether the object asks for it to be pinned by name.
    pub pinned: bool,
    /// Whether it stands for a data section.
    pub internal: bool,
    /// What its only value holds at first; `None` also for what is all zero.
    pub initial_value: Option<Vec<u8>>,
}

/// Opens an object the way libbpf on this machine would.
///
/// # Errors
///
/// As [`ObjectFile::open`].
pub fn open<'data>(file_name: &'data str, bytes: &'data [u8]) -> Result<File<'data>, OpenError> {
    File::open_named(file_name, bytes)
}

/// What we know of an object.
#[must_use]
pub fn table<const PROGRAMS: usize, const MAPS: usize>(file: &ObjectFile<'_, PROGRAMS, MAPS>) -> Table {
    Table {
        programs: file.programs().map(program_row).collect(),
        maps: file.maps().iter().map(map_row).collect(),
    }
}

/// Takes the flag `BPF_F_MMAPABLE` from the maps of data sections.
pub fn forget_mappable(table: &mut Table) {
    const BPF_F_MMAPABLE: u32 = 1 << 10;
    for map in table.maps.iter_mut().filter(|map| map.internal) {
        map.flags &= !BPF_F_MMAPABLE;
    }
}

/// Whether the tables hold the same maps and the same programs, but the programs in another order.
#[must_use]
pub fn reordered(ours: &Table, libbpf: &Table) -> bool {
    let sorted = |table: &Table| -> Table {
        let mut table = table.clone();
        table.programs.sort_by_key(|row| (row.name.clone(), row.section.clone(), row.instructions));
        table
    };
    !differences(ours, libbpf).is_empty() && differences(&sorted(ours), &sorted(libbpf)).is_empty()
}

/// Every difference, one line for each side; empty if there is none.
#[must_use]
pub fn differences(ours: &Table, libbpf: &Table) -> String {
    let mut text = String::new();
    lines(&mut text, "program", &ours.programs, &libbpf.programs, |row| format!("{row:?}"));
    // Zeroes are what a value holds that nobody initialised: whether they are spelt out is a matter of taste.
    let without_zeroes =
        |table: &Table| -> Vec<MapRow> { table.maps.iter().cloned().map(MapRow::normalised).collect() };
    lines(&mut text, "map", &without_zeroes(ours), &without_zeroes(libbpf), MapRow::describe);
    text
}

/// Links every program there is, whether it is to be loaded or not, looks at what maps hold from the start, and throws the result
/// away: what libbpf does when it opens an object, and we do when it is needed.
///
/// # Errors
///
/// The first program that cannot be linked, or the first initial value that is wrong.
pub fn link(file: &File<'_>) -> Result<(), String> {
    for program in file.programs() {
        let length = file.linked_len(program).map_err(|error| error.to_string())?;
        let mut buffer = vec![Instruction::default(); length];
        file.relocate(program, |_| 0, &mut buffer).map_err(|error| error.to_string())?;
    }
    let mut values = file.maps().iter().flat_map(|map| file.initial_values(map));
    values.try_for_each(|value| value.map(drop).map_err(|problem| problem.to_string()))
}

impl MapRow {
    fn normalised(mut self) -> Self {
        const STRUCT_OPS: u32 = 26;
        // libbpf keeps a copy of the kernel's structure there, with addresses of its own process in it.
        if self.kind == STRUCT_OPS {
            self.initial_value = None;
        }
        self.initial_value = self.initial_value.filter(|value| value.iter().any(|byte| *byte != 0));
        self
    }

    fn describe(&self) -> String {
        let value = match &self.initial_value {
            Some(value) => format!("{} bytes {}", value.len(), hex(value)),
            None => "none".to_owned(),
        };
        let mut row = self.clone();
        row.initial_value = None;
        format!("{row:?}, initial value {value}")
    }
}

fn lines<Row: PartialEq>(
    text: &mut String,
    what: &str,
    ours: &[Row],
    libbpf: &[Row],
    describe: impl Fn(&Row) -> String,
) {
    let rows = ours.len().max(libbpf.len());
    for index in 0..rows {
        let (our, their) = (ours.get(index), libbpf.get(index));
        if our == their {
            continue;
        }
        let side = |row: Option<&Row>| row.map_or_else(|| "—".to_owned(), &describe);
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "  {what} {index}\n    ours   {}\n    libbpf {}", side(our), side(their));
    }
}

fn program_row(program: &Program<'_>) -> ProgramRow {
    ProgramRow {
        name: program.name().to_owned(),
        section: program.section_name().to_owned(),
        kind: program.kind().0,
        expected_attach_type: program.expected_attach_type(),
        autoload: program.autoload(),
        instructions: program.len(),
    }
}

fn map_row(map: &Map<'_>) -> MapRow {
    MapRow {
        name: map.name().to_owned(),
        kind: map.kind().0,
        key_size: map.key_size(),
        value_size: map.value_size(),
        max_entries: map.max_entries(),
        flags: map.flags(),
        extra: map.extra(),
        pinned: map.is_pinned_by_name(),
        internal: map.is_internal(),
        initial_value: map.initial_value().map(<[u8]>::to_vec),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
