//! Running a command so that a reader of the log could have typed it.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// One command of a verb.
pub(crate) struct Step {
    command: Command,
    variables: Vec<(String, String)>,
    /// What to do when the command fails.
    advice: String,
}

impl Step {
    /// A command line, run in the root of the workspace.
    pub(crate) fn new(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(root());
        Self { command, variables: Vec::new(), advice: String::new() }
    }

    /// `cargo` itself. The cargo that runs this tool has named itself in the environment; a `+toolchain` argument is only
    /// understood by the one in the path.
    pub(crate) fn cargo(arguments: &[&str]) -> Self {
        Self::new("cargo", arguments)
    }

    #[must_use]
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    #[must_use]
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where cargo builds, instead of [`target`].
    #[must_use]
    pub(crate) fn target(mut self, directory: &Path) -> Self {
        self.command.env("CARGO_TARGET_DIR", directory);
        // As one would type it there.
        let here = self.command.get_current_dir().unwrap_or(Path::new(""));
        let typed = directory.strip_prefix(here).unwrap_or(directory);
        self.variables.push(("CARGO_TARGET_DIR".to_owned(), typed.to_string_lossy().into_owned()));
        self
    }

    /// Where it runs: to be said before a [`target`](Self::target), which is printed relative to it.
    #[must_use]
    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// What to do when it fails: the end of the sentence "… failed: ".
    #[must_use]
    pub(crate) fn or(mut self, advice: &str) -> Self {
        self.advice = advice.to_owned();
        self
    }

    /// Prints the command, runs it with the terminal's input and output, prints how long it took.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        println!("$ {}", self.line());
        let start = Instant::now();
        let status = self.command.status().map_err(|error| self.failed(&error.to_string()))?;
        println!("  ({:.1} s)", start.elapsed().as_secs_f64());
        if status.success() { Ok(()) } else { Err(self.failed(&status.to_string())) }
    }

    /// Prints the command and runs it; each line of its standard error goes to `line` as it comes. Failing is for the caller to judge.
    pub(crate) fn watch(mut self, mut line: impl FnMut(&str)) -> Result<bool, Failure> {
        println!("$ {}", self.line());
        let mut child =
            self.command.stderr(Stdio::piped()).spawn().map_err(|error| self.failed(&error.to_string()))?;
        if let Some(stderr) = child.stderr.take() {
            // Not always text: what a crash prints may hold parts of the input.
            for bytes in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                line(&String::from_utf8_lossy(&bytes));
            }
        }
        let status = child.wait().map_err(|error| self.failed(&error.to_string()))?;
        Ok(status.success())
    }

    /// Runs it and returns what it printed; nothing is shown.
    pub(crate) fn output(mut self) -> Result<String, Failure> {
        let output =
            self.command.stderr(Stdio::piped()).output().map_err(|error| self.failed(&error.to_string()))?;
        if !output.status.success() {
            let message = format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
            return Err(self.failed(message.trim_end()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Prints the command, runs it, and returns what it printed, errors included.
    pub(crate) fn all_output(mut self) -> Result<String, Failure> {
        println!("$ {}", self.line());
        let start = Instant::now();
        let output = self.command.output().map_err(|error| self.failed(&error.to_string()))?;
        println!("  ({:.1} s)", start.elapsed().as_secs_f64());
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            Ok(text)
        } else {
            Err(self.failed(&format!("{}\n{text}", output.status)))
        }
    }

    fn line(&self) -> String {
        let variables = self.variables.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        variables
            .chain(words.map(OsStr::to_string_lossy).map(|word| quoted(&word)))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn failed(&self, reason: &str) -> Failure {
        let advice = if self.advice.is_empty() { "see above" } else { &self.advice };
        Failure(format!("`{}`: {reason}\n       what to do: {advice}", self.line()))
    }
}

/// What a verb has shown, or why it could not.
#[must_use = "a skip that nobody looks at would be a pass"]
pub(crate) enum Outcome {
    /// What was shown.
    Shown(String),
    /// Why it could not run here.
    Skipped(String),
}

impl Outcome {
    /// Prints the outcome. In CI nothing may be skipped.
    pub(crate) fn settle(self) -> Result<(), Failure> {
        match self {
            Self::Shown(what) => println!("shown: {what}"),
            Self::Skipped(why) if in_ci() => return Err(Failure(format!("skipped in CI: {why}"))),
            Self::Skipped(why) => println!("skipped: {why}"),
        }
        Ok(())
    }
}

/// What stopped a verb, and what to do next.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says at the start what a verb needs.
pub(crate) fn needs(verb: &str, what: &str) {
    println!("cargo xtask {verb}: needs {what}");
}

/// Whether a program can be started at all.
pub(crate) fn exists(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .current_dir(root())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether a skip must count as a failure.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty())
}

/// The workspace's root: the parent of this package.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// Where cargo builds, absolute.
pub(crate) fn target() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=+:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}
