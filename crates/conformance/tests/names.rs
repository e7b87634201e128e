//! Names: every section name stands for the same types, every type has the same name.
#![cfg(target_os = "linux")]
#![allow(clippy::arithmetic_side_effects, reason = "a test: what goes wrong here is to stop it")]

use ebpf_conformance::libbpf;
use ebpf_progtable::{MapKind, ProgramKind, SectionKind};

/// Rows that came with libbpf 1.8; the oracle is 1.7.
const NEWER: [&str; 11] = [
    "fentry.multi",
    "fentry.multi.s",
    "fexit.multi",
    "fexit.multi.s",
    "fsession.multi",
    "fsession.multi.s",
    "raw_tp.s",
    "raw_tracepoint.s",
    "tp.s",
    "tp_btf.s",
    "tracepoint.s",
];

#[test]
fn sections() {
    let mut compared = 0;
    let mut differences = Vec::new();
    for row in SectionKind::all() {
        let name = row.name().trim_end_matches(['+', '/']);
        for spelling in [
            name.to_owned(),
            format!("{name}/"),
            format!("{name}/target"),
            format!("{name}x"),
            format!("x{name}"),
        ] {
            if NEWER.iter().any(|newer| spelling == *newer || spelling.starts_with(&format!("{newer}/"))) {
                continue;
            }
            let ours = SectionKind::find(&spelling).map(|kind| (kind.kind().0, kind.expected_attach_type()));
            let libbpf = libbpf::section_kind(&spelling);
            compared += 1;
            if ours != libbpf {
                differences.push(format!("{spelling}: ours {ours:?}, libbpf {libbpf:?}"));
            }
        }
    }
    println!("{} rows, {compared} section names compared", SectionKind::all().len());
    assert!(compared > 500, "{compared}");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn types() {
    let mut compared = 0;
    for number in 0..64 {
        let known = libbpf::program_type_name(number);
        assert_eq!(
            ProgramKind(number).type_name(),
            known.as_deref().unwrap_or("unknown"),
            "program type {number}"
        );
        compared += usize::from(known.is_some());
        let known = libbpf::map_type_name(number);
        assert_eq!(MapKind(number).type_name(), known.as_deref().unwrap_or("unknown"), "map type {number}");
        compared += usize::from(known.is_some());
    }
    println!("{compared} type names compared");
    assert!(compared > 60, "{compared}");
}
