//! Starts producers, starts readers and disturbs them, and adds up at the end.

use std::error::Error;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ebpf_linux::{LinuxMap, PerfOptions, PerfRings, PerfWakeup, RingMemory, cpus};
use ebpf_loader::{MapKind, MapSpec};
use ebpf_ringbuf::{Consumer, Query};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::check::{PRODUCERS, Progress};
use crate::producer::{Counted, Producer};

/// Where pins live.
pub(crate) const NAMES: &str = "/sys/fs/bpf";

/// A wakeup for every 64 samples of a CPU, or half a ring.
pub(crate) const OPTIONS: PerfOptions = PerfOptions::new(64).with_wakeup(PerfWakeup::Events(64));

/// The program that is running.
const ITSELF: &str = "/proc/self/exe";
const RING: u32 = 1 << 20;
/// Records of one call.
const BATCH: u32 = 2000;
/// How long a producer waits for the reader to catch up, which is paused at times.
const PATIENCE: Duration = Duration::from_millis(50);
/// Batches of a flood, and records that come alone after it.
const FLOOD: u64 = 40;
const DROPS: u32 = 20;
/// Nothing read for so long although there was something to read: it will never be.
const SILENCE: Duration = Duration::from_secs(60);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Gives this process, and the readers that it will start, a file system for pins that nobody else sees.
pub(crate) fn with_names_of_its_own() -> Result<()> {
    // SAFETY: this process has one thread, and shares its mounts with nobody who would miss them.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    Ok(mount("bpf", NAMES, "bpf", MountFlags::empty(), None)?)
}

/// A ring buffer that both producers write.
pub(crate) fn ring(records: u64, disturbances: u64) -> Result<()> {
    let map = LinuxMap::create(&MapSpec::new("ring", MapKind::RINGBUF, 0, 0, RING))?;
    map.pin(Path::new(NAMES).join("ring"))?;
    let soak = Soak::new(&map, records, disturbances)?;
    let total = soak.run(|| {
        let mut command = Command::new(ITSELF);
        command.arg("--read-ring");
        command
    })?;
    let left = Consumer::new(RingMemory::map(&map)?)?.query(Query::AvailableData);
    total.show("ring buffer", left)?;
    Ok(fs::remove_file(Path::new(NAMES).join("ring"))?)
}

/// A perf ring for each of two CPUs.
pub(crate) fn perf(records: u64, disturbances: u64) -> Result<()> {
    let map = LinuxMap::create(&MapSpec::new("events", MapKind::PERF_EVENT_ARRAY, 4, 4, 0))?;
    let rings = PerfRings::open(&map, OPTIONS)?;
    let cpus = producing_on()?;
    // Without close-on-exec: the readers inherit them.
    let events: Vec<(OwnedFd, u32)> = cpus
        .iter()
        .map(|cpu| Ok((rustix::io::dup(rings.get(*cpu).ok_or("a CPU without a ring")?)?, *cpu)))
        .collect::<Result<_>>()?;
    let soak = Soak::new(&map, records, disturbances)?;
    let total = soak.run(|| {
        let mut command = Command::new(ITSELF);
        command.arg("--read-perf");
        command.args(events.iter().map(|(event, cpu)| format!("{}:{cpu}", event.as_raw_fd())));
        command
    })?;
    for (cpu, counted) in cpus.iter().zip(&total.counted) {
        // The kernel's own account, where it keeps one (Linux 6.0).
        let lost = rings.get(*cpu).ok_or("a CPU without a ring")?.lost()?;
        if lost.is_some_and(|lost| lost != counted.refused) {
            return Err(
                format!("CPU {cpu}: the event has lost {lost:?}, the program counted {counted:?}").into()
            );
        }
    }
    let left: usize = rings.readers()?.pending().map(|(_, pending)| pending.unwrap_or(usize::MAX)).sum();
    total.show("perf rings", left)
}

