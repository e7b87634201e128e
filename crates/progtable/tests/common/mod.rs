//! A small writer of object files, so that each test says only what is special about its object.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]
#![allow(dead_code, unreachable_pub, reason = "each test binary includes this and uses a part of it")]

use ebpf_progtable::Instruction;

pub const PROGBITS: u32 = 1;
pub const NOBITS: u32 = 8;
pub const REL: u32 = 9;
pub const EXEC: u64 = 6;
pub const DATA: u64 = 3;

pub const LOCAL: u8 = 0;
pub const GLOBAL: u8 = 1;
pub const NOTYPE: u8 = 0;
pub const OBJECT: u8 = 1;
pub const FUNC: u8 = 2;
pub const SECTION: u8 = 3;

#[derive(Clone)]
pub struct Section {
    pub name: &'static str,
    pub kind: u32,
    pub flags: u64,
    pub data: Vec<u8>,
    pub info: u32,
    pub entry_size: u64,
}

#[derive(Clone)]
pub struct Symbol {
    pub name: &'static str,
    pub kind: u8,
    pub binding: u8,
    pub section: u16,
    pub value: u64,
    pub size: u64,
}

/// An object under construction. Its first section has index 1, its first symbol index 1.
#[derive(Clone, Default)]
pub struct Elf {
    pub big_endian: bool,
    pub sections: Vec<Section>,
    pub symbols: Vec<Symbol>,
    pub without_symbols: bool,
}

impl Elf {
    pub fn new() -> Self {
        Self { big_endian: cfg!(target_endian = "big"), ..Self::default() }
    }

    pub fn section(mut self, name: &'static str, kind: u32, flags: u64, data: &[u8]) -> Self {
        self.sections.push(Section { name, kind, flags, data: data.to_vec(), info: 0, entry_size: 0 });
        self
    }

    pub fn code(self, name: &'static str, code: &[Instruction]) -> Self {
        let bytes: Vec<u8> = code.iter().flat_map(|instruction| instruction.to_bytes()).collect();
        self.section(name, PROGBITS, EXEC, &bytes)
    }

    /// Relocations of the section `target`: pairs of offset and symbol.
    pub fn relocations(mut self, target: u32, entries: &[(u64, u64)]) -> Self {
        let mut data = Vec::new();
        for &(offset, symbol) in entries {
            data.extend(self.u64(offset));
            data.extend(self.u64(symbol << 32 | 1));
        }
        self.sections.push(Section {
            name: ".relx",
            kind: REL,
            flags: 0,
            data,
            info: target,
            entry_size: 16,
        });
        self
    }

    pub fn symbol(
        mut self,
        name: &'static str,
        kind: u8,
        binding: u8,
        section: u16,
        value: u64,
        size: u64,
    ) -> Self {
        self.symbols.push(Symbol { name, kind, binding, section, value, size });
        self
    }

    /// A global function.
    pub fn function(self, name: &'static str, section: u16, value: u64, size: u64) -> Self {
        self.symbol(name, FUNC, GLOBAL, section, value, size)
    }

