//! The program table and the maps: ours are libbpf's, row by row.
#![cfg(target_os = "linux")]
#![allow(clippy::arithmetic_side_effects, reason = "a test: what goes wrong here is to stop it")]

use ebpf_conformance::corpus::{self, Package, Sample};
use ebpf_conformance::libbpf;
use ebpf_conformance::rows::{self, Table};

/// What was compared.
#[derive(Debug, Default)]
struct Count {
    objects: usize,
    programs: usize,
    maps: usize,
    refused: usize,
}

#[test]
fn our_objects() {
    let count = compare("our own", &corpus::own());
    assert!(count.programs > 0 && count.maps > 0, "our own objects hold programs and maps: {count:?}");
}

#[test]
fn special_cases() -> Result<(), String> {
    let samples = corpus::compiled()?;
    if samples.is_empty() {
        return corpus::missing(Package::Clang);
    }
    let count = compare("compiled here", &samples);
    assert!(count.objects > 10 && count.refused > 5, "{count:?}");
    Ok(())
}

#[test]
fn objects_of_xdp_tools() -> Result<(), String> {
    let samples = corpus::xdp_tools();
    if samples.is_empty() {
        return corpus::missing(Package::XdpTools);
    }
    let count = compare("xdp-tools", &samples);
    assert!(count.objects >= 15, "xdp-tools ships fifteen objects: {count:?}");
    assert!(count.programs >= 15 && count.maps > 0, "{count:?}");
    Ok(())
}

#[test]
fn objects_embedded_in_xdp_tools() -> Result<(), String> {
    embedded(Package::XdpTools, 5)
}

#[test]
fn objects_embedded_in_libbpf_tools() -> Result<(), String> {
    embedded(Package::LibbpfTools, 40)
}

/// The oracle's own name for an object opened from memory is the one it gives a file.
#[test]
fn memory_and_file_are_one_to_libbpf() {
    let samples = [corpus::own(), corpus::xdp_tools()].concat();
    for sample in &samples {
        let Some(path) = &sample.path else { continue };
        let from_file = libbpf::Object::open_file(path).map(|object| object.table());
        let from_memory = libbpf::Object::open(&sample.name, &sample.bytes).map(|object| object.table());
        assert_eq!(from_file, from_memory, "{}", sample.origin);
    }
}

fn embedded(package: Package, at_least: usize) -> Result<(), String> {
    let samples = corpus::embedded(package);
    if samples.is_empty() {
        return corpus::missing(package);
    }
    let count = compare(&format!("embedded in {}", package.name()), &samples);
    assert!(count.objects >= at_least, "{} embeds more objects than that: {count:?}", package.name());
    assert!(count.programs >= at_least && count.maps > 0, "{count:?}");
    Ok(())
}

fn compare(what: &str, samples: &[Sample]) -> Count {
    let mut count = Count::default();
    let mut report = String::new();
    for sample in samples {
        let libbpf = libbpf::Object::open(&sample.name, &sample.bytes).map(|object| object.table());
        let ours = rows::open(&sample.name, &sample.bytes);
        let differences = match (ours, libbpf) {
            (Ok(ours), Ok(libbpf)) => {
                count.add(&libbpf);
                rows::differences(&rows::table(&ours), &libbpf)
            }
            (Err(_), Err(_)) => {
                count.refused += 1;
                continue;
            }
            // libbpf looks at all relocations when it opens, we look at a program's when we link it.
            (Ok(ours), Err(_)) if rows::link(&ours).is_err() => {
                count.refused += 1;
                continue;
            }
            (Err(error), Ok(_)) => format!("  we refuse what libbpf opens: {error}\n"),
            (Ok(_), Err(error)) => format!("  we open what libbpf refuses: {error}\n"),
        };
        if !differences.is_empty() {
            report.push_str(&format!("{}\n{differences}", sample.origin));
        }
    }
    let Count { objects, programs, maps, refused } = count;
    println!(
        "{what}: {objects} objects, {programs} programs, {maps} maps compared; {refused} objects refused by both"
    );
    assert!(report.is_empty(), "differences from libbpf:\n{report}");
    count
}

impl Count {
    fn add(&mut self, table: &Table) {
        self.objects += 1;
        self.programs += table.programs.len();
        self.maps += table.maps.len();
    }
}
