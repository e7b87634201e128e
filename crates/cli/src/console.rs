//! Where output goes, in which of two forms.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::process::ExitCode;

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::progress::Progress;

/// Names of programs and maps.
pub(crate) const NAME: Style = Style::new().bold();
/// What one reads only on demand.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// Losses and faults.
pub(crate) const ALARM: Style = AnsiColor::Red.on_default().bold();

/// Output and messages of one call of the tool.
///
/// Text may carry ANSI styles: the writers strip them where nobody sees them (not a terminal, `NO_COLOR`).
pub struct Console<'a> {
    output: Box<dyn Write + 'a>,
    messages: Box<dyn Write + 'a>,
    json: bool,
    /// A person watches the output: what is printed must be seen at once.
    watched: bool,
    progress: Progress,
}

impl<'a> Console<'a> {
    /// Writes to two sinks, without styles being stripped and without progress.
    pub fn new(output: impl Write + 'a, messages: impl Write + 'a, json: bool) -> Self {
        Self {
            output: Box::new(output),
            messages: Box::new(messages),
            json,
            watched: false,
            progress: Progress::hidden(),
        }
    }

    /// Writes to the process's own output, and shows progress on standard error if that is a terminal.
    pub(crate) fn of_process(stdout: StdoutLock<'static>, json: bool) -> Self {
        let watched = stdout.is_terminal();
        Self {
            output: Box::new(BufWriter::with_capacity(64 << 10, AutoStream::auto(stdout))),
            messages: Box::new(anstream::stderr()),
            json,
            watched,
            progress: Progress::new(),
        }
    }

    /// Whether output is JSON, one object per line.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Progress of a long run; hidden unless standard error is a terminal.
    pub(crate) fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }

    /// Writes one JSON object on a line of its own.
    pub(crate) fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, value)?;
        self.output.write_all(b"\n")
    }

    /// Writes text for people.
    pub(crate) fn text(&mut self, text: impl Display) -> io::Result<()> {
        write!(self.output, "{text}")
    }

    /// Says that something about `object` failed: one line to standard error, and with JSON also an `error` object.
    pub(crate) fn failure(&mut self, object: &str, error: impl Display) -> io::Result<()> {
        let error = error.to_string();
        if self.json {
            self.line(&Failure { kind: "error", object, error: &error })?;
        }
        self.message(object, &error)
    }

    /// Says something about `object` on standard error, after the output so far.
    pub(crate) fn message(&mut self, object: &str, error: impl Display) -> io::Result<()> {
        // What happened first is read first.
        self.output.flush()?;
        let text = one_line(&format!("{object}: {error}"));
        let Self { messages, progress, .. } = self;
        // Where messages cannot be written there is nobody to tell.
        progress.aside(|| drop(writeln!(messages, "{ALARM}error:{ALARM:#} {text}")));
        Ok(())
    }

    /// Hands the output over if a person is watching it.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        if self.watched { self.flush() } else { Ok(()) }
    }

    /// Hands all output over.
    ///
    /// # Errors
    /// What the sink reports.
    pub fn flush(&mut self) -> io::Result<()> {
        let Self { output, progress, .. } = self;
        progress.aside(|| output.flush())
    }
}

/// What became of a call; the worst of several counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "these are the exit statuses the tool promises")]
pub enum Status {
    /// All well: exit status 0.
    Done,
    /// Something failed: exit status 1.
    Failed,
    /// Wrong usage: exit status 2.
    Usage,
    /// A gate has shown neither: exit status 3.
    TooNoisy,
    /// A gate could not measure: exit status 4.
    Unfit,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(match status {
            Status::Done => 0,
            Status::Failed => 1,
            Status::Usage => 2,
            Status::TooNoisy => 3,
            Status::Unfit => 4,
        })
    }
}

#[derive(Serialize)]
struct Failure<'a> {
    kind: &'static str,
    object: &'a str,
    error: &'a str,
}

/// Names come out of files: nothing in them may move the cursor, change colours or fake a second line.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::{Console, one_line};

    #[test]
    fn a_failure_is_one_line_of_json_and_one_for_people() {
        let (mut output, mut messages) = (Vec::new(), Vec::new());
        let mut console = Console::new(&mut output, &mut messages, true);
        console.failure("a\"b.o", "first\nsecond").unwrap();
        drop(console);
        let json = String::from_utf8(output).unwrap();
        assert_eq!(json, "{\"kind\":\"error\",\"object\":\"a\\\"b.o\",\"error\":\"first\\nsecond\"}\n");
        let message = String::from_utf8(messages).unwrap();
        assert_eq!(message.lines().count(), 1, "{message}");
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(one_line("a\x1b[31mb\nc"), "a\u{fffd}[31mb\u{fffd}c");
    }
}
