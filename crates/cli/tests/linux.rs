//! `ebpf-blocks run --platform linux` and `doctor`, driven from outside, on the running kernel.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod tool;

use std::process::Command;

use serde_json::{Value, json};
use tool::{Ran, keys, object, ran};

/// Whether `doctor` says that programs can be loaded here; says why not otherwise, which in CI is a failure.
fn is_ready() -> bool {
    let doctor = ran(&["doctor", "--json"]);
    if doctor.status == 0 {
        return true;
    }
    let nos: Vec<Value> = doctor
        .of_kind("check")
        .into_iter()
        .filter(|check| check["required"] == true && check["ok"] == false)
        .collect();
    assert!(std::env::var_os("CI").is_none(), "programs cannot be loaded here: {nos:?}");
    println!("skipped: {}", nos[0]["found"]);
    false
}

fn on_kernel(arguments: &[&str]) -> Ran {
    let mut all = vec!["run", "--json", "--platform", "linux"];
    all.extend(arguments);
    ran(&all)
}

fn records(ran: &Ran) -> Vec<String> {
    let line = |record: &Value| {
        format!("{} {}", record["map"].as_str().expect("a map"), record["data"].as_str().expect("data"))
    };
    ran.of_kind("record").iter().map(line).collect()
}

#[test]
fn the_kernel_gives_the_records_that_the_machine_gives() {
    if !is_ready() {
        return;
    }
    let maps = on_kernel(&[&object("maps.bpf.o")]);
    assert_eq!((maps.status, maps.stderr.as_str()), (0, ""));
    let expected = std::fs::read_to_string(object("maps.kernel")).expect("what the kernel gave");
    let expected: Vec<&str> = expected.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(records(&maps), expected);
    assert_eq!(records(&maps), records(&ran(&["run", "--json", &object("maps.bpf.o")])));
    for result in maps.of_kind("result") {
        assert_eq!((&result["returned"], &result["runs"]), (&json!(0), &json!(1)));
        assert_eq!(keys(&result), ["kind", "name", "returned", "runs"], "the kernel counts no instructions");
    }
    let twice = on_kernel(&[&object("maps.bpf.o"), "--only", "test_maps", "--repeat", "2"]);
    assert_eq!(records(&twice).len(), 48);
}

#[test]
fn of_three_programs_one_is_in_the_kernel() {
    if !is_ready() {
        return;
    }
    let one = on_kernel(&[&object("maps.bpf.o"), "--only", "test_maps"]);
    assert_eq!((one.status, one.stderr.as_str()), (0, ""));
    let programs = one.of_kind("program");
    let [lru, push_pop, maps] = &programs[..] else { panic!("three programs: {programs:?}") };
    for skipped in [lru, push_pop] {
        assert_eq!((&skipped["loaded"], &skipped["kernel"]), (&json!(false), &Value::Null));
    }
    let kernel = &maps["kernel"];
    assert_eq!(keys(kernel), ["descriptor", "id", "jited", "memory", "verified"]);
    assert!(
        kernel["memory"].as_u64().expect("bytes") > 0 && kernel["verified"].as_u64().expect("a number") > 100
    );
    // What the kernel itself says: one program uses these maps, and this process has one descriptor of a program.
    let summary = &one.of_kind("summary")[0];
    let only = json!([kernel["id"]]);
    assert_eq!(summary["held"]["program_descriptors"], only);
    assert!(summary["held"]["programs_in_kernel"] == only || summary["held"]["programs_in_kernel"].is_null());
    assert_eq!(summary["held"]["map_descriptors"].as_array().expect("numbers").len(), 6);
    assert_eq!(
        (&summary["loaded"], &summary["skipped"], &summary["saved_instructions"]),
        (&json!(1), &json!(2), &json!(1088))
    );
    let cost = |which: &str, field: &str| summary[which][field].as_u64().expect("a number");
    assert_eq!((cost("chosen", "programs"), cost("all", "programs")), (1, 3));
    assert!(cost("chosen", "load_microseconds") > 0 && cost("all", "load_microseconds") > 0);
    // The same maps; two programs more, of at least a page each.
    assert!(
        cost("all", "locked_bytes")
            >= cost("chosen", "locked_bytes") + 2 * kernel["memory"].as_u64().expect("bytes")
    );

    let text = ran(&["run", "--platform", "linux", &object("maps.bpf.o"), "--only", "test_maps"]);
    for part in [
        "skipped  test_LRU_map (xdp, 373 instructions): no id, no descriptor, no memory",
        "1 program loaded, 2 skipped",
        "LOCKED MEMORY",
    ] {
        assert!(text.stdout.contains(part), "{part}: {}", text.stdout);
    }
}

/// A copy of an object in which the first instruction of a program reads a register that nobody has set.
fn refused(program: &str) -> (tempfile::TempDir, String) {
    let mut bytes = std::fs::read(object("maps.bpf.o")).expect("the object");
    let at = {
        let file: ebpf_loader::ObjectFile<'_> = ebpf_loader::ObjectFile::open(&bytes).expect("an object");
        let code = file.program(program).expect("the program").instruction_bytes();
        code.as_ptr().addr() - bytes.as_ptr().addr()
    };
    bytes[at..at + 8].copy_from_slice(&[0xbf, 0x50, 0, 0, 0, 0, 0, 0]);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("maps.bpf.o");
    std::fs::write(&path, bytes).expect("a file");
    let path = path.to_string_lossy().into_owned();
    (directory, path)
}

