//! The objects that are compared.
//!
//! Our own are committed. Other people's are never committed: they are read from where their packages install them, and cut
//! out of the binaries that embed them. Special cases are compiled when the tests run.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One object file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sample {
    /// The file name, from which libbpf makes the object's name.
    pub name: String,
    /// Where it comes from, for messages.
    pub origin: String,
    /// Where it stands as a file of its own.
    pub path: Option<PathBuf>,
    /// The object.
    pub bytes: Vec<u8>,
}

/// A package whose objects the tests want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Package {
    /// Debian's `xdp-tools`: fifteen object files and some programs that embed more.
    XdpTools,
    /// Debian's `libbpf-tools`: some fifty programs, each with an object inside.
    LibbpfTools,
    /// The compiler; no objects of its own.
    Clang,
}

/// Our own objects: [the tool's](tool_programs) and those of the crates' tests.
#[must_use]
pub fn own() -> Vec<Sample> {
    let folders = entries(&crates_directory()).into_iter().map(|path| path.join("tests/objects"));
    let mut samples = tool_programs();
    samples.extend(folders.flat_map(|folder| object_files(&folder)));
    samples
}

/// The objects that come with the tool. They need nothing of a kernel but its maps and helpers.
#[must_use]
pub fn tool_programs() -> Vec<Sample> {
    object_files(&crates_directory().join("cli/programs"))
}

/// The object files that `xdp-tools` installs; empty if it is not installed.
#[must_use]
pub fn xdp_tools() -> Vec<Sample> {
    let libraries = entries(Path::new("/usr/lib"));
    libraries.iter().flat_map(|path| object_files(&path.join("bpf"))).collect()
}

/// The objects embedded in the programs that `package` installs under `/usr/sbin`, each once.
#[must_use]
pub fn embedded(package: Package) -> Vec<Sample> {
    let mut seen = HashSet::new();
    let mut samples = Vec::new();
    for path in installed_programs(package) {
        let Ok(binary) = fs::read(&path) else { continue };
        let stem = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for (index, object) in carve(&binary).enumerate() {
            if !seen.insert(object.to_vec()) {
                continue;
            }
            let name = if index == 0 { format!("{stem}.bpf.o") } else { format!("{stem}_{index}.bpf.o") };
            let origin = format!("{} #{index}", path.display());
            samples.push(Sample { name, origin, path: None, bytes: object.to_vec() });
        }
    }
    samples
}

/// Objects compiled here and now from `tests/sources`, one for each special case; empty if there is no clang.
///
/// # Errors
///
/// What clang says of a source it does not take.
pub fn compiled() -> Result<Vec<Sample>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sources");
    if Command::new("clang").arg("--version").output().is_err() {
        return Ok(Vec::new());
    }
    let is_source =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "c" || extension == "s");
    entries(&folder).into_iter().filter(is_source).map(|path| compile(&path)).collect()
}

/// The object made of one of `tests/sources`; nothing if there is no clang.
///
/// # Errors
///
/// What clang says of a source it does not take.
pub fn source(name: &str) -> Result<Option<Sample>, String> {
    if Command::new("clang").arg("--version").output().is_err() {
        return Ok(None);
    }
    compile(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sources").join(name)).map(Some)
}

/// The object made of a source that is given as text, under that file name; nothing if there is no clang.
///
/// # Errors
///
/// What clang says of a source it does not take.
pub fn text(name: &str, source: &str) -> Result<Option<Sample>, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    if Command::new("clang").arg("--version").output().is_err() {
        return Ok(None);
    }
    let path = folder.path().join(name);
    fs::write(&path, source).map_err(|error| error.to_string())?;
    compile(&path).map(Some)
}

/// Says that a package is missing: as a note on a developer's machine, as a failure where `CI` is set.
///
/// # Errors
///
/// The note, where `CI` is set.
pub fn missing(package: Package) -> Result<(), String> {
    let name = package.name();
    let note = format!("{name} is not installed (apt-get install {name})");
    if std::env::var_os("CI").is_some() {
        return Err(note);
    }
    println!("skipped: {note}");
    Ok(())
}

impl Package {
    /// Debian's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::XdpTools => "xdp-tools",
            Self::LibbpfTools => "libbpf-tools",
            Self::Clang => "clang",
        }
    }
}

