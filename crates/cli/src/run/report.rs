//! What `run` prints, in both forms.

use std::io;

use ebpf_loader::Program;
use ebpf_vm::{Drained, RingMap, VmProgram};
use serde::Serialize;

use crate::console::{ALARM, Console, FAINT, NAME, one_line};
use crate::progress::Progress;
use crate::record::record;

/// Prints what happens, as it happens.
pub(super) struct Report<'c, 'w> {
    path: &'c str,
    console: &'c mut Console<'w>,
}

impl<'c, 'w> Report<'c, 'w> {
    #[cfg(target_os = "linux")]
    pub(super) fn console(&mut self) -> &mut Console<'w> {
        self.console
    }

    pub(super) fn new(path: &'c str, console: &'c mut Console<'w>) -> Self {
        Self { path, console }
    }

    pub(super) fn progress(&mut self) -> &mut Progress {
        self.console.progress()
    }

    pub(super) fn settle(&mut self) -> io::Result<()> {
        self.console.settle()
    }

    /// A program of the table: loaded if it has a handle, otherwise skipped. `len` counts its instructions with those of the subprograms
    /// it needs.
    pub(super) fn program(
        &mut self,
        program: &Program<'_>,
        len: usize,
        handle: Option<&VmProgram>,
    ) -> io::Result<()> {
        if self.console.json() {
            return self.console.line(&Line::Program {
                object: self.path,
                name: program.name(),
                loaded: handle.is_some(),
                section: program.section_name(),
                r#type: program.kind().0,
                type_name: program.kind().type_name(),
                insns: len,
                memory: handle.map_or(0, VmProgram::memory),
            });
        }
        let (name, kind) = (one_line(program.name()), program.kind());
        match handle {
            Some(_) => self
                .console
                .text(format_args!("loaded   {NAME}{name}{NAME:#} ({kind}, {len} instructions)\n")),
            None => self
                .console
                .text(format_args!("{FAINT}skipped  {name} ({kind}, {len} instructions){FAINT:#}\n")),
        }
    }

    /// A record that came out of the ring `map`.
    pub(super) fn record(&mut self, map: &str, bytes: &[u8]) -> io::Result<()> {
        record(map, bytes, self.console)
    }

    /// All runs of a program went through. The kernel does not count what it executes.
    pub(super) fn result(
        &mut self,
        name: &str,
        runs: u64,
        instructions: Option<u64>,
        returned: u64,
    ) -> io::Result<()> {
        if self.console.json() {
            return self.console.line(&Line::Result { name, runs, instructions, returned });
        }
        let (name, runs) = (one_line(name), counted(runs, "run"));
        let executed =
            instructions.map(|count| format!(", {count} instructions executed")).unwrap_or_default();
        self.console.text(format_args!("{NAME}{name}{NAME:#} returned {returned}: {runs}{executed}\n"))
    }

    /// A run was stopped.
    pub(super) fn fault(
        &mut self,
        name: &str,
        run: u64,
        instruction: Option<usize>,
        fault: &dyn std::fmt::Display,
    ) -> io::Result<()> {
        if self.console.json() {
            self.console.line(&Line::Fault { name, run, instruction, error: &fault.to_string() })?;
        }
        self.console.message(self.path, format_args!("program `{name}`, run {run}: {fault}"))
    }

    /// The end.
    pub(super) fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        if self.console.json() {
            return self.console.line(&Line::Summary { object: self.path, summary });
        }
        let Summary { records, bytes, discarded, refused, wakeups, .. } = *summary;
        let (loaded, skipped) = (counted(summary.loaded, "program"), summary.skipped);
        self.console.text(format_args!("\n{loaded} loaded, {skipped} skipped"))?;
        if skipped > 0 {
            let (instructions, memory) =
                (counted(summary.saved_instructions, "instruction"), summary.saved_bytes);
            self.console.text(format_args!(
                " (saved: {instructions} neither linked nor validated, {memory} bytes of memory)"
            ))?;
        }
        let alarm = if refused > 0 { ALARM } else { anstyle::Style::new() };
        let (records, wakeups) = (counted(records, "record"), counted(wakeups, "wakeup"));
        self.console.text(format_args!(
            "\n{records}, {bytes} bytes; {discarded} discarded, {alarm}{refused} refused{alarm:#}, {wakeups}\n"
        ))
    }
}

/// Sums over all programs, runs and rings.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    loaded: u64,
    skipped: u64,
    /// Instructions of skipped programs, which were neither linked nor validated.
    saved_instructions: u64,
    /// Bytes that the skipped programs would take on this machine.
    saved_bytes: u64,
    records: u64,
    /// Of payload.
    bytes: u64,
    discarded: u64,
    /// Records that found their ring full.
    refused: u64,
    wakeups: u64,
}

impl Summary {
    /// Counts a program that was loaded.
    pub(super) fn loaded(&mut self) {
        add(&mut self.loaded, 1);
    }

    /// Counts a program that was not loaded, and what that saved.
    pub(super) fn skipped(&mut self, instructions: usize, bytes: usize) {
        add(&mut self.skipped, 1);
        add(&mut self.saved_instructions, instructions);
        add(&mut self.saved_bytes, bytes);
    }

    pub(super) fn drained(&mut self, drained: &Drained) {
        add(&mut self.records, drained.records);
        add(&mut self.bytes, drained.bytes);
        add(&mut self.discarded, drained.discarded);
    }

    /// Adds what only the ring itself has counted.
    pub(super) fn close(&mut self, ring: &RingMap) {
        add(&mut self.refused, ring.tally().refused());
        add(&mut self.wakeups, ring.wakeups());
    }
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line<'a> {
    Fault {
        name: &'a str,
        run: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        instruction: Option<usize>,
        error: &'a str,
    },
    Program {
        object: &'a str,
        name: &'a str,
        loaded: bool,
        section: &'a str,
        r#type: u32,
        type_name: &'static str,
        insns: usize,
        memory: usize,
    },
    Result {
        name: &'a str,
        runs: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        instructions: Option<u64>,
        returned: u64,
    },
    Summary {
        object: &'a str,
        #[serde(flatten)]
        summary: &'a Summary,
    },
}

fn add(sum: &mut u64, more: impl TryInto<u64>) {
    *sum = sum.saturating_add(more.try_into().unwrap_or(u64::MAX));
}

pub(super) fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
