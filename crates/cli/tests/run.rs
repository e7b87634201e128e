//! `ebpf-blocks run`, driven from outside.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod tool;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use serde_json::Value;
use tool::{keys, object, ran, tool};

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} of {value} is a number"))
}

fn loaded(programs: &[Value]) -> Vec<&str> {
    let loaded = programs.iter().filter(|program| program["loaded"] == true);
    loaded.map(|program| program["name"].as_str().expect("a name")).collect()
}

/// Payloads as the kernel's rings gave them (Linux 6.18, BPF_PROG_TEST_RUN, read through libbpf): `programs/*.kernel`.
fn from_kernel(name: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(object(name)).expect("what the kernel gave");
    let pair = |line: &str| line.split_once(' ').map(|(map, data)| (map.to_owned(), data.to_owned()));
    text.lines().filter(|line| !line.starts_with('#')).map(|line| pair(line).expect("map and data")).collect()
}

fn records(ran: &tool::Ran) -> Vec<(String, String)> {
    let text = |line: &Value, key: &str| line[key].as_str().expect("text").to_owned();
    let records = ran.of_kind("record");
    for record in &records {
        assert_eq!(keys(record), ["data", "kind", "len", "map"]);
        assert_eq!(number(record, "len") * 2, text(record, "data").len() as u64);
    }
    records.iter().map(|record| (text(record, "map"), text(record, "data"))).collect()
}

#[test]
fn the_embedded_machine_gives_the_kernels_records() {
    let maps = ran(&["run", "--json", &object("maps.bpf.o")]);
    assert_eq!((maps.status, maps.stderr.as_str()), (0, ""));
    assert_eq!(records(&maps), from_kernel("maps.kernel"));
    for result in maps.of_kind("result") {
        assert_eq!(result["returned"], 0, "a test program returns how many of its steps failed: {result}");
    }
    let sections =
        ran(&["run", "--json", &object("sections.bpf.o"), "--only", "count,checksum,flood,primes_below"]);
    assert_eq!((sections.status, sections.stderr.as_str()), (0, ""));
    assert_eq!(by_map(&records(&sections)), by_map(&from_kernel("sections.kernel")));
}

/// Records of different rings have no order among each other.
fn by_map(records: &[(String, String)]) -> Vec<&(String, String)> {
    let mut sorted: Vec<_> = records.iter().collect();
    sorted.sort_by_key(|(map, _)| map);
    sorted
}

#[test]
fn only_loads_what_it_names() {
    let only = ran(&["run", "--json", &object("maps.bpf.o"), "--only", "test_maps"]);
    assert_eq!(only.status, 0);
    assert_eq!(loaded(&only.of_kind("program")), ["test_maps"]);
    let tag = "4d415053"; // MAPS
    assert!(records(&only).iter().all(|(_, data)| data.starts_with(tag)), "records of test_maps alone");
    let summary = &only.of_kind("summary")[0];
    assert_eq!((number(summary, "loaded"), number(summary, "skipped")), (1, 2));
    let skipped: u64 = only
        .of_kind("program")
        .iter()
        .filter(|program| program["loaded"] == false)
        .map(|program| number(program, "insns"))
        .sum();
    assert_eq!(number(summary, "saved_instructions"), skipped);
    let full = ran(&["run", "--json", &object("maps.bpf.o")]);
    let others = full.of_kind("program").into_iter().filter(|program| program["name"] != "test_maps");
    let memory: u64 = others.map(|program| number(&program, "memory")).sum();
    assert_eq!(number(summary, "saved_bytes"), memory, "what the two take when they are loaded");
    assert!(memory > 8 * skipped);

    let text = ran(&["run", &object("maps.bpf.o"), "--only", "test_maps"]);
    assert!(text.stdout.contains("1 program loaded, 2 skipped"), "{}", text.stdout);
    assert!(text.stdout.contains("|MAPS"), "{}", text.stdout);
    assert!(!text.stdout.contains("|LRU"), "{}", text.stdout);
}