/// The CPUs of the producers: two, if the machine has two. Events need one for each.
fn producing_on() -> Result<Vec<u32>> {
    let cpus: Vec<u32> = cpus::allowed()?.into_iter().take(PRODUCERS).collect();
    if cpus.len() < PRODUCERS {
        Err(format!("{PRODUCERS} CPUs are needed, {} are allowed", cpus.len()).into())
    } else {
        Ok(cpus)
    }
}

/// What a run needs.
struct Soak {
    producers: Vec<Producer>,
    progress: Progress,
    cpus: Vec<u32>,
    records: u64,
    disturbances: u64,
}

/// What a run came to.
struct Total {
    counted: Vec<Counted>,
    progress: Progress,
    disturbances: u64,
    time: Duration,
}

impl Soak {
    fn new(map: &LinuxMap, records: u64, disturbances: u64) -> Result<Self> {
        let path = Path::new(NAMES).join("progress");
        // Of the run before.
        drop(fs::remove_file(&path));
        let progress = Progress::create()?;
        progress.pin(path)?;
        let producers =
            (0..PRODUCERS).map(|number| Producer::new(number, map)).collect::<std::result::Result<_, _>>()?;
        Ok(Self {
            producers,
            progress: Progress::open(&progress)?,
            cpus: producing_on()?,
            records,
            disturbances,
        })
    }

    fn run(self, start: impl Fn() -> Command) -> Result<Total> {
        let began = Instant::now();
        let is_over = AtomicBool::new(false);
        let result = thread::scope(|scope| {
            let producing: Vec<_> = self
                .producers
                .iter()
                .zip(&self.cpus)
                .enumerate()
                .map(|(number, (producer, cpu))| {
                    let (progress, is_over) = (&self.progress, &is_over);
                    let has_read = move || Ok(progress.of(number).next == producer.counted()?.tried);
                    scope.spawn(move || produce(producer, *cpu, has_read, is_over))
                })
                .collect();
            let mut reader = Reader::start(&start);
            let mut result = reader
                .as_mut()
                .map_err(|error| error.to_string())
                .and_then(|reader| self.disturb(reader, &start).map_err(|error| error.to_string()));
            is_over.store(true, Ordering::Release);
            for thread in producing {
                let produced = thread.join().map_err(|_| "a producer has panicked".to_owned());
                result =
                    result.and_then(|()| produced.and_then(|done| done.map_err(|error| error.to_string())));
            }
            result.and_then(|()| {
                reader
                    .map_err(|error| error.to_string())?
                    .end(&self.progress)
                    .map_err(|error| error.to_string())
            })
        });
        result?;
        let counted = self.producers.iter().map(Producer::counted).collect::<std::result::Result<_, _>>()?;
        Ok(Total { counted, progress: self.progress, disturbances: self.disturbances, time: began.elapsed() })
    }

    /// Until enough was read: lets the reader be, pauses it until records are lost, lets it be, kills it.
    fn disturb(&self, reader: &mut Reader, start: &impl Fn() -> Command) -> Result<()> {
        let stretches = 2 * self.disturbances + 1;
        for stretch in 1..=stretches {
            self.wait_for(reader, || self.progress.read() >= self.records / stretches * stretch)?;
            if stretch == stretches {
                break;
            }
            if stretch % 2 == 1 {
                reader.signal(Signal::STOP)?;
                let refused = self.refused()?;
                self.wait_for(reader, || self.refused().is_ok_and(|now| now > refused))?;
                reader.signal(Signal::CONT)?;
            } else {
                reader.kill()?;
                *reader = Reader::start(start)?;
            }
        }
        self.wait_for(reader, || self.progress.read() >= self.records)
    }

    fn refused(&self) -> Result<u64> {
        self.producers.iter().map(|producer| Ok(producer.counted()?.refused)).sum()
    }

    fn wait_for(&self, reader: &mut Reader, done: impl Fn() -> bool) -> Result<()> {
        let mut last = (self.progress.read(), Instant::now());
        while !done() {
            thread::sleep(Duration::from_millis(1));
            let read = self.progress.read();
            if read != last.0 {
                last = (read, Instant::now());
            }
            if let Some(status) = reader.process.try_wait()? {
                return Err(format!("the reader has ended: {status}").into());
            }
            if last.1.elapsed() > SILENCE {
                return Err(format!("nothing was read for {SILENCE:?}, after {read} records").into());
            }
        }
        Ok(())
    }
}

