//! What is different on a terminal; `script` of util-linux makes one.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod tool;

use std::process::Command;
use std::time::Instant;

use tool::{object, ran};

/// Runs the tool on a terminal and returns everything it wrote there; `None` where there is no `script`.
fn on_terminal(variables: &str, arguments: &str) -> Option<String> {
    let line = format!("env {variables} {} {arguments}", env!("CARGO_BIN_EXE_ebpf-blocks"));
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .output();
    match output {
        Ok(output) if output.status.success() => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => panic!("{line}: {} {}", output.status, String::from_utf8_lossy(&output.stdout)),
        Err(error) => {
            println!("skipped: no terminal to test on: script: {error}");
            None
        }
    }
}

#[test]
fn colour_is_for_terminals_and_can_be_switched_off() {
    let inspect = format!("inspect {}", object("maps.bpf.o"));
    let Some(coloured) = on_terminal("", &inspect) else { return };
    assert!(coloured.contains("\x1b[1mtest_LRU_map"), "{coloured:?}");
    let plain = on_terminal("NO_COLOR=1", &inspect).expect("a terminal");
    assert!(!plain.contains('\x1b'), "{plain:?}");
    let json = on_terminal("", &format!("inspect --json {}", object("maps.bpf.o"))).expect("a terminal");
    assert!(!json.contains('\x1b'), "{json:?}");
}

#[test]
fn progress_shows_when_a_run_takes_long() {
    let run = |repeat: u64| format!("run --repeat {repeat} --json {}", object("sections.bpf.o"));
    let Some(short) = on_terminal("", &run(1)) else { return };
    assert!(!short.contains(" runs, "), "{short:?}");

    // As many runs as take some seconds, whatever machine and build this is.
    let quick = Instant::now();
    let probe = 500;
    assert_eq!(ran(&["run", "--repeat", &probe.to_string(), "--json", &object("sections.bpf.o")]).status, 0);
    let pace = quick.elapsed().as_secs_f64() / probe as f64;
    let long = (6.0 / pace) as u64;
    // The records go elsewhere: what remains on the terminal is the progress.
    let shown = on_terminal("", &format!("{} >/dev/null", run(long))).expect("a terminal");
    assert!(shown.contains(" runs, "), "{long} runs: {shown:?}");
}
