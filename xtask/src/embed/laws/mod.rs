//! The laws of a driver, looked up in what the compiler and the linker made of the blocks.
//!
//! `crates/embed` names every public function. Its library is linked for machines without an operating system: a panic that could be reached
//! asks for a symbol that nobody has, and so does an allocation. What is linked is disassembled: no floating point, and how much stack each
//! function takes with all that it calls.

mod coverage;
mod frames;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::step::{Failure, Outcome, Step, exists, needs, root, target};
use frames::Image;

/// Linked, and looked into. The first one's figures are in the table; its stack too.
const BARE: [Bare; 3] = [
    Bare { name: "x86_64-unknown-none", registers: &["%xmm", "%ymm", "%zmm", "%st", "%mm"] },
    Bare { name: "aarch64-unknown-none-softfloat", registers: &["v", "q", "d", "s", "h"] },
    Bare { name: "thumbv7em-none-eabi", registers: &["q", "d", "s"] },
];

/// Without an exchange of words: only what needs none, linked and looked into as well.
const SMALL: Bare = Bare { name: "thumbv6m-none-eabi", registers: &["q", "d", "s"] };

/// Compiled: a target that may use its floating point registers to copy, a driver of Windows, and one with the other byte order.
const COMPILED: [&str; 3] = ["aarch64-unknown-none", "x86_64-pc-windows-msvc", "s390x-unknown-linux-gnu"];

struct Bare {
    name: &'static str,
    /// What a register of floating point begins with.
    registers: &'static [&'static str],
}

const BLOCKS: [&str; 6] = ["ringbuf", "perfbuf", "progtable", "wfp-txn", "bench-gate", "loader"];

/// With what it calls.
const STACK_LIMIT: usize = 2048;

/// What gives an object's table back as a value has one more of them on its stack, and nothing else may be larger than the limit. Both blocks also open
/// an object into a place that is there already.
const BY_VALUE: [(&str, &[&str]); 2] = [
    ("progtable", &["ObjectFile::open", "ObjectFile::open_named", "ObjectFile::open_with"]),
    ("loader", &["Object::open", "Object::open_named"]),
];
/// A table of 64 programs (56 bytes each) and 64 maps (64 bytes each), and what is known of the file.
const TABLE: usize = 8 * 1024;

const README: &str = "crates/embed/README.md";
const BEGIN: &str = "<!-- written by `cargo xtask embed laws --write` -->\n";
const END: &str = "<!-- end -->\n";

/// `cargo xtask embed laws`.
pub(crate) fn run(write: bool) -> Result<Outcome, Failure> {
    let all: Vec<&str> = BARE.iter().chain([&SMALL]).map(|bare| bare.name).chain(COMPILED).collect();
    needs("embed laws", &format!("llvm, binutils, rustup's targets {}", all.join(", ")));
    let installed = Step::new("rustup", &["target", "list", "--installed"]).output().unwrap_or_default();
    if let Some(missing) = all.iter().find(|target| !installed.lines().any(|line| line == **target)) {
        return Ok(Outcome::Skipped(format!("rustup target add {missing}")));
    }
    if !exists("llvm-objdump", &["--version"]) {
        return Ok(Outcome::Skipped("llvm-objdump is missing: apt-get install llvm".to_owned()));
    }
    for target in COMPILED {
        bare_cargo(&["check", "-p", "embed", "--lib", "--target", target]).run()?;
    }
    let combinations = feature_sets(BARE[0].name)?;

    let mut sizes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut first = None;
    for bare in &BARE {
        let library = library(bare.name)?;
        let laws = laws(&library)?;
        if first.is_none() {
            coverage::check(&laws)?;
        }
        let linked = link(&library, &laws, "all")?;
        let image = Image::read(&linked)?;
        no_floating_point(bare, &image)?;
        for block in BLOCKS {
            let own: Vec<_> = laws.iter().filter(|law| law.block == block).cloned().collect();
            sizes.entry(block).or_default().push(size(&link(&library, &own, block)?)?);
        }
        println!(
            "{}: {} functions linked, no panic, no allocation, no floating point",
            bare.name,
            laws.len()
        );
        first.get_or_insert((laws, image));
    }
    let library = library(SMALL.name)?;
    let small = laws(&library)?;
    no_floating_point(&SMALL, &Image::read(&link(&library, &small, "all")?)?)?;
    println!("{}: {} functions linked, no panic, no allocation, no floating point", SMALL.name, small.len());

    let Some((laws, image)) = first else { return Err(Failure("no target".to_owned())) };
    let stacks = stacks(&laws, &image)?;
    let table = table(&sizes, &stacks)?;
    print!("{table}");
    document(&table, write)?;
    let largest = stacks.iter().filter(|stack| !stack.is_by_value()).map(|stack| stack.bytes).max();
    Ok(Outcome::Shown(format!(
        "{} public functions link for {} targets without a panic, an allocator or a floating point register; but for opening an object by value none takes \
         more than {} bytes of stack; they compile for {} more, and in {combinations} sets of features",
        laws.len(),
        BARE.len(),
        largest.unwrap_or_default(),
        COMPILED.len(),
    )))
}

