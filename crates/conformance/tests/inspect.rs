//! The tool: what `ebpf-blocks inspect --json` prints is what libbpf says.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test: what goes wrong here is to stop it"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use ebpf_conformance::corpus::{self, Package};
use ebpf_conformance::libbpf;
use serde_json::{Value, json};

#[test]
fn inspect_json() -> Result<(), String> {
    let mut samples = corpus::own();
    let shipped = corpus::xdp_tools();
    if shipped.is_empty() {
        corpus::missing(Package::XdpTools)?;
    }
    samples.extend(shipped);
    let paths: Vec<_> = samples.iter().filter_map(|sample| sample.path.as_deref()).collect();
    let printed = inspect(&paths);
    let (mut programs, mut maps) = (0, 0);
    for path in paths {
        let Ok(object) = libbpf::Object::open_file(path) else { continue };
        let table = object.table();
        let of_kind = |kind: &str| -> Vec<&Value> {
            printed.iter().filter(|line| line["kind"] == kind && is_of(line, path)).collect()
        };
        let expected: Vec<_> = table
            .programs
            .iter()
            .map(|row| {
                json!({
                    "name": row.name,
                    "section": row.section,
                    "type": row.kind,
                    "type_name": libbpf::program_type_name(row.kind),
                    "attach": row.expected_attach_type,
                    "autoload": row.autoload,
                    "insns": row.instructions,
                })
            })
            .collect();
        assert_lines(&of_kind("program"), &expected, path);
        programs += expected.len();
        let expected: Vec<_> = table
            .maps
            .iter()
            .map(|row| {
                json!({
                    "name": row.name,
                    "type": row.kind,
                    "key_size": row.key_size,
                    "value_size": row.value_size,
                    "max_entries": row.max_entries,
                    "flags": row.flags,
                })
            })
            .collect();
        assert_lines(&of_kind("map"), &expected, path);
        maps += expected.len();
    }
    println!("inspect --json: {programs} programs and {maps} maps of {} objects compared", samples.len());
    assert!(programs > 0 && maps > 0, "there is something to compare");
    Ok(())
}

/// Every expected field is printed with that value, line by line; more fields may be printed.
fn assert_lines(printed: &[&Value], expected: &[Value], path: &Path) {
    assert_eq!(printed.len(), expected.len(), "{}: {printed:#?}", path.display());
    for (printed, expected) in printed.iter().zip(expected) {
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(printed.get(field), Some(value), "{}: {field} of {printed}", path.display());
        }
    }
}

fn is_of(line: &Value, path: &Path) -> bool {
    line["object"].as_str().is_some_and(|object| Path::new(object) == path)
}

fn inspect(paths: &[&Path]) -> Vec<Value> {
    let output = Command::new(tool()).args(["inspect", "--json"]).args(paths).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

/// Builds the tool, and asks cargo where it put it.
fn tool() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--package",
            "ebpf-blocks",
            "--bin",
            "ebpf-blocks",
            "--message-format=json",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo says where the executable is")
}