    pub fn build(&self) -> Vec<u8> {
        let mut strings = vec![0];
        let mut symbols = vec![0; 24];
        for symbol in &self.symbols {
            symbols.extend(self.u32(strings.len() as u32));
            strings.extend(symbol.name.bytes().chain([0]));
            symbols.extend([symbol.binding << 4 | symbol.kind, 0]);
            symbols.extend(self.u16(symbol.section));
            symbols.extend(self.u64(symbol.value));
            symbols.extend(self.u64(symbol.size));
        }
        let mut sections = self.sections.clone();
        let link = sections.len() as u32 + if self.without_symbols { 1 } else { 2 };
        let section =
            |name, kind, data, entry_size| Section { name, kind, flags: 0, data, info: 0, entry_size };
        if !self.without_symbols {
            sections.push(section(".symtab", 2, symbols, 24));
        }
        for named in &sections {
            strings.extend(named.name.bytes().chain([0]));
        }
        strings.extend(*b".strtab\0");
        sections.push(section(".strtab", 3, strings.clone(), 0));

        let mut file = vec![0; 64];
        let mut headers = vec![0; 64];
        for named in &sections {
            let name = position(&strings, named.name);
            headers.extend(self.u32(name as u32));
            headers.extend(self.u32(named.kind));
            headers.extend(self.u64(named.flags));
            headers.extend(self.u64(0));
            headers.extend(self.u64(file.len() as u64));
            headers.extend(self.u64(named.data.len() as u64));
            headers.extend(self.u32(if matches!(named.kind, 2 | REL) { link } else { 0 }));
            headers.extend(self.u32(named.info));
            headers.extend(self.u64(1));
            headers.extend(self.u64(named.entry_size));
            if named.kind != NOBITS {
                file.extend(&named.data);
            }
        }
        let offset = file.len() as u64;
        file.extend(headers);
        let mut header = b"\x7fELF\x02".to_vec();
        header.extend([if self.big_endian { 2 } else { 1 }, 1]);
        header.resize(16, 0);
        header.extend(self.u16(1));
        header.extend(self.u16(247));
        header.extend(self.u32(1));
        header.extend([0; 16]);
        header.extend(self.u64(offset));
        header.extend([0; 4]);
        for value in [64, 0, 0, 64, sections.len() as u16 + 1, sections.len() as u16] {
            header.extend(self.u16(value));
        }
        file[..64].copy_from_slice(&header);
        file
    }

    fn u16(&self, value: u16) -> [u8; 2] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn u32(&self, value: u32) -> [u8; 4] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn u64(&self, value: u64) -> [u8; 8] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }
}

/// Where `name` stands in the string table, as a string of its own.
fn position(strings: &[u8], name: &str) -> usize {
    let wanted: Vec<u8> = [0].into_iter().chain(name.bytes()).chain([0]).collect();
    strings.windows(wanted.len()).position(|window| window == wanted).unwrap() + 1
}

/// Type information: a string table that grows, and types written word by word.
#[derive(Default)]
pub struct Btf {
    strings: Vec<u8>,
    words: Vec<u32>,
    types: u32,
}

impl Btf {
    pub fn new() -> Self {
        Self { strings: vec![0], ..Self::default() }
    }

    /// Adds a type and gives its number.
    pub fn add(&mut self, name: &str, kind: u32, len: u32, size: u32, tail: &[u32]) -> u32 {
        let name = self.string(name);
        self.words.extend([name, kind << 24 | len, size]);
        self.words.extend(tail);
        self.types += 1;
        self.types
    }

    pub fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend(text.bytes().chain([0]));
        offset
    }

    /// `__uint(name, value)` as a struct member.
    pub fn number(&mut self, name: &str, value: u32) -> [u32; 3] {
        let array = self.add("", 3, 0, 0, &[0, 0, value]);
        let pointer = self.add("", 2, 0, array, &[]);
        [self.string(name), pointer, 0]
    }

    /// A map declared in `.maps`, as the only one.
    pub fn declare(&mut self, name: &str, members: &[[u32; 3]]) {
        let structure = self.add("", 4, members.len() as u32, 8, &members.concat());
        let variable = self.add(name, 14, 0, structure, &[1]);
        self.add(".maps", 15, 1, 0, &[variable, 0, 8]);
    }

    /// How many types there are.
    pub fn count(&self) -> u32 {
        self.types
    }

    pub fn words_mut(&mut self) -> &mut [u32] {
        &mut self.words
    }

    /// Adds a type of which so many words are missing.
    pub fn cut(&mut self, missing: usize) {
        self.add("", 2, 0, 0, &[]);
        self.words.truncate(self.words.len() - missing);
    }

    pub fn build(&self) -> Vec<u8> {
        let mut bytes = vec![];
        let types = self.words.len() as u32 * 4;
        bytes.extend(0xeb9f_u16.to_ne_bytes());
        bytes.extend([1, 0]);
        for word in [24, 0, types, types, self.strings.len() as u32] {
            bytes.extend(word.to_ne_bytes());
        }
        for word in &self.words {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(&self.strings);
        bytes
    }
}

pub const EXIT: Instruction = Instruction::new(0x95, 0, 0, 0, 0);

pub fn call(imm: i32) -> Instruction {
    Instruction::new(0x85, 0, 1, 0, imm)
}
