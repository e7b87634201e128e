//! Progress of what takes longer than a second, on standard error, if that is a terminal.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Nobody needs to be told that something takes less.
const QUIET: Duration = Duration::from_secs(1);
/// Between two looks at the clock.
const STRIDE: u64 = 16;

/// A bar that comes by itself when it is needed, and leaves nothing behind.
pub(crate) struct Progress {
    visible: bool,
    started: Option<Instant>,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { visible: std::io::stderr().is_terminal(), ..Self::hidden() }
    }

    pub(crate) fn hidden() -> Self {
        Self { visible: false, started: None, total: 0, done: 0, bar: None }
    }

    /// Starts to count `total` runs.
    pub(crate) fn start(&mut self, total: u64) {
        self.started = Some(Instant::now());
        self.total = total;
        self.done = 0;
    }

    /// Counts runs that are done.
    pub(crate) fn advance(&mut self, runs: u64) {
        self.done = self.done.saturating_add(runs);
        if !self.visible || (runs == 1 && !self.done.is_multiple_of(STRIDE)) {
            return;
        }
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None if self.started.is_some_and(|started| started.elapsed() > QUIET) => self.show(),
            None => {}
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Writes something else to the terminal, which the bar must not be mixed with.
    pub(crate) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn show(&mut self) {
        let bar = ProgressBar::new(self.total).with_position(self.done);
        let template = "{bar:30} {human_pos} of {human_len} runs, {per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        self.bar = Some(bar);
    }
}