/// Every 64-bit little-endian relocatable eBPF object inside `binary`, in order of offset.
///
/// An object says where its sections and its section headers lie, and ends where the last of them ends.
pub fn carve(binary: &[u8]) -> impl Iterator<Item = &[u8]> {
    // An object that starts the file is a file of its own, not embedded.
    (1..binary.len()).filter_map(|start| binary.get(start..).and_then(leading_object))
}

fn compile(source: &Path) -> Result<Sample, String> {
    let text = fs::read_to_string(source).map_err(|error| format!("{}: {error}", source.display()))?;
    let first_line = text.lines().next().unwrap_or_default();
    let flags =
        first_line.strip_prefix("// flags: ").unwrap_or_default().split(' ').filter(|flag| !flag.is_empty());
    let output = Command::new("clang")
        .args(["-g", "-O2", "-target", "bpf"])
        .args(flags)
        .arg("-c")
        .arg(source)
        .args(["-o", "-"])
        .output()
        .map_err(|error| format!("clang: {error}"))?;
    if !output.status.success() {
        return Err(format!("{}: {}", source.display(), String::from_utf8_lossy(&output.stderr)));
    }
    let stem = source.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Sample {
        name: format!("{stem}.o"),
        origin: source.display().to_string(),
        path: None,
        bytes: output.stdout,
    })
}

/// The object that `bytes` begin with.
fn leading_object(bytes: &[u8]) -> Option<&[u8]> {
    const MAGIC: &[u8] = b"\x7fELF\x02\x01\x01";
    const ET_REL: u16 = 1;
    const EM_BPF: u16 = 247;
    const SHT_NOBITS: u32 = 8;
    const SECTION_HEADER: u64 = 64;

    if !bytes.starts_with(MAGIC) || u16_at(bytes, 16)? != ET_REL || u16_at(bytes, 18)? != EM_BPF {
        return None;
    }
    let headers = u64_at(bytes, 40)?;
    let (header_size, count) = (u16_at(bytes, 58)?, u16_at(bytes, 60)?);
    if u64::from(header_size) != SECTION_HEADER || count == 0 {
        return None;
    }
    let mut end = headers.checked_add(u64::from(count).checked_mul(SECTION_HEADER)?)?;
    for index in 0..u64::from(count) {
        let header = headers.checked_add(index.checked_mul(SECTION_HEADER)?)?;
        let header = bytes.get(usize::try_from(header).ok()?..)?;
        if u32_at(header, 4)? != SHT_NOBITS {
            end = end.max(u64_at(header, 24)?.checked_add(u64_at(header, 32)?)?);
        }
    }
    bytes.get(..usize::try_from(end).ok()?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

/// The files under `/usr/sbin` that Debian's package manager lists for the package.
fn installed_programs(package: Package) -> Vec<PathBuf> {
    let list = format!("/var/lib/dpkg/info/{}.list", package.name());
    let list = fs::read_to_string(list).unwrap_or_default();
    let mut paths: Vec<_> =
        list.lines().filter(|line| line.starts_with("/usr/sbin/")).map(PathBuf::from).collect();
    paths.sort();
    paths
}

fn object_files(folder: &Path) -> Vec<Sample> {
    let read = |path: PathBuf| -> io::Result<Sample> {
        let bytes = fs::read(&path)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Sample { name, origin: path.display().to_string(), path: Some(path), bytes })
    };
    let objects =
        entries(folder).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "o"));
    objects.filter_map(|path| read(path).ok()).collect()
}

/// What a folder holds, sorted; nothing if it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(folder) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = folder.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

fn crates_directory() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header and one section header right behind it.
    fn smallest() -> Vec<u8> {
        let mut object = vec![0; 128];
        object[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        object[16] = 1;
        object[18] = 247;
        object[40] = 64;
        object[58] = 64;
        object[60] = 1;
        object
    }

    #[test]
    fn finds_an_object_wherever_it_lies() {
        let object = smallest();
        let binary = [b"\x7fELF".as_slice(), &object, b"between", &object, b"after"].concat();
        assert_eq!(carve(&binary).collect::<Vec<_>>(), [object.as_slice(), &object]);
    }

    #[test]
    fn leaves_what_is_cut_off_or_foreign() {
        let object = smallest();
        let cut = [b"x".as_slice(), &object[..100]].concat();
        assert_eq!(carve(&cut).count(), 0);
        let mut foreign = [b"x".as_slice(), &object].concat();
        foreign[1 + 18] = 62;
        assert_eq!(carve(&foreign).count(), 0);
    }
}
