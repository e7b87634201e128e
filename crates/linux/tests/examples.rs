//! The examples do what they say, on the running kernel.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics fails, which is what it is for"
)]

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::{lacks, with_mount};
use ebpf_linux::{LinuxProgram, ids};

/// Where an example was built; `None` with a note where it was not, as by a `cargo test` of one test alone.
fn built(name: &str) -> Option<PathBuf> {
    let tests = std::env::current_exe().unwrap();
    let example = tests.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    if example.exists() {
        return Some(example);
    }
    assert!(std::env::var_os("CI").is_none(), "{} was not built", example.display());
    println!("skipped: {} was not built", example.display());
    None
}

/// Whether the output says that rights are missing, which in CI is a failure.
fn lacks_rights(message: &str) -> bool {
    let lacks = message.contains("lacks CAP_") && std::env::var_os("CI").is_none();
    if lacks {
        println!("skipped: {message}");
    }
    lacks
}

fn texts(output: Output) -> (String, String) {
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_example_follows_the_loopback_interface() {
    let Some(example) = built("follow") else { return };
    let output = Command::new(example).output().unwrap();
    let succeeded = output.status.success();
    let (printed, message) = texts(output);
    if message.contains("Linux 6.6") {
        return lacks(message);
    }
    if lacks_rights(&message) {
        return;
    }
    assert!(succeeded, "{message}");
    let (first, last) = (printed.lines().next().unwrap(), printed.lines().last().unwrap());
    assert!(first.starts_with("  24 bytes: [50, 55, 53, 48, 01"), "{printed}");
    // 27 for each packet; other people's come by too.
    let records: u32 = last.strip_suffix(" records").unwrap().parse().unwrap();
    assert!(records >= 1, "{printed}");
}

/// The watching tool at work. Ended when dropped.
struct Watching {
    process: Child,
    lines: Receiver<String>,
}

impl Watching {
    fn start(example: &Path, kinds: &[&str]) -> Self {
        let mut process =
            Command::new(example).args(kinds).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { process, lines }
    }

    /// The next line, or what the tool has to say for its end.
    fn line(&mut self) -> Result<String, String> {
        // The limit is there for what never comes.
        self.lines.recv_timeout(Duration::from_secs(20)).map_err(|_| {
            drop(self.process.kill());
            let mut message = String::new();
            drop(std::io::Read::read_to_string(&mut self.process.stderr.take().unwrap(), &mut message));
            format!("no line any more; {message}")
        })
    }

    /// The first line that contains all these.
    fn line_with(&mut self, parts: &[&str]) -> String {
        loop {
            let line = self.line().unwrap_or_else(|error| panic!("{parts:?}: {error}"));
            if parts.iter().all(|part| line.contains(part)) {
                return line;
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Names of all programs in the kernel.
fn programs() -> Vec<String> {
    let info = |id| LinuxProgram::open_id(id).and_then(|program| program.info());
    ids::programs().unwrap().into_iter().filter_map(|id| Some(info(id).ok()?.name)).collect()
}

#[test]
fn the_tool_sees_programs_start_and_files_opened_and_only_what_it_is_asked_for() {
    let Some(example) = built("watch") else { return };
    let directory = tempfile::tempdir().unwrap();
    with_mount("tracefs", "/sys/kernel/tracing", || {
        // A program of a name that nobody else runs.
        let program = directory.path().join("seen \"here\"");
        std::fs::copy("/bin/true", &program).unwrap();
        let shown = program.to_str().unwrap().escape_debug().to_string();

        let mut watching = Watching::start(&example, &["exec", "exit"]);
        match watching.line() {
            Err(message) if lacks_rights(&message) => return,
            line => assert_eq!(line.unwrap(), "on_exec (tp/sched/sched_process_exec): attached"),
        }
        assert_eq!(watching.line().unwrap(), "on_exit (tp/sched/sched_process_exit): attached");
        assert_eq!(watching.line().unwrap(), "on_open (tp/syscalls/sys_enter_openat): not loaded");
        let names = programs();
        assert!(names.iter().any(|name| name == "on_exec") && !names.iter().any(|name| name == "on_open"));
        let mut child = Command::new(&program).spawn().unwrap();
        let pid = format!(" {} ", child.id());
        child.wait().unwrap();
        let line = watching.line_with(&[&pid, &shown]);
        assert!(line.starts_with("exec ") && line.contains("seen \\\"here\\\""), "{line}");
        assert!(watching.line_with(&[&pid]).starts_with("exit "));
        drop(watching);

        let mut watching = Watching::start(&example, &["open"]);
        watching.line_with(&["on_open", "attached"]);
        drop(std::fs::File::open(&program).unwrap());
        let line = watching.line_with(&[&shown]);
        assert!(line.starts_with("open ") && line.contains(&format!(" {} ", std::process::id())), "{line}");
    });
    let wrong = Command::new(&example).arg("reboot").output().unwrap();
    let (printed, message) = texts(wrong);
    assert_eq!((printed.as_str(), message.as_str()), ("", "watch: `reboot` is none of exec, exit, open\n"));
}

#[test]
fn an_async_program_is_woken_by_edges_and_misses_nothing() {
    let Some(example) = built("async") else { return };
    with_mount("tracefs", "/sys/kernel/tracing", || {
        let output = Command::new(&example).output().unwrap();
        let succeeded = output.status.success();
        let (printed, message) = texts(output);
        if lacks_rights(&message) {
            return;
        }
        assert!(succeeded, "{message}");
        let seen =
            printed.lines().filter(|line| line.starts_with("program started as ") && line.contains(": seen"));
        assert_eq!(seen.count(), 5, "{printed}");
    });
}
