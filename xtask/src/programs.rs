//! The BPF programs of the tool: do the committed objects come from their sources?
//!
//! The committed objects were made by one version of clang, [`VERSION`]. With that version the comparison is byte for
//! byte; nothing of the machine gets into an object (the source's directory is mapped to `.`, DWARF is stripped, BTF
//! is kept). Another version may choose other instructions for the same source, so then only what the object
//! *offers* is compared: names, sections, types and autoload of its programs, its subprograms, and every
//! attribute of its maps. That is weaker, and the verb says so; in CI it is a failure.

use std::fs;
use std::path::{Path, PathBuf};

use ebpf_progtable::ObjectFile;

use crate::step::{Failure, Outcome, Step, exists, needs, root};

/// The clang that made the committed objects (Debian 12's).
const VERSION: &str = "14.0.6";

/// `-mcpu=v3`: 32-bit operations and atomics that return a value, in every kernel since 5.12. BTF comes with `-g`.
const FLAGS: [&str; 13] = [
    "-target",
    "bpf",
    "-mcpu=v3",
    "-O2",
    "-g",
    "-ffreestanding",
    "-nostdinc",
    "-Wall",
    "-Wextra",
    "-Werror",
    // A program's context is a parameter whether it looks at it or not.
    "-Wno-unused-parameter",
    "-fdebug-compilation-dir=.",
    "-c",
];

/// `cargo xtask programs [--write]`.
pub(crate) fn run(write: bool) -> Result<Outcome, Failure> {
    needs("programs", "clang with the BPF target, llvm-strip");
    let Some(tools) = Tools::find()? else {
        return Ok(Outcome::Skipped("clang or llvm-strip is missing: apt-get install clang llvm".to_owned()));
    };
    if write && !tools.is_reference() {
        return Err(Failure(format!(
            "{} is version {}, the committed objects are made by {VERSION}: apt-get install clang-14 llvm-14",
            tools.clang, tools.version
        )));
    }
    let directory = root().join("crates/cli/programs");
    let sources = files(&directory, ".bpf.c")?;
    for object in files(&directory, ".bpf.o")? {
        if !sources.contains(&object.with_extension("c")) {
            return Err(Failure(format!("{}: an object without a source", object.display())));
        }
    }
    for source in &sources {
        check(&tools, source, write)?;
    }
    let count = sources.len();
    Ok(Outcome::Shown(match (write, tools.is_reference()) {
        (true, _) => format!("{count} objects are now what their sources give"),
        (false, true) => format!("{count} committed objects are, byte for byte, what their sources give"),
        (false, false) if crate::step::in_ci() => {
            return Ok(Outcome::Skipped(format!(
                "byte comparison needs clang {VERSION}, this is {}",
                tools.version
            )));
        }
        (false, false) => format!(
            "{count} committed objects offer the programs and maps that their sources give; instructions were not \
             compared, because this clang is {} and the objects are made by {VERSION}",
            tools.version
        ),
    }))
}

/// Builds one source and compares or replaces its committed object.
fn check(tools: &Tools, source: &Path, write: bool) -> Result<(), Failure> {
    let committed = source.with_extension("o");
    let built = tools.build(source)?;
    let built = read(&built)?;
    if write {
        fs::write(&committed, built).map_err(|error| failure(&committed, &error))?;
        return Ok(());
    }
    let committed_bytes = read(&committed)?;
    let (equal, what) = if tools.is_reference() {
        (built == committed_bytes, "is not what its source gives")
    } else {
        (
            offer(&committed, &built)? == offer(&committed, &committed_bytes)?,
            "does not offer what its source gives",
        )
    };
    if equal {
        return Ok(());
    }
    Err(Failure(format!(
        "{} {what}\n       what to do: `cargo xtask programs --write`, then look at the difference",
        committed.display()
    )))
}

/// What an object offers, one line for each program, subprogram and map.
fn offer(path: &Path, bytes: &[u8]) -> Result<Vec<String>, Failure> {
    let object: ObjectFile<'_> = ObjectFile::open(bytes).map_err(|error| failure(path, &error))?;
    let programs = object.programs().map(|program| {
        let (kind, attach) = (program.kind(), program.expected_attach_type());
        format!("{} {} {kind} {attach} {}", program.name(), program.section_name(), program.autoload())
    });
    let subprograms = object.subprograms().map(|program| program.name().to_owned());
    let maps = object.maps().iter().map(|map| {
        let (kind, key, value, entries) = (map.kind(), map.key_size(), map.value_size(), map.max_entries());
        format!("{} {kind} {key} {value} {entries} {}", map.name(), map.flags())
    });
    let mut lines: Vec<String> = programs.chain(subprograms).chain(maps).collect();
    // Another version may emit functions in another order.
    lines.sort();
    Ok(lines)
}

struct Tools {
    clang: &'static str,
    strip: &'static str,
    version: String,
}

impl Tools {
    /// The reference version under its own name if it is there, otherwise whatever is called `clang`.
    fn find() -> Result<Option<Self>, Failure> {
        let found = [("clang-14", "llvm-strip-14"), ("clang", "llvm-strip")]
            .into_iter()
            .find(|(clang, strip)| exists(clang, &["--version"]) && exists(strip, &["--version"]));
        let Some((clang, strip)) = found else {
            return Ok(None);
        };
        let version = Step::new(clang, &["-dumpversion"]).output()?.trim().to_owned();
        Ok(Some(Self { clang, strip, version }))
    }

    fn is_reference(&self) -> bool {
        self.version == VERSION
    }

    /// Compiles a source; returns where the object is.
    fn build(&self, source: &Path) -> Result<PathBuf, Failure> {
        let directory = source.parent().unwrap_or(Path::new("."));
        let name = source.file_name().unwrap_or_default();
        let target = root().join("target/programs");
        fs::create_dir_all(&target).map_err(|error| failure(&target, &error))?;
        let object = target.join(name).with_extension("o");
        let map = format!("-ffile-prefix-map={}=.", directory.display());
        // Named without its directory, so that the name in the object is the same wherever the repository lies.
        let arguments = [&*map, "-o", &object.to_string_lossy(), &name.to_string_lossy()].map(str::to_owned);
        Step::new(self.clang, &FLAGS)
            .arguments(&arguments.each_ref().map(String::as_str))
            .directory(directory)
            .or("the program must compile without a warning")
            .run()?;
        Step::new(self.strip, &["--strip-debug", &object.to_string_lossy()])
            .or("llvm-strip of the same version as clang: apt-get install llvm")
            .run()?;
        Ok(object)
    }
}

/// Files of a directory whose names end in `suffix`, sorted.
fn files(directory: &Path, suffix: &str) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(directory).map_err(|error| failure(directory, &error))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| failure(path, &error))
}

fn failure(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure(format!("{}: {error}", path.display()))
}
