//! What is linked: functions, whom they call, how much stack they take.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::step::{Failure, Step};

/// A linked artefact, disassembled.
pub(super) struct Image {
    functions: BTreeMap<String, Function>,
    /// The function to which a symbol of data points.
    pointers: BTreeMap<String, String>,
}

#[derive(Default)]
struct Function {
    lines: Vec<String>,
    /// Calls, and jumps to other functions.
    calls: BTreeSet<String>,
    jumps: BTreeSet<String>,
    /// Below the return address.
    frame: usize,
}

/// What a function takes with all that it calls.
#[derive(Clone, Default)]
pub(super) struct Depth {
    pub(super) bytes: usize,
    pub(super) recursive: bool,
    pub(super) path: Vec<String>,
}

impl Image {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let path = path.to_string_lossy();
        let disassembly = Step::new("llvm-objdump", &["-d", "--no-show-raw-insn", &path]).output()?;
        let sizes = Step::new("llvm-readelf", &["--stack-sizes", &path]).output()?;
        let symbols = Step::new("llvm-nm", &[&path]).output()?;
        let data =
            Step::new("llvm-objdump", &["-s", "-j", ".data.rel.ro", "-j", ".rodata", &path]).output()?;
        Ok(Self::parse(&disassembly, &sizes, &symbols, &data))
    }

    fn parse(disassembly: &str, sizes: &str, symbols: &str, data: &str) -> Self {
        let mut functions: BTreeMap<String, Function> = BTreeMap::new();
        let mut current = None;
        for line in disassembly.lines() {
            if let Some(name) = line.strip_suffix(">:").and_then(|line| line.split_once(" <")) {
                current = Some(name.1.to_owned());
                functions.entry(name.1.to_owned()).or_default();
            } else if let (Some(name), Some((_, instruction))) = (&current, line.split_once(":\u{20}"))
                && let Some(function) = functions.get_mut(name)
            {
                let instruction = instruction.trim();
                function.note(name, instruction);
                function.lines.push(instruction.to_owned());
            }
        }
        let known: BTreeMap<&str, usize> = sizes
            .lines()
            .filter_map(|line| line.trim().split_once(' '))
            .flat_map(|(size, names)| {
                let size = size.parse();
                names.trim().split(", ").filter_map(move |name| Some((name, size.clone().ok()?)))
            })
            .collect();
        for (name, function) in &mut functions {
            // The compiler's own functions come without: for these, what they push and subtract.
            function.frame = known.get(name.as_str()).copied().unwrap_or_else(|| function.pushed());
        }
        Self { pointers: pointers(symbols, data), functions }
    }

    pub(super) fn functions(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(String::as_str)
    }

    /// The function whose address stands at a symbol.
    pub(super) fn behind(&self, symbol: &str) -> Option<&str> {
        self.pointers.get(symbol).map(String::as_str)
    }

    /// How one comes from what stands at a symbol to a function with that in its name.
    pub(super) fn path(&self, symbol: &str, wanted: &str) -> Option<String> {
        let start = self.behind(symbol)?;
        let mut from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut open = vec![start];
        while let Some(name) = open.pop() {
            if name.contains(wanted) {
                let mut path = vec![name];
                while let Some(before) = path.last().and_then(|name| from.get(name)) {
                    path.push(before);
                }
                path.reverse();
                return Some(path.join(" → "));
            }
            for next in self
                .functions
                .get(name)
                .into_iter()
                .flat_map(|function| function.calls.union(&function.jumps))
            {
                if next != start && !from.contains_key(next.as_str()) {
                    from.insert(next, name);
                    open.push(next);
                }
            }
        }
        None
    }

    pub(super) fn uses_register(&self, registers: &[&str]) -> Option<(&str, &str)> {
        let is_one = |word: &str| {
            registers.iter().any(|register| {
                word.strip_prefix(register).is_some_and(|number| {
                    // `%st(0)`, `v3.16b`, `q0`; not `sp`, `d` or a symbol.
                    let number = number.split('.').next().unwrap_or_default();
                    !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
                }) || word == "%st"
            })
        };
        self.functions.iter().find_map(|(name, function)| {
            let guilty = function.lines.iter().find(|line| {
                let operands = line.split_once(char::is_whitespace).map_or("", |(_, operands)| operands);
                let operands = operands.split(" <").next().unwrap_or_default();
                operands.split([' ', ',', '(', ')', '{', '}', '[', ']', '-', '!']).any(is_one)
            })?;
            Some((name.as_str(), guilty.as_str()))
        })
    }

    pub(super) fn depth(&self, function: &str) -> Depth {
        self.walk(function, &mut Vec::new(), &mut BTreeMap::new())
    }

    fn walk<'i>(
        &'i self,
        name: &'i str,
        above: &mut Vec<&'i str>,
        known: &mut BTreeMap<&'i str, Depth>,
    ) -> Depth {
        /// What a call puts on the stack.
        const RETURN_ADDRESS: usize = 8;
        if let Some(depth) = known.get(name) {
            return depth.clone();
        }
        if above.contains(&name) {
            return Depth { recursive: true, ..Depth::default() };
        }
        let Some(function) = self.functions.get(name) else { return Depth::default() };
        above.push(name);
        let own = function.frame.saturating_add(RETURN_ADDRESS);
        let mut deepest = Depth { bytes: own, ..Depth::default() };
        // A jump to another function gives the frame back first.
        let callees =
            function.calls.iter().map(|name| (name, own)).chain(function.jumps.iter().map(|name| (name, 0)));
        for (callee, below) in callees {
            let Depth { bytes, recursive, path } = self.walk(callee, above, known);
            deepest.recursive |= recursive;
            let bytes = bytes.saturating_add(below);
            if bytes > deepest.bytes {
                deepest.bytes = bytes;
                deepest.path = path;
            }
        }
        above.pop();
        deepest.path.insert(0, format!("{name} ({})", function.frame));
        if !deepest.recursive {
            known.insert(name, deepest.clone());
        }
        deepest
    }
}

