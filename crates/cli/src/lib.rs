//! The tool `ebpf-blocks`: what an eBPF object file holds, and what its programs do, on any machine and without privileges, or on the kernel.
//!
//! ```console
//! $ ebpf-blocks inspect [--cost] [--table linux|windows] OBJECT…
//! $ ebpf-blocks run OBJECT [--platform vm|linux] [--only NAME…] [--skip NAME…] [--repeat N]
//! $ ebpf-blocks ring MAP [--read] [--limit N] [--wait SECONDS]
//! $ ebpf-blocks doctor
//! $ ebpf-blocks gate run --baseline COMMAND --candidate COMMAND [--plot FILE.svg]
//! $ ebpf-blocks gate history FILE | compare A.json B.json | load [OBJECT] | self-test
//! $ ebpf-blocks wfp stress [--strategy NAME] [--threads N] [--seconds S] [--restart]
//! ```
//!
//! All print aligned tables for people, or with `--json` one JSON object per line for programs. Messages about what went
//! wrong go to standard error, one line each; with `--json` they are also part of the output, so that a
//! program that reads only the output misses nothing.
//!
//! | exit status | meaning |
//! |---|---|
//! | 0 | all well; also when the reader of the output went away early (`… \| head`) |
//! | 1 | something failed: a file that is no object, a program that cannot be loaded or that faults, a stress run that is not clean; `gate`: regressed; `doctor`: programs cannot be loaded and run on this kernel |
//! | 2 | wrong usage: unknown options, or a program's name that the object does not have, a platform that this system is not |
//! | 3 | `gate`: too noisy, neither a pass nor a regression is shown |
//! | 4 | `gate`: unfit, nothing that was measured counts |
//!
//! # Not an API
//!
//! The library exists so that the tool can be tested in one process. To build on the parts, take `ebpf-loader` with the
//! platform `ebpf-vm`: this crate is one example of how.

mod args;
mod bytes;
mod console;
mod cost;
mod doctor;
mod gate;
mod inspect;
mod progress;
mod record;
mod ring;
mod run;
mod source;
mod table;
mod wfp;

use std::io;
use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Verb, Wfp};

pub use args::PlatformName;

pub use console::{Console, Status};
pub use inspect::inspect_object;
pub use run::{Plan, run_object};

/// Objects with more are refused at open, with the number they have. The largest seen in the wild holds 46 programs.
const PROGRAMS: usize = 512;
/// See [`PROGRAMS`].
const MAPS: usize = 256;

/// The whole tool: reads the command line, writes to the process's output, gives the exit status.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let json = match &arguments.verb {
        Verb::Doctor(doctor) => doctor.json,
        Verb::Gate(gate) => gate.json(),
        Verb::Inspect(inspect) => inspect.json,
        Verb::Ring(ring) => ring.json,
        Verb::Run(run) => run.json,
        Verb::Wfp(Wfp::Stress(stress)) => stress.json,
    };
    let stdout = io::stdout().lock();
    let mut console = Console::of_process(stdout, json);
    let result = match &arguments.verb {
        Verb::Doctor(_) => doctor::doctor(&mut console),
        Verb::Gate(gate) => gate::gate(gate, &mut console),
        Verb::Inspect(inspect) => inspect::inspect(inspect, &mut console),
        Verb::Ring(ring) => ring::ring(ring, &mut console),
        Verb::Run(run) => run::run(run, &mut console),
        Verb::Wfp(Wfp::Stress(stress)) => wfp::stress(stress, &mut console),
    };
    let result = result.and_then(|status| console.flush().map(|()| status));
    match result {
        Ok(status) => status.into(),
        // Whoever read the output has had enough. That is no failure, and nobody is there to be told.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Status::Done.into(),
        Err(error) => {
            anstream::eprintln!("error: writing the output: {error}");
            Status::Failed.into()
        }
    }
}
