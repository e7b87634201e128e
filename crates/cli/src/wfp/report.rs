//! What a stress run has found, in both forms.

use std::io;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::worker::{FirstFailure, Tally};
use crate::args::WfpStress;
use crate::console::{ALARM, Console, NAME};

pub(super) struct Report<'a> {
    pub(super) arguments: &'a WfpStress,
    pub(super) threads: u64,
    pub(super) ran: Duration,
    pub(super) restarts: u64,
    pub(super) stuck: u64,
    pub(super) leaked: usize,
    pub(super) tally: &'a Tally,
}

impl Report<'_> {
    /// Nothing failed, nothing is left, nobody hangs.
    pub(super) fn is_clean(&self) -> bool {
        self.stuck == 0
            && self.leaked == 0
            && self.first_failure().is_none()
            && count(&self.tally.attached) > 0
    }

    fn first_failure(&self) -> Option<FirstFailure> {
        self.tally.first_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn print(&self, console: &mut Console<'_>) -> io::Result<()> {
        let Self { arguments, threads, ran, restarts, stuck, leaked, tally } = self;
        let first = self.first_failure();
        if console.json() {
            return console.line(&Line {
                kind: "stress",
                strategy: arguments.strategy.name(),
                threads: *threads,
                seconds: ran.as_secs_f64(),
                restarts: *restarts,
                attached: count(&tally.attached),
                attach_failures: count(&tally.attach_failed),
                detached: count(&tally.detached),
                detach_failures: count(&tally.detach_failed),
                invoked: count(&tally.invoked),
                invoke_failures: count(&tally.invoke_failed),
                load_failures: count(&tally.load_failed),
                torn: count(&tally.torn),
                answers_lost: count(&tally.looked_up),
                longest_transaction_ms: milliseconds(Duration::from_micros(count(&tally.longest_us))),
                leaked_filters: *leaked,
                stuck_threads: *stuck,
                first_failure: first.as_ref().map(|first| FirstLine {
                    during: first.during,
                    after_ms: milliseconds(first.after),
                    status: first.status.map(|status| format!("{status:#010X}")),
                    message: &first.message,
                }),
                passed: self.is_clean(),
            });
        }
        let strategy = arguments.strategy.name();
        console.text(format_args!(
            "{NAME}{strategy}{NAME:#}: {threads} threads, {:.1} s, the engine restarted {restarts} times\n",
            ran.as_secs_f64()
        ))?;
        for (what, good, bad) in [
            ("attached", &tally.attached, &tally.attach_failed),
            ("invoked", &tally.invoked, &tally.invoke_failed),
            ("detached", &tally.detached, &tally.detach_failed),
        ] {
            console.text(format_args!("  {what:9} {:>9}   failed {}\n", count(good), alarm(count(bad))))?;
        }
        console.text(format_args!(
            "  filters seen half attached {}, left behind {}; threads stuck {}\n",
            alarm(count(&tally.torn)),
            alarm(u64::try_from(*leaked).unwrap_or(u64::MAX)),
            alarm(*stuck)
        ))?;
        console.text(format_args!(
            "  answers to commits lost and looked up {}; longest transaction {:.1} ms\n",
            count(&tally.looked_up),
            milliseconds(Duration::from_micros(count(&tally.longest_us)))
        ))?;
        if let Some(first) = first {
            console.text(format_args!(
                "{ALARM}first failure{ALARM:#} after {:.1} ms, {}: {}\n",
                milliseconds(first.after),
                first.during,
                first.message
            ))?;
        }
        Ok(())
    }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn alarm(count: u64) -> String {
    if count == 0 { "0".to_owned() } else { format!("{ALARM}{count}{ALARM:#}") }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[derive(Serialize)]
struct Line<'a> {
    kind: &'static str,
    strategy: &'static str,
    threads: u64,
    seconds: f64,
    restarts: u64,
    attached: u64,
    attach_failures: u64,
    detached: u64,
    detach_failures: u64,
    invoked: u64,
    invoke_failures: u64,
    load_failures: u64,
    torn: u64,
    answers_lost: u64,
    longest_transaction_ms: f64,
    leaked_filters: usize,
    stuck_threads: u64,
    first_failure: Option<FirstLine<'a>>,
    passed: bool,
}

#[derive(Serialize)]
struct FirstLine<'a> {
    during: &'static str,
    after_ms: f64,
    status: Option<String>,
    message: &'a str,
}
