//! Objects of any size, written byte by byte: many programs, each with a label, a relocation and a global
//! function's symbol.

/// Programs of the largest object.
pub(crate) const MOST_PROGRAMS: usize = 10_000;

/// In which order the programs' symbols come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As compilers write them: by section and offset.
    InOrder,
    /// Backwards, which no compiler does: the table has to be sorted.
    Backwards,
    /// Every section's first program, then every section's second, and so on: as if ten objects had been linked
    /// to one.
    Linked,
}

pub(crate) const SHAPES: [Shape; 3] = [Shape::InOrder, Shape::Backwards, Shape::Linked];

impl Shape {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InOrder => "in-order",
            Self::Backwards => "backwards",
            Self::Linked => "linked",
        }
    }

    /// An object with `programs` programs, ten to a section.
    pub(crate) fn build(self, programs: usize) -> Vec<u8> {
        let sections = programs.div_ceil(PER_SECTION);
        let mut strings = vec![0];
        let mut headers = vec![[0; 64]];
        let mut data = vec![0; 64];
        let symbol_table = sections as u32 * 2 + 1;
        for section in 0..sections {
            let count = PER_SECTION.min(programs - section * PER_SECTION);
            let name = string(&mut strings, &format!("kprobe/function_{section}"));
            let code = [LOAD, [0; 8], EXIT].as_flattened().repeat(count);
            headers.push(header(name, 1, 6, &mut data, &code, 0, 0, 0));
            let name = string(&mut strings, &format!(".relkprobe/function_{section}"));
            let relocations: Vec<u8> = (0..count)
                .flat_map(|index| {
                    let symbol = (programs + 1) as u64;
                    [(index * SIZE) as u64, symbol << 32 | 1].map(u64::to_le_bytes)
                })
                .flatten()
                .collect();
            let target = section as u32 * 2 + 1;
            headers.push(header(name, 9, 0, &mut data, &relocations, symbol_table, target, 16));
        }
        // A variable in .bss, after the symbol table and the strings.
        let bss = symbol_table + 2;
        let mut symbols = vec![[0; 24]];
        for index in 0..programs {
            let name = string(&mut strings, &format!("LBB{index}_2"));
            let place = index / PER_SECTION * 2 + 1;
            symbols.push(symbol(name, 0, place as u16, (index % PER_SECTION * SIZE) as u64, 0));
        }
        let name = string(&mut strings, "counter");
        symbols.push(symbol(name, 0x11, bss as u16, 0, 8));
        for index in 0..programs {
            let index = match self {
                Self::InOrder => index,
                Self::Backwards => programs - 1 - index,
                Self::Linked => {
                    let (round, section) = (index / sections, index % sections);
                    section * PER_SECTION + round
                }
            };
            let name = string(&mut strings, &format!("program_{index}"));
            let place = index / PER_SECTION * 2 + 1;
            symbols.push(symbol(name, 0x12, place as u16, (index % PER_SECTION * SIZE) as u64, SIZE as u64));
        }
        let name = string(&mut strings, ".symtab");
        let locals = (programs + 1) as u32;
        headers.push(header(name, 2, 0, &mut data, symbols.as_flattened(), symbol_table + 1, locals, 24));
        let name = string(&mut strings, ".strtab");
        let bss_name = string(&mut strings, ".bss");
        headers.push(header(name, 3, 0, &mut data, &strings, 0, 0, 0));
        headers.push(header(bss_name, 8, 3, &mut data, &[], 0, 0, 0));
        if let Some(bss) = headers.last_mut() {
            bss[32] = 8;
        }
        let start = data.len() as u64;
        data.extend(headers.as_flattened());
        data[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        data[16..20].copy_from_slice(&[1, 0, 247, 0]);
        data[20] = 1;
        data[40..48].copy_from_slice(&start.to_le_bytes());
        for (at, value) in [(52, 64), (58, 64), (60, headers.len()), (62, symbol_table as usize + 1)] {
            data[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
        }
        data
    }
}

const PER_SECTION: usize = 10;
/// Bytes of a program: a relocated load of an address, and the exit.
const SIZE: usize = 24;
const LOAD: [u8; 8] = [0x18, 1, 0, 0, 0, 0, 0, 0];
const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

/// Adds a string and gives where it stands.
fn string(strings: &mut Vec<u8>, text: &str) -> u32 {
    let at = strings.len() as u32;
    strings.extend(text.bytes().chain([0]));
    at
}

fn symbol(name: u32, info: u8, section: u16, value: u64, size: u64) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..4].copy_from_slice(&name.to_le_bytes());
    bytes[4] = info;
    bytes[6..8].copy_from_slice(&section.to_le_bytes());
    bytes[8..16].copy_from_slice(&value.to_le_bytes());
    bytes[16..].copy_from_slice(&size.to_le_bytes());
    bytes
}

/// Appends a section's bytes and gives its header.
#[expect(clippy::too_many_arguments, reason = "a header has that many fields")]
fn header(
    name: u32,
    kind: u32,
    flags: u64,
    data: &mut Vec<u8>,
    contents: &[u8],
    link: u32,
    info: u32,
    entry_size: u64,
) -> [u8; 64] {
    data.resize(data.len().next_multiple_of(8), 0);
    let mut bytes = [0; 64];
    bytes[..4].copy_from_slice(&name.to_le_bytes());
    bytes[4..8].copy_from_slice(&kind.to_le_bytes());
    bytes[8..16].copy_from_slice(&flags.to_le_bytes());
    bytes[24..32].copy_from_slice(&(data.len() as u64).to_le_bytes());
    bytes[32..40].copy_from_slice(&(contents.len() as u64).to_le_bytes());
    bytes[40..44].copy_from_slice(&link.to_le_bytes());
    bytes[44..48].copy_from_slice(&info.to_le_bytes());
    bytes[48..56].copy_from_slice(&8_u64.to_le_bytes());
    bytes[56..].copy_from_slice(&entry_size.to_le_bytes());
    data.extend(contents);
    bytes
}