#[test]
fn skip_leaves_out_what_it_names() {
    let skip = ran(&["run", "--json", &object("maps.bpf.o"), "--skip", "test_LRU_map", "test_maps"]);
    assert_eq!((skip.status, loaded(&skip.of_kind("program"))), (0, vec!["test_PUSH_POP_map"]));
    let both = ran(&["run", "--json", &object("maps.bpf.o"), "--only", "test_maps", "--skip", "test_maps"]);
    assert_eq!((both.status, loaded(&both.of_kind("program"))), (0, vec![]));
    assert_eq!(number(&both.of_kind("summary")[0], "records"), 0);
}

#[test]
fn a_question_mark_means_only_on_demand() {
    let plain = ran(&["run", "--json", &object("sections.bpf.o")]);
    assert_eq!(loaded(&plain.of_kind("program")), ["count", "checksum", "primes_below"]);
    let asked = ran(&["run", "--json", &object("sections.bpf.o"), "--only", "flood"]);
    assert_eq!(loaded(&asked.of_kind("program")), ["flood"]);
}

#[test]
fn a_full_ring_is_counted_as_refused() {
    let flood = ran(&["run", "--json", &object("sections.bpf.o"), "--only", "flood", "--repeat", "3"]);
    assert_eq!(flood.status, 0);
    // The program counts its own refusals and returns them.
    let result = &flood.of_kind("result")[0];
    let refused = number(result, "returned");
    assert!(refused > 0);
    let summary = &flood.of_kind("summary")[0];
    assert_eq!(number(summary, "refused"), 3 * refused);
    assert_eq!(number(summary, "records"), 3 * (128 - refused) + 3, "what was not refused came out");
    let text = ran(&["run", &object("sections.bpf.o"), "--only", "flood"]);
    assert!(text.stdout.contains(&format!("{refused} refused")), "{}", text.stdout);
}

#[test]
fn repeat_runs_again_with_what_the_maps_hold() {
    let count = ran(&["run", "--json", &object("sections.bpf.o"), "--only", "count", "--repeat", "3"]);
    let runs: Vec<String> = records(&count).iter().map(|(_, data)| data[16..18].to_owned()).collect();
    assert_eq!(runs, ["01", "01", "02", "02", "03", "03"], "`.bss` outlives a run");
    let none = ran(&["run", "--json", &object("sections.bpf.o"), "--repeat", "0"]);
    assert_eq!((none.status, records(&none).len()), (0, 0));
}

#[test]
fn the_summary_adds_up() {
    let maps = ran(&["run", "--json", &object("maps.bpf.o"), "--repeat", "5"]);
    let records = records(&maps);
    let summary = &maps.of_kind("summary")[0];
    assert_eq!(number(summary, "records"), records.len() as u64);
    assert_eq!(number(summary, "bytes"), records.iter().map(|(_, data)| data.len() as u64 / 2).sum::<u64>());
    assert_eq!(number(summary, "discarded"), 10, "test_PUSH_POP_map discards two records in each run");
    assert_eq!((number(summary, "refused"), number(summary, "skipped")), (0, 0));
    assert!(number(summary, "wakeups") >= 15, "each verdict forces one");
}

#[test]
fn unknown_names_are_wrong_usage_and_the_known_are_listed() {
    for option in ["--only", "--skip"] {
        let unknown = ran(&["run", &object("maps.bpf.o"), option, "test_map"]);
        assert_eq!((unknown.status, unknown.stdout.as_str()), (2, ""));
        assert_eq!(unknown.stderr.lines().count(), 1);
        for word in ["`test_map`", "test_LRU_map", "test_PUSH_POP_map", "test_maps"] {
            assert!(unknown.stderr.contains(word), "{word}: {}", unknown.stderr);
        }
        let json = ran(&["run", "--json", &object("maps.bpf.o"), option, "test_map"]);
        assert_eq!((json.status, json.of_kind("error").len(), json.lines().len()), (2, 1, 1));
    }
    // A subprogram is not a program.
    assert_eq!(ran(&["run", &object("sections.bpf.o"), "--only", "gcd"]).status, 2);
}