#[test]
fn a_program_that_the_verifier_refuses_is_one_line_and_harms_nobody_when_it_is_off() {
    if !is_ready() {
        return;
    }
    let (_directory, path) = refused("test_LRU_map");
    let all = on_kernel(&[&path]);
    assert_eq!((all.status, all.lines().len(), all.stderr.lines().count()), (1, 1, 1), "all or nothing");
    for part in ["test_LRU_map", "BPF_PROG_LOAD", "R5 !read_ok"] {
        assert!(all.stderr.contains(part), "{part}: {}", all.stderr);
    }
    let without = on_kernel(&[&path, "--skip", "test_LRU_map"]);
    assert_eq!((without.status, without.of_kind("result").len()), (0, 2));
    let summary = &without.of_kind("summary")[0];
    assert!(
        summary["all"].is_null() && summary["all_error"].as_str().expect("why").contains("R5 !read_ok"),
        "{summary}"
    );
    assert_eq!(summary["chosen"]["programs"], 2);
}

#[test]
fn wrong_names_are_wrong_usage_there_too() {
    let unknown = ran(&["run", "--platform", "linux", &object("maps.bpf.o"), "--only", "test_map"]);
    assert_eq!((unknown.status, unknown.stdout.as_str()), (2, ""));
    assert_eq!(ran(&["run", "--platform", "windows", &object("maps.bpf.o")]).status, 2);
}

#[test]
fn doctor_answers_every_question_and_says_what_to_do_about_each_no() {
    let doctor = ran(&["doctor", "--json"]);
    assert_eq!(doctor.stderr, "");
    let checks = doctor.of_kind("check");
    for check in &checks {
        assert_eq!(keys(check), ["advice", "found", "kind", "name", "ok", "required"]);
        assert_ne!(check["found"], "", "{check}");
        assert_eq!(check["ok"] == true, check["advice"] == "", "{check}");
    }
    let names: Vec<&str> = checks.iter().map(|check| check["name"].as_str().expect("a name")).collect();
    for name in
        ["bpf(2)", "kernel types", "tracefs", "perf events", "unprivileged use", "locked memory", "CPUs"]
    {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let summary = &doctor.of_kind("summary")[0];
    let ready = checks.iter().all(|check| check["ok"] == true || check["required"] == false);
    assert_eq!((&summary["ready"], doctor.status), (&json!(ready), i32::from(!ready)));
    let nos: Vec<&Value> =
        checks.iter().filter(|check| check["ok"] == false).map(|check| &check["name"]).collect();
    assert_eq!(summary["missing"], json!(nos));

    let text = ran(&["doctor"]);
    assert_eq!(text.status, doctor.status);
    let answers = text.stdout.lines().filter(|line| line.starts_with("yes ") || line.starts_with("no "));
    assert_eq!(answers.count(), checks.len());
}

#[test]
fn without_rights_both_say_which_and_fail() {
    let unprivileged = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.arg("--bounding-set=-bpf,-sys_admin,-perfmon,-net_admin").arg("--");
        command.arg(env!("CARGO_BIN_EXE_ebpf-blocks")).args(arguments);
        command.output()
    };
    let output = match unprivileged(&["doctor", "--json"]) {
        Ok(output) if output.status.code() == Some(127) || !output.stderr.is_empty() => {
            println!("skipped: {}", String::from_utf8_lossy(&output.stderr));
            return;
        }
        Ok(output) => output,
        Err(error) => {
            println!("skipped: setpriv: {error}");
            return;
        }
    };
    // Where anybody may load programs this shows nothing, and that is fine.
    if std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled")
        .is_ok_and(|value| value.trim() == "0")
    {
        println!("skipped: unprivileged_bpf_disabled is 0");
        return;
    }
    assert_eq!(output.status.code(), Some(1));
    let lines = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let named = |name: &str| lines.iter().find(|line| line["name"] == name).expect("the check");
    assert_eq!((&named("bpf(2)")["ok"], &named("capabilities")["ok"]), (&json!(false), &json!(false)));
    assert!(
        named("bpf(2)")["found"].as_str().expect("text").ends_with("this process lacks CAP_BPF"),
        "{}",
        named("bpf(2)")
    );
    assert!(named("bpf(2)")["advice"].as_str().expect("text").contains("setcap"));
    assert_eq!(lines.last().expect("a summary")["ready"], false);

    let run = unprivileged(&["run", "--platform", "linux", &object("maps.bpf.o")]).expect("setpriv");
    let message = String::from_utf8(run.stderr).expect("text");
    assert_eq!((run.status.code(), message.lines().count()), (Some(1), 1), "{message}");
    assert!(message.contains("lacks CAP_BPF") && message.contains("doctor"), "{message}");
    // The embedded machine needs none of it.
    let run = unprivileged(&["run", &object("maps.bpf.o")]).expect("setpriv");
    assert_eq!(run.status.code(), Some(0));
}
