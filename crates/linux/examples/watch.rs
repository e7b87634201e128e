//! A tool: watches what happens on this machine, as it happens.
//!
//! `cargo run -p ebpf-linux --example watch -- exec exit open` (root, tracefs mounted): new programs, processes that end, files being opened. What is not
//! asked for is not loaded, and costs nothing; without arguments new programs are shown. Ends when interrupted.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    match tool::watch() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        // Whoever was shown has seen enough.
        Err(error) if error.downcast_ref().is_some_and(tool::is_broken_pipe) => {
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("watch: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("this needs Linux");
}

#[cfg(target_os = "linux")]
mod tool {
    use std::error::Error;
    use std::io::{self, Write};
    use std::ops::ControlFlow;

    use ebpf_linux::{Interest, Linux, LinuxMap, Target, Trigger, Waiter};
    use ebpf_loader::{Instruction, Object};
    use ebpf_ringbuf::Stopped;

    /// `crates/cli/programs/watch.bpf.c`.
    const OBJECT: &[u8] = include_bytes!("../../cli/programs/watch.bpf.o");

    /// What can be asked for, and the program for it.
    const KINDS: [(&str, &str); 3] = [("exec", "on_exec"), ("exit", "on_exit"), ("open", "on_open")];

    pub(crate) fn watch() -> Result<(), Box<dyn Error>> {
        let mut wanted: Vec<String> = std::env::args().skip(1).collect();
        if wanted.is_empty() {
            wanted.push("exec".to_owned());
        }
        if let Some(unknown) = wanted.iter().find(|word| !KINDS.iter().any(|(kind, _)| kind == word)) {
            return Err(format!("`{unknown}` is none of exec, exit, open").into());
        }

        let object: Object = Object::open_named("watch.bpf.o", OBJECT)?;
        for (kind, program) in KINDS {
            object.set_autoload(program, wanted.iter().any(|word| word == kind))?;
        }
        let mut scratch = vec![Instruction::default(); object.scratch_len()?];
        let mut loaded = object.on(&Linux);
        loaded.load(&mut scratch)?;
        let mut attached = Vec::new();
        let mut output = io::stdout().lock();
        for (program, handle) in loaded.programs() {
            if handle.is_some() {
                // Each program's section says where it belongs.
                attached.push(loaded.attach(program.name(), Target::Section)?);
            }
            let state = if handle.is_some() { "attached" } else { "not loaded" };
            writeln!(output, "{} ({}): {state}", program.name(), program.section_name())?;
        }
        output.flush()?;

        let dropped = loaded.map("dropped").ok_or("the object has a map `dropped`")?;
        let mut ring = loaded.ring("events")?;
        let waiter = Waiter::new()?;
        waiter.add(loaded.map("events").ok_or("and `events`")?, 0, Interest::Readable, Trigger::Edge)?;
        let (mut ready, mut told) = (Vec::new(), 0);
        loop {
            let mut written = Ok(());
            let drained = ring.drain(usize::MAX, |record| {
                written = show(&mut output, &record);
                if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            written?;
            if let Stopped::Corrupt(corrupt) = drained.stopped {
                return Err(corrupt.into());
            }
            let lost = count(dropped)?;
            if lost != told {
                writeln!(output, "{} events found no room", lost.wrapping_sub(told))?;
                told = lost;
            }
            output.flush()?;
            waiter.wait(&mut ready, None)?;
        }
    }

    pub(crate) fn is_broken_pipe(error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::BrokenPipe
    }

    /// Number, command and path of a `struct event`. Text comes from whoever runs programs: what is not printable is escaped.
    fn show(output: &mut impl Write, record: &[u8]) -> io::Result<()> {
        let Some((head, path)) = record.split_first_chunk::<24>() else {
            return Err(io::Error::other(format!("a record of {} bytes", record.len())));
        };
        let ([kind, _, _, _, rest @ ..], path) = (head, text(path));
        let (pid, command) = rest.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
        let kind = usize::from(*kind).checked_sub(1).and_then(|kind| KINDS.get(kind));
        let kind = kind.map_or("?", |(kind, _)| kind);
        writeln!(output, "{kind:4} {:7} {:16} {path}", u32::from_ne_bytes(*pid), text(command))
    }

    /// Up to the zero.
    fn text(bytes: &[u8]) -> String {
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).escape_debug().to_string()
    }

    fn count(dropped: &LinuxMap) -> Result<u64, ebpf_linux::Error> {
        let mut value = [0; 8];
        dropped.lookup(&[0; 4], &mut value)?;
        Ok(u64::from_ne_bytes(value))
    }
}