/// Writes until it is over: in floods, and now and then in drops, between which the reader catches up and sleeps. Then once more with success: what was
/// lost before that can be seen by who reads it.
fn produce(
    producer: &Producer,
    cpu: u32,
    has_read: impl Fn() -> std::result::Result<bool, ebpf_linux::Error>,
    is_over: &AtomicBool,
) -> std::result::Result<(), ebpf_linux::Error> {
    let _pinned = cpus::Pinned::to(cpu)?;
    let mut batches = 0u64;
    while !is_over.load(Ordering::Acquire) {
        batches += 1;
        if batches.is_multiple_of(FLOOD) {
            let start = Instant::now();
            while !has_read()? && start.elapsed() < PATIENCE {
                thread::sleep(Duration::from_micros(100));
            }
            for _ in 0..DROPS {
                thread::sleep(Duration::from_micros(100));
                producer.run(1)?;
            }
        }
        if producer.run(BATCH)? > 0 {
            // Full: the reader may want this CPU.
            thread::sleep(Duration::from_millis(1));
        }
    }
    let start = Instant::now();
    while producer.run(1)? > 0 && start.elapsed() < SILENCE {
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

struct Reader {
    process: Child,
}

impl Reader {
    fn start(start: &impl Fn() -> Command) -> Result<Self> {
        Ok(Self { process: start().stdin(Stdio::piped()).spawn()? })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let process =
            i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).ok_or("a process number")?;
        Ok(kill_process(process, signal)?)
    }

    fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        // It may have stopped by itself, with something to say.
        match std::os::unix::process::ExitStatusExt::signal(&self.process.wait()?) {
            Some(KILLED) => Ok(()),
            _ => Err("the reader has ended before it was killed".into()),
        }
    }

    /// Lets it read the rest.
    fn end(mut self, progress: &Progress) -> Result<()> {
        drop(self.process.stdin.take());
        let mut last = (progress.read(), Instant::now());
        loop {
            if let Some(status) = self.process.try_wait()? {
                return if status.success() {
                    Ok(())
                } else {
                    Err(format!("the reader has ended: {status}").into())
                };
            }
            thread::sleep(Duration::from_millis(1));
            let read = progress.read();
            if read != last.0 {
                last = (read, Instant::now());
            }
            if last.1.elapsed() > SILENCE {
                return Err(format!("the reader does not end, after {read} records").into());
            }
        }
    }
}

/// A reader that nobody waits for any more is not left behind.
impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop::<std::io::Result<ExitStatus>>(self.process.wait());
    }
}

impl Total {
    fn show(&self, what: &str, left: usize) -> Result<()> {
        let states = self.progress.all();
        let refused: u64 = self.counted.iter().map(|counted| counted.refused).sum();
        let read = self.progress.read();
        let count = |word: &std::sync::atomic::AtomicU64| word.load(Ordering::Acquire);
        println!(
            "{what}: {read} records read in {:.1} s ({:.1} million a second), {refused} lost and counted as lost; \
             {} pauses, {} kills ({} records found again), {} waits",
            self.time.as_secs_f64(),
            read as f64 / self.time.as_secs_f64() / 1e6,
            self.disturbances,
            self.disturbances,
            count(self.progress.replayed()),
            count(self.progress.sleeps()),
        );
        for (number, (state, counted)) in states.iter().zip(&self.counted).enumerate() {
            if (state.next, state.missing) != (counted.tried, counted.refused) {
                return Err(format!("producer {number}: it counted {counted:?}, read was {state:?}").into());
            }
        }
        if left != 0 {
            return Err(format!("{left} bytes are left").into());
        }
        if self.disturbances > 0 && refused == 0 {
            return Err("nothing was lost: the pauses were none".into());
        }
        Ok(())
    }
}

/// `SIGKILL`
const KILLED: i32 = 9;
