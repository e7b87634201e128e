//! `ebpf-blocks wfp stress`: threads attach and detach while the engine restarts.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use wfp_txn::model::Kind;

use super::report::Report;
use super::strategy::{Any, engine};
use super::worker::{Stage, Tally};
use crate::args::WfpStress;
use crate::console::{Console, Status};

/// A thread that has not ended so long after it was told to is stuck.
const GRACE: Duration = Duration::from_secs(10);
/// How long the engine is away when it restarts.
const DOWN: Duration = Duration::from_millis(5);

/// The whole run.
pub(crate) fn stress(arguments: &WfpStress, console: &mut Console<'_>) -> io::Result<Status> {
    let delay = Duration::from_millis(arguments.attach_detach_delay);
    let between = arguments.restart_delay.map_or(delay.saturating_mul(10), Duration::from_millis);
    if arguments.restart && (between < delay.saturating_mul(2) || between.is_zero()) {
        console.failure(
            "wfp stress",
            "--restart-delay must be at least twice --attach-detach-delay, and not 0: programs are to be attached meanwhile",
        )?;
        return Ok(Status::Usage);
    }
    let threads = arguments.threads.unwrap_or_else(|| {
        thread::available_parallelism().map_or(2, |cpus| u64::try_from(cpus.get()).unwrap_or(2).max(2))
    });

    // Given away for good: a thread that is stuck goes on using it.
    let engine = Box::leak(Box::new(engine()));
    let strategy = match Any::new(arguments.strategy, engine) {
        Ok(strategy) => strategy,
        Err(status) => {
            console.failure("wfp stress", status)?;
            return Ok(Status::Failed);
        }
    };
    let stage: &'static Stage = Box::leak(Box::new(Stage {
        engine,
        strategy,
        delay,
        started: Instant::now(),
        over: AtomicBool::new(false),
        tally: Tally::default(),
    }));
    let (ended, all_ended) = mpsc::channel();
    for number in 0..threads {
        let ended = ended.clone();
        thread::Builder::new().spawn(move || {
            stage.work(number);
            let _ = ended.send(());
        })?;
    }
    // A thread that panicked hangs up without a word: it counts as stuck.
    drop(ended);

    let deadline = stage.started.checked_add(Duration::from_secs(arguments.seconds));
    let mut restarts: u64 = 0;
    while let Some(left) = deadline.and_then(|end| end.checked_duration_since(Instant::now())) {
        if left.is_zero() {
            break;
        }
        thread::sleep(left.min(between.max(Duration::from_millis(1))));
        if arguments.restart {
            stage.engine.stop();
            thread::sleep(DOWN);
            stage.engine.start();
            restarts = restarts.saturating_add(1);
        }
    }
    stage.over.store(true, Ordering::Release);
    let ran = stage.started.elapsed();
    let mut stuck = threads;
    let patience = Instant::now().checked_add(GRACE);
    while stuck > 0 {
        let left = patience.map_or(GRACE, |end| end.saturating_duration_since(Instant::now()));
        match all_ended.recv_timeout(left) {
            Ok(()) => stuck = stuck.saturating_sub(1),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    let leaked = stage.engine.objects().iter().filter(|object| object.id.kind == Kind::Filter).count();
    let report = Report { arguments, threads, ran, restarts, stuck, leaked, tally: &stage.tally };
    report.print(console)?;
    Ok(if report.is_clean() { Status::Done } else { Status::Failed })
}
