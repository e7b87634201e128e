//! `ebpf-blocks ring`, on rings of the running kernel that another process (this one) has filled.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod tool;

use ebpf_linux::{Linux, TestRun};
use ebpf_loader::{Instruction, Object};
use serde_json::json;
use tool::ran;

#[test]
fn a_ring_in_use_is_looked_at_and_then_read() {
    let path = tool::object("maps.bpf.o");
    let bytes = std::fs::read(&path).expect("the object");
    let object: Object = Object::open_named("maps.bpf.o", &bytes).expect("an object");
    for program in ["test_LRU_map", "test_PUSH_POP_map"] {
        object.set_autoload(program, false).expect("before the load");
    }
    let mut scratch = vec![Instruction::default(); object.scratch_len().expect("sound programs")];
    let mut loaded = object.on(&Linux);
    if let Err(error) = loaded.load(&mut scratch) {
        assert!(std::env::var_os("CI").is_none(), "{error}");
        return println!("skipped: {error}");
    }
    let id = loaded.map("events").expect("the ring").info().expect("its number").id.to_string();
    let state = || ran(&["ring", &id, "--json"]).of_kind("ring").pop().expect("a state");

    let before = state();
    assert_eq!((&before["name"], &before["unread"]), (&json!("events"), &json!(0)));
    let mut context = [0; 64];
    let run = TestRun { context: &mut context, ..Default::default() };
    loaded.program("test_maps").expect("loaded").test_run(run).expect("it runs");

    // Looking changes nothing, also when it is done twice.
    let full = state();
    assert_eq!((&full, &full["consumer"]), (&state(), &json!(0)));
    assert_eq!(full["unread"], full["producer"]);
    assert!(full["unread"].as_u64() > Some(0), "{full}");
    let text = ran(&["ring", &id]);
    assert_eq!(text.status, 0, "{}", text.stderr);
    assert!(text.stdout.contains(&format!("{} unread", full["unread"])), "{}", text.stdout);

    // What is taken is what the same program writes elsewhere, in order, and once.
    let embedded = ran(&["run", "--json", &path, "--only", "test_maps"]).of_kind("record");
    let first = ran(&["ring", &id, "--read", "--limit", "2", "--json"]);
    let rest = ran(&["ring", &id, "--read", "--json"]);
    assert_eq!((first.of_kind("record").len(), first.status, rest.status), (2, 0, 0));
    assert_eq!([first.of_kind("record"), rest.of_kind("record")].concat(), embedded);
    assert_eq!(rest.of_kind("taken")[0]["records"], json!(embedded.len() - 2));
    assert_eq!((&state()["unread"], &state()["producer"]), (&json!(0), &full["producer"]));
}

#[test]
fn what_is_no_ring_is_said() {
    let unknown = ran(&["ring", "4294967295", "--json"]);
    assert_eq!((unknown.status, unknown.of_kind("error").len()), (1, 1), "{}", unknown.stderr);
    let nowhere = ran(&["ring", "/sys/fs/bpf/there-is-no-such-ring"]);
    assert_eq!((nowhere.status, nowhere.stderr.lines().count()), (1, 1), "{}", nowhere.stderr);
    assert_eq!(ran(&["ring", "1", "--limit", "2"]).status, 2, "a limit without --read");
}