/// A public function of a block, by the symbol under which it is found.
#[derive(Clone, Debug)]
pub(crate) struct Law {
    symbol: String,
    block: String,
    /// As in the sources, without what is filled in for its generics.
    name: String,
}

impl Law {
    fn of(symbol: &str) -> Option<Self> {
        let (block, path) = symbol.strip_prefix("law ")?.split_once(' ')?;
        Some(Self { symbol: symbol.to_owned(), block: block.to_owned(), name: without_generics(path) })
    }
}

/// `Producer::<Memory, Marks>::reserve` is `Producer::reserve`.
fn without_generics(path: &str) -> String {
    let mut depth: usize = 0;
    let mut plain = String::new();
    for part in path.split("::") {
        let opened = part.matches('<').count();
        if depth == 0 && opened == 0 {
            plain.push_str(if plain.is_empty() { "" } else { "::" });
            plain.push_str(part);
        }
        depth = depth.saturating_add(opened).saturating_sub(part.matches('>').count());
    }
    plain
}

/// Cargo with warnings as errors, in a directory of its own, so that other builds are not thrown away.
fn bare_cargo(arguments: &[&str]) -> Step {
    Step::cargo(arguments).variable("RUSTFLAGS", "-Dwarnings").target(&target().join("embed/laws"))
}