/// A copy of `maps.bpf.o` with one instruction of a program replaced, in a directory that lives as long as the result.
fn patched(program: &str, index: usize, instruction: [u8; 8]) -> (tempfile::TempDir, String) {
    let mut bytes = std::fs::read(object("maps.bpf.o")).expect("the object");
    let at = {
        let file: ebpf_loader::ObjectFile<'_> = ebpf_loader::ObjectFile::open(&bytes).expect("an object");
        let code = file.program(program).expect("the program").instruction_bytes();
        code.as_ptr().addr() - bytes.as_ptr().addr() + 8 * index
    };
    bytes[at..at + 8].copy_from_slice(&instruction);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("maps.bpf.o");
    std::fs::write(&path, bytes).expect("a file");
    let path = path.to_string_lossy().into_owned();
    (directory, path)
}

#[test]
fn a_fault_names_program_and_instruction_and_the_others_still_run() {
    // r0 = *(u64 *)(r1 + 4096): beyond the context. The second instruction of the program.
    let (_directory, path) = patched("test_PUSH_POP_map", 1, [0x79, 0x10, 0, 0x10, 0, 0, 0, 0]);
    let json = ran(&["run", "--json", &path, "--repeat", "2"]);
    assert_eq!(json.status, 1);
    let faults = json.of_kind("fault");
    assert_eq!(faults.len(), 1);
    assert_eq!(keys(&faults[0]), ["error", "instruction", "kind", "name", "run"]);
    assert_eq!(faults[0]["name"], "test_PUSH_POP_map");
    assert_eq!((number(&faults[0], "instruction"), number(&faults[0], "run")), (1, 1));
    let results = json.of_kind("result");
    let names: Vec<_> = results.iter().map(|result| result["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["test_LRU_map", "test_maps"]);
    assert_eq!(json.of_kind("summary").len(), 1);

    let text = ran(&["run", &path]);
    assert_eq!(text.status, 1);
    assert_eq!(text.stderr.lines().count(), 1, "{}", text.stderr);
    assert!(
        text.stderr.contains("test_PUSH_POP_map") && text.stderr.contains("instruction 1:"),
        "{}",
        text.stderr
    );
    assert!(text.stdout.contains("3 programs loaded"), "{}", text.stdout);
}

#[test]
fn a_loop_without_end_is_ended_by_the_budget() {
    // goto -1: the instruction jumps to itself.
    let (_directory, path) = patched("test_LRU_map", 0, [0x05, 0, 0xff, 0xff, 0, 0, 0, 0]);
    let looping = ran(&["run", &path, "--only", "test_LRU_map"]);
    assert_eq!(looping.status, 1);
    assert!(looping.stderr.contains("budget"), "{}", looping.stderr);
}

#[test]
fn a_program_that_cannot_be_loaded_fails_alone_when_it_is_skipped() {
    // An opcode that no instruction has.
    let (_directory, path) = patched("test_LRU_map", 0, [0xff, 0, 0, 0, 0, 0, 0, 0]);
    let all = ran(&["run", "--json", &path]);
    assert_eq!((all.status, all.lines().len(), all.of_kind("error").len()), (1, 1, 1), "all or nothing");
    assert!(all.stderr.contains("test_LRU_map") && all.stderr.contains("instruction 0"), "{}", all.stderr);
    let without = ran(&["run", "--json", &path, "--skip", "test_LRU_map"]);
    assert_eq!((without.status, without.stderr.as_str()), (0, ""));
    assert_eq!(without.of_kind("result").len(), 2);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = tool()
        .args(["run", &object("sections.bpf.o"), "--only", "flood", "--repeat", "100000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut first).expect("a line");
    // The pipe is closed here.
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
    assert_eq!((child.wait().expect("the end").code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn large_repeat_counts_need_no_memory() {
    let peak = |repeat: &str| {
        let script = format!(
            "{} run {} --repeat {repeat} >/dev/null & wait $!; true",
            env!("CARGO_BIN_EXE_ebpf-blocks"),
            object("sections.bpf.o"),
        );
        // Highest resident set of waited-for children, in KiB.
        let python = "import resource,subprocess,sys; subprocess.run(['sh','-c',sys.argv[1]],check=True); \
                      print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
        let output = std::process::Command::new("python3").args(["-c", python, &script]).output();
        let output = output.ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()?.trim().parse::<u64>().ok()
    };
    let (Some(few), Some(many)) = (peak("1"), peak("3000")) else {
        println!("skipped: no python3 to measure with");
        return;
    };
    assert!(many < few + 1024, "{few} KiB for one run, {many} KiB for 3000");
}
