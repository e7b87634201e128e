//! Calling the built tool.

#![allow(dead_code, reason = "not every test binary needs every helper")]

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

/// The tool with a clean environment for colours.
pub(crate) fn tool() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ebpf-blocks"));
    command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env_remove("CLICOLOR");
    command
}

/// What a call gave.
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the tool to its end.
pub(crate) fn ran(arguments: &[&str]) -> Ran {
    let Output { status, stdout, stderr } = tool().args(arguments).output().expect("the tool starts");
    Ran {
        status: status.code().expect("the tool ends by itself"),
        stdout: String::from_utf8(stdout).expect("the output is UTF-8"),
        stderr: String::from_utf8(stderr).expect("messages are UTF-8"),
    }
}

impl Ran {
    /// The JSON objects of the output, all of which must have a `kind`.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let lines: Vec<Value> = self.stdout.lines().map(parse).collect();
        assert!(lines.iter().all(|line| line["kind"].is_string()));
        lines
    }

    /// Those of one kind.
    pub(crate) fn of_kind(&self, kind: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["kind"] == kind).collect()
    }
}

/// A committed object.
pub(crate) fn object(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("programs").join(name).to_string_lossy().into_owned()
}

/// The names of an object's fields, sorted.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}