/// Each set of features of each block, for a machine without an operating system.
fn feature_sets(target: &str) -> Result<usize, Failure> {
    const FEATURES: [(&str, &[&str]); 6] = [
        ("bench-gate", &[]),
        ("ebpf-ringbuf", &["bytemuck", "zerocopy"]),
        ("ebpf-perfbuf", &["bytemuck", "zerocopy"]),
        ("ebpf-progtable", &[]),
        ("wfp-txn", &["model"]),
        ("ebpf-loader", &[]),
    ];
    let mut count: usize = 0;
    for (package, features) in FEATURES {
        for chosen in 0..1_u32 << features.len() {
            let is_chosen =
                |(index, name): (usize, &&'static str)| (chosen >> index & 1 == 1).then_some(*name);
            let set: Vec<_> = features.iter().enumerate().filter_map(is_chosen).collect();
            let arguments = ["check", "--quiet", "-p", package, "--no-default-features", "--features"];
            bare_cargo(&arguments).arguments(&[&set.join(","), "--target", target]).run()?;
            count = count.saturating_add(1);
        }
    }
    Ok(count)
}

/// Compiles the library for a target: all of it at once, as a driver is, so that what cannot happen is known not to.
fn library(triple: &str) -> Result<PathBuf, Failure> {
    bare_cargo(&[
        "rustc",
        "-p",
        "embed",
        "--lib",
        "--release",
        "--crate-type",
        "staticlib",
        "--target",
        triple,
    ])
    .variable("CARGO_PROFILE_RELEASE_LTO", "fat")
    // Both change nothing but what is said of the code, and how memcpy is called. They are not stable yet.
    .variable("RUSTC_BOOTSTRAP", "1")
    .variable("RUSTFLAGS", "-Dwarnings -Zemit-stack-sizes -Zplt=yes")
    .run()?;
    Ok(target().join("embed/laws").join(triple).join("release/libembed.a"))
}

/// The laws that a library holds.
fn laws(library: &Path) -> Result<Vec<Law>, Failure> {
    // Not llvm's: the library also holds code for another version of it, at which that stops.
    let symbols = Step::new("readelf", &["-sW", &library.to_string_lossy()]).output()?;
    let names =
        symbols.lines().filter_map(|line| line.split_once(" law ").map(|(_, name)| format!("law {name}")));
    let mut laws: Vec<_> = names.filter_map(|name| Law::of(name.trim())).collect();
    laws.sort_by(|one, other| one.symbol.cmp(&other.symbol));
    if laws.is_empty() { Err(Failure(format!("{}: no laws", library.display()))) } else { Ok(laws) }
}

/// Links some functions, with what they call and nothing else.
fn link(library: &Path, laws: &[Law], name: &str) -> Result<PathBuf, Failure> {
    let sysroot = Step::new("rustc", &["--print", "sysroot"]).output()?;
    let host = Step::new("rustc", &["--print", "host-tuple"]).output()?;
    let linker = Path::new(sysroot.trim()).join("lib/rustlib").join(host.trim()).join("bin/rust-lld");
    let output = library.with_file_name(name).with_extension("elf");
    let link = |output: &Path, more: &[&str]| {
        let roots: Vec<&str> = laws.iter().flat_map(|law| ["-u", law.symbol.as_str()]).collect();
        let fixed = ["-flavor", "gnu", "--gc-sections", "-static", "-e", "0", "-o"];
        Step::new(&linker.to_string_lossy(), &fixed)
            .arguments(&[&output.to_string_lossy(), &library.to_string_lossy()])
            .arguments(more)
            .arguments(&roots)
            .output()
    };
    let Err(failure) = link(&output, &[]) else { return Ok(output) };
    if !failure.0.contains("a_panic_is_reachable") {
        return Err(failure);
    }
    // Who does it: linked with a symbol for it, the calls lead there.
    link(&output, &["--defsym=a_panic_is_reachable=0"])?;
    let image = Image::read(&output)?;
    let mut guilty = String::new();
    for law in laws {
        if let Some(path) = image.path(&law.symbol, "panicking") {
            let _ = write!(guilty, "\n  {} {}: {path}", law.block, law.name);
        }
    }
    Err(Failure(format!("a panic is reachable from:{guilty}")))
}

fn no_floating_point(bare: &Bare, image: &Image) -> Result<(), Failure> {
    if let Some((function, line)) = image.uses_register(bare.registers) {
        return Err(Failure(format!("{}: floating point in {function}: {line}", bare.name)));
    }
    // Where the machine has none, the compiler calls functions instead.
    let soft = [
        "__add", "__sub", "__mul", "__div", "__float", "__fix", "__extend", "__trunc", "__eq", "__lt", "__gt",
    ];
    let is_soft = |name: &str| {
        let arm = name.strip_prefix("__aeabi_").is_some_and(|name| {
            ["f", "d"].iter().any(|kind| name.starts_with(kind))
                || name.ends_with("2f")
                || name.ends_with("2d")
        });
        arm || soft.iter().any(|prefix| name.starts_with(prefix))
            && (name.contains("sf") || name.contains("df"))
    };
    match image.functions().find(|name| is_soft(name)) {
        Some(name) => Err(Failure(format!("{}: floating point: {name} is linked", bare.name))),
        None => Ok(()),
    }
}

/// Bytes of code and constants.
fn size(linked: &Path) -> Result<usize, Failure> {
    let sections = Step::new("llvm-readelf", &["-SW", &linked.to_string_lossy()]).output()?;
    let mut total: usize = 0;
    for line in sections.lines() {
        let Some((_, fields)) = line.split_once("] .") else { continue };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        if let [name, _, _, _, size, ..] = fields[..]
            && ["text", "rodata", "data.rel.ro", "ARM.exidx", "ARM.extab"].contains(&name)
        {
            total = total.saturating_add(usize::from_str_radix(size, 16).unwrap_or_default());
        }
    }
    Ok(total)
}

struct Stack<'l> {
    law: &'l Law,
    bytes: usize,
    recursive: bool,
}