impl Function {
    fn note(&mut self, own: &str, instruction: &str) {
        let Some(target) = instruction.split_once('<').and_then(|(_, target)| target.strip_suffix('>'))
        else {
            return;
        };
        let (name, offset) = target.rsplit_once("+0x").map_or((target, false), |(name, _)| (name, true));
        if offset || name == own {
            return;
        }
        let mnemonic = instruction.split_whitespace().next().unwrap_or_default();
        if mnemonic.starts_with("call") || mnemonic == "bl" || mnemonic == "blx" {
            self.calls.insert(name.to_owned());
        } else if mnemonic.starts_with('j') || mnemonic.starts_with('b') {
            self.jumps.insert(name.to_owned());
        }
    }

    fn pushed(&self) -> usize {
        let pushes = self.lines.iter().filter(|line| line.starts_with("push")).count();
        let subtracted = self.lines.iter().filter_map(|line| {
            let (number, _) = line.strip_prefix("subq\t$")?.split_once(", %rsp")?;
            number.parse::<usize>().ok()
        });
        pushes.saturating_mul(8).saturating_add(subtracted.sum())
    }
}

/// For each symbol of data, the function whose address stands there. Little-endian words of eight bytes: only asked of x86-64.
fn pointers(symbols: &str, data: &str) -> BTreeMap<String, String> {
    let mut bytes: BTreeMap<u64, u8> = BTreeMap::new();
    for line in data.lines() {
        let mut words = line.trim_start().splitn(2, ' ');
        let (Some(address), Some(rest)) = (words.next(), words.next()) else { continue };
        let Ok(address) = u64::from_str_radix(address, 16) else { continue };
        // Four groups of four bytes, then the same as text.
        let digits: String = rest.get(..35).unwrap_or(rest).chars().filter(char::is_ascii_hexdigit).collect();
        for (index, pair) in digits.as_bytes().chunks(2).enumerate() {
            let byte = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
            if let (Some(byte), Ok(index)) = (byte, u64::try_from(index)) {
                bytes.insert(address.saturating_add(index), byte);
            }
        }
    }
    let mut functions: BTreeMap<u64, &str> = BTreeMap::new();
    let mut places = Vec::new();
    for line in symbols.lines() {
        let mut words = line.splitn(3, ' ');
        let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let Ok(address) = u64::from_str_radix(address, 16) else { continue };
        match kind {
            "t" | "T" | "w" | "W" => {
                functions.insert(address, name);
            }
            _ => places.push((address, name)),
        }
    }
    let word = |address: u64| {
        let word: Option<Vec<u8>> =
            (0..8).map(|index| bytes.get(&address.saturating_add(index)).copied()).collect();
        Some(u64::from_le_bytes(word?.try_into().ok()?))
    };
    let points =
        |(address, name): (u64, &str)| Some((name.to_owned(), (*functions.get(&word(address)?)?).to_owned()));
    places.into_iter().filter_map(points).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As llvm-objdump, llvm-readelf and llvm-nm say it.
    fn image(instructions: &str) -> Image {
        let disassembly = format!(
            "0000000000001000 <outer>:\n    1000:      \tpushq\t%rbx\n    1001:      \tcallq\t0x1010 <inner>\n    1006:      \tjmp\t0x1020 <last>\n\n\
             0000000000001010 <inner>:\n{instructions}\n0000000000001020 <last>:\n    1020:      \tpushq\t%rax\n    1024:      \tsubq\t$400, %rsp\n"
        );
        let sizes =
            "Stack Sizes:\n         Size     Functions\n           16     outer\n           80     inner\n";
        let symbols = "0000000000001000 t outer\n0000000000003000 D law block outer\n";
        let data = "Contents of section .data.rel.ro:\n 3000 00100000 00000000 00000000 00000000  ................\n";
        Image::parse(&disassembly, sizes, symbols, data)
    }

    #[test]
    fn stack_is_that_of_the_deepest_path() {
        let image = image("    1010:      \tretq");
        let outer = image.behind("law block outer").unwrap_or_default();
        assert_eq!(outer, "outer");
        // The jump gives outer's frame back: 8 + 8 + 400 are more than 16 + 8 + 80 + 8.
        assert_eq!(image.depth(outer).bytes, 416);
        assert_eq!(image.depth("inner").bytes, 88);
        assert!(!image.depth(outer).recursive);
        assert_eq!(image.path("law block outer", "inn").as_deref(), Some("outer → inner"));
    }

    #[test]
    fn what_calls_itself_is_found() {
        assert!(image("    1010:      \tcallq\t0x1000 <outer>").depth("outer").recursive);
    }

    #[test]
    fn registers_of_floating_point_are_found() {
        let uses = |line: &str, registers| {
            image(&format!("    1010:      \t{line}")).uses_register(registers).is_some()
        };
        let x86 = &["%xmm", "%ymm", "%zmm", "%st", "%mm"][..];
        let arm = &["v", "q", "d", "s", "h"][..];
        for line in ["movaps\t%xmm0, 16(%rsp)", "fadd\t%st(1), %st", "movq\t%mm7, %rax"] {
            assert!(uses(line, x86), "{line}");
        }
        for line in [
            "stp\tq0, q1, [sp, #-32]!",
            "fadd\td0, d1, d2",
            "dup\tv0.16b, w1",
            "vmov\ts15, r0",
            "vpush\t{d8, d9}",
        ] {
            assert!(uses(line, arm), "{line}");
        }
        for line in
            ["ldr\tx0, [sp, #8]", "csel\tx0, x1, x2, hs", "b\t0x1020 <d1>", "add\tr0, sp, #4", "dmb\tish"]
        {
            assert!(!uses(line, arm), "{line}");
        }
        assert!(!uses("movq\t%rsp, %rax", x86));
    }
}
