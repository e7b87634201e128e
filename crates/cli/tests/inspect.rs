//! `ebpf-blocks inspect`, driven from outside.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod tool;

use serde_json::json;
use tool::{keys, object, ran};

#[test]
fn programs_and_maps_are_listed_in_the_objects_order() {
    let maps = ran(&["inspect", &object("maps.bpf.o")]);
    assert_eq!((maps.status, maps.stderr.as_str()), (0, ""));
    let first_words: Vec<&str> =
        maps.stdout.lines().filter_map(|line| line.split_whitespace().next()).skip(1).collect();
    assert_eq!(
        first_words,
        [
            "PROGRAM",
            "test_LRU_map",
            "test_PUSH_POP_map",
            "test_maps",
            "SUBPROGRAM",
            "expect",
            "finish",
            "MAP",
            "lru",
            "queue",
            "stack",
            "events",
            "array",
            "hash"
        ]
    );
}

#[test]
fn nothing_but_text_goes_into_a_pipe() {
    let sections = ran(&["inspect", &object("sections.bpf.o")]);
    assert!(!sections.stdout.contains('\x1b'), "{}", sections.stdout);
    assert!(sections.stdout.lines().all(|line| line == line.trim_end()), "no blanks at the end of a line");
}

#[test]
fn json_has_the_promised_shapes() {
    let path = object("sections.bpf.o");
    let sections = ran(&["inspect", "--json", &path]);
    assert_eq!(sections.status, 0);
    let programs = sections.of_kind("program");
    assert_eq!(
        programs[2],
        json!({
            "kind": "program", "object": path, "name": "flood", "section": "xdp", "type": 6, "type_name": "xdp",
            "attach": 37, "autoload": false, "insns": programs[2]["insns"], "linked": programs[2]["insns"],
            "maps": ["narrow", "events"], "calls": [], "callbacks": [], "externs": [], "core": 0,
        })
    );
    assert!(programs[2]["insns"].as_u64().expect("a number") > 10);
    let names: Vec<_> = programs.iter().map(|program| program["name"].as_str().expect("a name")).collect();
    assert_eq!(
        names,
        ["count", "checksum", "flood", "primes_below"],
        "subprograms of .text are not programs"
    );
    let maps = sections.of_kind("map");
    assert_eq!(
        maps[0],
        json!({
            "kind": "map", "object": path, "name": "narrow", "type": 27, "key_size": 0, "value_size": 0,
            "max_entries": 4096, "flags": 0, "autocreate": true,
        })
    );
    let names: Vec<_> = maps.iter().map(|map| map["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["narrow", "events", "sections.rodata", "sections.data", "sections.bss"]);
}

#[test]
fn each_program_says_what_it_refers_to() {
    let path = object("sections.bpf.o");
    let programs = ran(&["inspect", "--json", &path]).of_kind("program");
    assert_eq!(programs[1]["calls"], json!(["mix_primes", "mix", "gcd"]));
    assert_eq!(programs[1]["maps"], json!(["sections.bss", "sections.rodata", "sections.data", "events"]));
    let linked = |index: usize| programs[index]["linked"].as_u64().expect("a number");
    let subprograms = ran(&["inspect", "--json", &path]).of_kind("subprogram");
    let rows: Vec<_> =
        subprograms.iter().map(|row| (row["name"].clone(), row["linked_into"].clone())).collect();
    assert_eq!(
        rows,
        [
            (json!("gcd"), json!(["count", "checksum"])),
            (json!("mix_primes"), json!(["checksum"])),
            (json!("mix"), json!(["checksum"])),
        ]
    );
    let all: u64 = subprograms.iter().map(|row| row["insns"].as_u64().expect("a number")).sum();
    assert_eq!(linked(1), programs[1]["insns"].as_u64().expect("a number") + all);
    let text = ran(&["inspect", &path]).stdout;
    let row = text.lines().find(|line| line.trim_start().starts_with("flood")).expect("the program's row");
    assert!(row.ends_with("narrow, events"), "{row}");
}

#[test]
fn what_an_object_needs_of_a_kernel_is_said() {
    let path = format!("{}/../progtable/tests/objects/externs.bpf.o", env!("CARGO_MANIFEST_DIR"));
    let inspected = ran(&["inspect", "--json", &path]);
    assert_eq!(inspected.status, 0, "needing something is no error");
    let needs: Vec<_> = inspected
        .of_kind("need")
        .iter()
        .map(|need| format!("{} {} {} {}", need["what"], need["name"], need["weak"], need["programs"]))
        .collect();
    let text = needs.join("\n");
    assert!(text.contains("\"kconfig\""), "{text}");
    assert!(text.contains("\"core\" \"kernel types\" false [\"field\"]"), "{text}");
    let table = ran(&["inspect", &path]).stdout;
    assert!(table.contains("NEEDS") && table.contains("CO-RE layout, in 1 places"), "{table}");
    // An object that needs nothing says nothing.
    assert!(ran(&["inspect", "--json", &object("maps.bpf.o")]).of_kind("need").is_empty());
}

#[test]
fn the_cost_of_loading_is_what_loading_then_takes() {
    let path = object("sections.bpf.o");
    let inspected = ran(&["inspect", "--json", "--cost", &path]);
    let costs = inspected.of_kind("cost");
    assert_eq!(costs.len(), 1);
    let programs = inspected.of_kind("program");
    let sum = |field: &str, autoload: bool| -> u64 {
        let chosen = programs.iter().filter(|program| program["autoload"] == autoload);
        chosen.map(|program| program["cost"][field].as_u64().expect("a number")).sum()
    };
    for field in ["insns", "relocations", "image_bytes", "memory_bytes"] {
        assert_eq!(costs[0]["load"][field], sum(field, true), "{field}");
        assert_eq!(costs[0]["saved"][field], sum(field, false), "{field}");
        assert!(sum(field, true) > sum(field, false) && sum(field, false) > 0, "{field}");
    }
    // The same figures that a run has: what is loaded takes what was said.
    for program in ran(&["run", "--json", &path]).of_kind("program") {
        let said = programs.iter().find(|said| said["name"] == program["name"]).expect("the same programs");
        assert_eq!(program["insns"], said["cost"]["insns"]);
        if program["loaded"] == true {
            assert_eq!(program["memory"], said["cost"]["memory_bytes"], "{program}");
        }
    }
    let text = ran(&["inspect", "--cost", &path]).stdout;
    assert!(text.contains("COST OF") && text.contains("no: saved"), "{text}");
    assert!(!ran(&["inspect", &path]).stdout.contains("COST OF"));
}

#[test]
fn sections_are_told_by_the_table_that_is_asked_for() {
    let types = |arguments: &[&str]| {
        let path = object("sections.bpf.o");
        let inspected = ran(&[&["inspect", "--json", &path], arguments].concat());
        let programs = inspected.of_kind("program");
        programs.iter().map(|program| program["type"].as_u64().expect("a number")).collect::<Vec<_>>()
    };
    const WINDOWS: u64 = 1 << 31;
    assert_eq!(types(&[]), [3, 3, 6, 31]);
    assert_eq!(types(&["--table", "linux"]), types(&[]));
    assert_eq!(types(&["--table", "windows"]), [0, 0, WINDOWS | 1, 0]);
    assert_eq!(ran(&["inspect", "--table", "plan9", &object("maps.bpf.o")]).status, 2);
}

#[test]
fn a_bad_file_is_reported_and_the_others_are_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let good = object("maps.bpf.o");
    let bytes = std::fs::read(&good).expect("the object");
    let make = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let empty = make("empty.o", &[]);
    let truncated = make("truncated.o", &bytes[..bytes.len() / 2]);
    let header = make("header.o", &bytes[..64]);
    let stub = make("stub.o", b"\x7fELF");
    let text = make("text.o", b"int main(void) { return 0; }\n");
    let here = directory.path().to_string_lossy().into_owned();
    let missing = directory.path().join("missing.o").to_string_lossy().into_owned();
    // A foreign ELF file: this very tool.
    let foreign = env!("CARGO_BIN_EXE_ebpf-blocks");
    let bad =
        [&*empty, &truncated, &header, &stub, &text, &here, &missing, "/dev/null", "/dev/zero", foreign];
    for path in bad {
        for json in [false, true] {
            let mut arguments = vec!["inspect", path, &good];
            arguments.extend(json.then_some("--json"));
            let both = ran(&arguments);
            assert_eq!(both.status, 1, "{path}");
            assert_eq!(both.stderr.lines().count(), 1, "{path}: one line: {}", both.stderr);
            assert!(both.stderr.starts_with(&format!("error: {path}: ")), "{}", both.stderr);
            assert!(both.stdout.contains("test_LRU_map"), "the good one is shown all the same");
            if json {
                let errors = both.of_kind("error");
                assert_eq!(errors.len(), 1);
                assert_eq!(keys(&errors[0]), ["error", "kind", "object"]);
                assert_eq!(errors[0]["object"], path);
            }
            // The same file given to `run`.
            let run = ran(&["run", path]);
            assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{path}");
            assert_eq!(run.stderr.lines().count(), 1, "{path}: {}", run.stderr);
        }
    }
}

#[test]
fn wrong_usage_is_status_2() {
    for arguments in [&["inspect"][..], &[], &["inspect", "--jason", "x.o"], &["frobnicate"], &["run"]] {
        let wrong = ran(arguments);
        assert_eq!((wrong.status, wrong.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(wrong.stderr.contains("Usage"), "{}", wrong.stderr);
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for arguments in [&["--help"][..], &["--version"], &["inspect", "--help"], &["run", "--help"]] {
        let asked = ran(arguments);
        assert_eq!((asked.status, asked.stderr.as_str()), (0, ""), "{arguments:?}");
    }
}