impl Stack<'_> {
    fn is_by_value(&self) -> bool {
        BY_VALUE
            .iter()
            .any(|(block, functions)| self.law.block == *block && functions.contains(&self.law.name.as_str()))
    }

    fn limit(&self) -> usize {
        if self.is_by_value() { TABLE.saturating_add(STACK_LIMIT) } else { STACK_LIMIT }
    }
}

fn stacks<'l>(laws: &'l [Law], image: &Image) -> Result<Vec<Stack<'l>>, Failure> {
    let mut stacks = Vec::new();
    let mut guilty = String::new();
    for law in laws {
        let function = image
            .behind(&law.symbol)
            .ok_or_else(|| Failure(format!("{}: where its function is, is not known", law.symbol)))?;
        let depth = image.depth(function);
        let stack = Stack { law, bytes: depth.bytes, recursive: depth.recursive };
        if stack.bytes > stack.limit() || stack.recursive {
            let calls_itself = if stack.recursive { ", and calls itself" } else { "" };
            let path = depth.path.join(" → ");
            let (name, limit) = (&law.name, stack.limit());
            let _ =
                write!(guilty, "\n  {} {name}: {} of {limit}{calls_itself}: {path}", law.block, stack.bytes);
        }
        stacks.push(stack);
    }
    if guilty.is_empty() { Ok(stacks) } else { Err(Failure(format!("too much stack:{guilty}"))) }
}

fn table(sizes: &BTreeMap<&str, Vec<usize>>, stacks: &[Stack<'_>]) -> Result<String, Failure> {
    let compiler = Step::new("rustc", &["--version"]).output()?;
    let mut text = format!(
        "{}, release, fat LTO, everything public linked; 64 programs and 64 maps.\n\n",
        compiler.split(" (").next().unwrap_or_default().trim()
    );
    let names = BARE.map(|bare| bare.name.split('-').next().unwrap_or_default());
    let _ =
        writeln!(text, "| block | functions | code and constants: {} | largest stack |", names.join(" | "));
    let _ = writeln!(text, "|---|---|---|---|---|---|");
    for block in BLOCKS {
        let own: Vec<_> = stacks.iter().filter(|stack| stack.law.block == block).collect();
        let largest = own.iter().filter(|stack| !stack.is_by_value()).max_by_key(|stack| stack.bytes);
        let sizes: Vec<String> = sizes.get(block).into_iter().flatten().map(usize::to_string).collect();
        let (bytes, name) = largest.map_or((0, ""), |stack| (stack.bytes, stack.law.name.as_str()));
        let _ = writeln!(text, "| {block} | {} | {} | {bytes} (`{name}`) |", own.len(), sizes.join(" | "));
    }
    text.push_str("\nStack in bytes on x86-64, with all that is called and return addresses, of what takes 128 or more; the others take less. None takes more than 2048, but for those that give an object's table back as a value (7.9 KiB): `open_into` fills one that is there already:\n\n| block | function | stack |\n|---|---|---|\n");
    let mut sorted: Vec<_> = stacks.iter().filter(|stack| stack.bytes >= 128).collect();
    sorted.sort_by_key(|stack| {
        (BLOCKS.iter().position(|block| *block == stack.law.block), std::cmp::Reverse(stack.bytes))
    });
    for stack in sorted {
        let _ = writeln!(text, "| {} | `{}` | {} |", stack.law.block, stack.law.name, stack.bytes);
    }
    Ok(text)
}

/// Puts the table into the page, or says that it says something else.
fn document(table: &str, write: bool) -> Result<(), Failure> {
    let path = root().join(README);
    let page = fs::read_to_string(&path).map_err(|error| Failure(format!("{README}: {error}")))?;
    let parts = page.split_once(BEGIN).and_then(|(before, rest)| {
        let (old, after) = rest.split_once(END)?;
        Some((before, old, after))
    });
    let Some((before, old, after)) = parts else {
        return Err(Failure(format!("{README}: no place for the table")));
    };
    if write {
        let page = format!("{before}{BEGIN}{table}{END}{after}");
        return fs::write(&path, page).map_err(|error| Failure(format!("{README}: {error}")));
    }
    if old != table {
        println!(
            "the figures in {README} are of another compiler or of other sources: `cargo xtask embed laws --write`"
        );
    }
    Ok(())
}
