//! Reading a ring in an async program: tokio waits for the ring's descriptor, edge-triggered, beside everything else that it waits for.
//!
//! `cargo run -p ebpf-linux --example async` (root, tracefs mounted): starts a few programs, and sees itself do it.

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(example::see_programs_start())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("this needs Linux");
}

#[cfg(target_os = "linux")]
mod example {
    use std::error::Error;
    use std::os::fd::{AsFd, BorrowedFd};
    use std::time::Duration;

    use ebpf_linux::{Linux, RingMemory, Target};
    use ebpf_loader::{Instruction, Object};
    use ebpf_ringbuf::{Consumer, Stopped};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::process::Command;
    use tokio::time::timeout;

    /// `crates/cli/programs/watch.bpf.c`.
    const OBJECT: &[u8] = include_bytes!("../../cli/programs/watch.bpf.o");

    const PROGRAMS: usize = 5;
    /// Nothing takes that long here.
    const PATIENCE: Duration = Duration::from_secs(20);

    pub(crate) async fn see_programs_start() -> Result<(), Box<dyn Error>> {
        let object: Object = Object::open_named("watch.bpf.o", OBJECT)?;
        for program in object.programs() {
            object.set_autoload(program.name(), program.name() == "on_exec")?;
        }
        let mut scratch = vec![Instruction::default(); object.scratch_len()?];
        let mut loaded = object.on(&Linux);
        loaded.load(&mut scratch)?;
        let _attached = loaded.attach("on_exec", Target::Section)?;
        let mut ring = loaded.ring("events")?;
        let events = loaded.map("events").ok_or("the object has a map `events`")?;
        // SAFETY: the borrowed descriptor stays open as long as `loaded` lives, which is longer than this does, and is always the same.
        let ready = unsafe { AsyncFd::register_with_interest(events.as_fd(), Interest::READABLE) };
        let ready = ready.map_err(std::io::Error::from)?;

        for _ in 0..PROGRAMS {
            let mut program = Command::new("true").spawn()?;
            let pid = program.id().ok_or("it has not been waited for")?;
            // At once: the program runs to its end, and what it does is read.
            let (ended, seen) =
                tokio::join!(program.wait(), timeout(PATIENCE, until_seen(pid, &mut ring, &ready)));
            println!("program started as {pid}: seen after {} others", seen??);
            ended?;
        }
        Ok(())
    }

    /// Reads until a process begins to run a program; gives how many did before it.
    async fn until_seen(
        pid: u32,
        ring: &mut Consumer<RingMemory>,
        ready: &AsyncFd<BorrowedFd<'_>>,
    ) -> Result<usize, Box<dyn Error>> {
        let (mut before, mut is_seen) = (0usize, false);
        loop {
            // An edge comes once, so everything is read before the next one is waited for, and what stands in the ring already is not waited for. A record
            // that is written after the consumer has said `Empty` raises an edge for certain: that is what its barrier is for.
            let stopped = loop {
                match ring.next_record() {
                    Ok(record) if record.get(4..8) == Some(&pid.to_ne_bytes()) => is_seen = true,
                    Ok(_) => before = before.saturating_add(usize::from(!is_seen)),
                    Err(stopped) => break stopped,
                }
            };
            match stopped {
                Stopped::Empty | Stopped::Busy if is_seen => return Ok(before),
                Stopped::Empty | Stopped::Busy => {}
                other => return Err(other.into()),
            }
            // Cleared before it is read again, not after: what comes in between counts.
            ready.readable().await?.clear_ready();
        }
    }
}
