//! Events that are counted or sampled, and rings of the kernel, one for each CPU.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ebpf_perfbuf::{CpuReader, PerCpu, Reader};

use crate::capability::Capability;
use crate::cpus::{self, errno_of};
use crate::error::Error;
use crate::map::LinuxMap;
use crate::pages::Pages;
use crate::perf_memory::PerfMemory;
use crate::sys::perf::{self, EventAttr};
use crate::sys::{Errno, admit};

/// `PERF_TYPE_SOFTWARE`, `PERF_TYPE_TRACEPOINT`.
const SOFTWARE: u32 = 1;
pub(crate) const TRACEPOINT: u32 = 2;
/// `PERF_COUNT_SW_CPU_CLOCK`, `PERF_COUNT_SW_BPF_OUTPUT`.
const CPU_CLOCK: u64 = 0;
const BPF_OUTPUT: u64 = 10;
/// `PERF_SAMPLE_RAW`.
const SAMPLE_RAW: u64 = 1 << 10;
/// `PERF_FORMAT_LOST`, Linux 6.0.
const FORMAT_LOST: u64 = 1 << 4;

/// An event that overflows again and again: what a program of type `perf_event` is attached to.
#[derive(Debug)]
pub struct Event {
    descriptor: OwnedFd,
}

/// How often an event overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sampling {
    /// So many times a second.
    Frequency(u64),
    /// Every so many counts; of a clock, nanoseconds.
    Period(u64),
}

impl Event {
    /// The clock of one CPU, whatever runs there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn cpu_clock(cpu: u32, sampling: Sampling) -> Result<Self, Error> {
        Self::open(SOFTWARE, CPU_CLOCK, cpu, sampling)
    }

    /// Any event of `struct perf_event_attr`, by its `type` and `config`, on one CPU, whatever runs there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(kind: u32, config: u64, cpu: u32, sampling: Sampling) -> Result<Self, Error> {
        let (period, flags) = match sampling {
            Sampling::Frequency(frequency) => (frequency, perf::FREQUENCY),
            Sampling::Period(period) => (period, 0),
        };
        let attr = EventAttr { kind, config, period, flags, ..Default::default() };
        Ok(Self { descriptor: open(attr, cpu)? })
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// When the kernel wakes who waits for a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PerfWakeup {
    /// After every so many samples of this CPU, and whenever half the ring was written since the last wakeup. 0: then only.
    Events(u32),
    /// Whenever more than so many bytes were written since the last wakeup.
    Watermark(u32),
}

/// How a [`PerfRing`] is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PerfOptions {
    /// Pages of data, a power of two.
    pub pages: usize,
    /// When to wake.
    pub wakeup: PerfWakeup,
    /// Written backward, over what was not read. Mapped for reading only.
    pub backward: bool,
}

impl PerfOptions {
    /// So many pages of data, woken after every sample, not backward.
    #[must_use]
    pub const fn new(pages: usize) -> Self {
        Self { pages, wakeup: PerfWakeup::Events(1), backward: false }
    }

    /// With another rule for wakeups.
    #[must_use]
    pub const fn with_wakeup(self, wakeup: PerfWakeup) -> Self {
        Self { wakeup, ..self }
    }

    /// Written backward.
    #[must_use]
    pub const fn backward(self) -> Self {
        Self { backward: true, ..self }
    }
}

/// A ring that programs write to with `bpf_perf_event_output` on one CPU: the event and its mapped pages.
///
/// To be read, it is given to `ebpf_perfbuf` by [`memory`](Self::memory), one reader at a time; [`PerfRings::readers`] does that for all CPUs.
#[derive(Debug)]
pub struct PerfRing {
    pub(crate) pages: Arc<Pages>,
    event: OwnedFd,
    cpu: u32,
    page_size: usize,
    /// A ring's memory is given to one at a time.
    pub(crate) is_lent: Arc<AtomicBool>,
}

impl PerfRing {
    /// Opens, maps and enables a ring for `cpu`.
    ///
    /// # Errors
    /// The kernel's: `EINVAL` for a number of pages that is no power of two, `EPERM` beyond the limit on locked memory.
    pub fn open(cpu: u32, options: PerfOptions) -> Result<Self, Error> {
        let (wakeup, watermark) = match options.wakeup {
            PerfWakeup::Events(events) => (events, 0),
            PerfWakeup::Watermark(bytes) => (bytes, perf::WATERMARK),
        };
        let attr = EventAttr {
            kind: SOFTWARE,
            config: BPF_OUTPUT,
            sample_type: SAMPLE_RAW,
            read_format: FORMAT_LOST,
            flags: watermark | if options.backward { perf::WRITE_BACKWARD } else { 0 },
            wakeup,
            ..Default::default()
        };
        let event = match open(attr, cpu) {
            // Before Linux 6.0 events do not know what they have lost.
            Err(error) if error.errno() == Errno::INVAL.raw_os_error() => {
                open(EventAttr { read_format: 0, ..attr }, cpu)?
            }
            event => event?,
        };
        Self::from_event(event, cpu, options)
    }

    /// The ring of an event that came from elsewhere, opened for `cpu` with these options: from the process before this one, which has handed its
    /// descriptor on. What was not read there is read here.
    ///
    /// # Errors
    /// As for [`open`](Self::open); `EINVAL` too if the ring is there already with another number of pages.
    pub fn from_event(event: OwnedFd, cpu: u32, options: PerfOptions) -> Result<Self, Error> {
        let page_size = rustix::param::page_size();
        let refused = |errno| Error::new("mmap", errno).of(format_args!("the perf ring of CPU {cpu}"));
        let length = options.pages.checked_add(1).and_then(|pages| pages.checked_mul(page_size));
        let length = length.ok_or_else(|| refused(Errno::INVAL))?;
        let pages = Pages::map(event.as_fd(), 0, length, !options.backward).map_err(|errno| match errno {
            Errno::PERM => refused(errno)
                .hint("more than perf_event_mlock_kb and the limit on locked memory allow (ulimit -l)"),
            Errno::INVAL => refused(errno).hint("a ring has 2^n pages of data"),
            _ => refused(errno),
        })?;
        let ring = Self { pages: Arc::new(pages), event, cpu, page_size, is_lent: Arc::default() };
        ring.request("ioctl(PERF_EVENT_IOC_ENABLE)", perf::ENABLE, 0)?;
        Ok(ring)
    }

    /// The ring's memory, for a reader; see [`PerfMemory`].
    ///
    /// # Errors
    /// `EBUSY` while what this gave before exists.
    pub fn memory(&self) -> Result<PerfMemory, Error> {
        PerfMemory::of(self)
    }

    /// How many samples found no room since the event was opened, whether or not the ring has told of them: it does so with the next sample that fits, so of the
    /// last ones never. `None` before Linux 6.0.
    ///
    /// # Errors
    /// The kernel's.
    pub fn lost(&self) -> Result<Option<u64>, Error> {
        // The count, which says nothing here, and the losses.
        let mut words = [0; 16];
        let refused =
            |errno| Error::new("read", errno).of(format_args!("the perf event of CPU {}", self.cpu));
        admit().map_err(refused)?;
        let length = rustix::io::read(&self.event, &mut words).map_err(refused)?;
        let lost = words.last_chunk().filter(|_| length == words.len());
        Ok(lost.map(|lost| u64::from_ne_bytes(*lost)))
    }

    /// Stops writing: what comes is lost meanwhile, and counted as such.
    ///
    /// # Errors
    /// The kernel's.
    pub fn pause(&self) -> Result<(), Error> {
        self.request("ioctl(PERF_EVENT_IOC_PAUSE_OUTPUT)", perf::PAUSE_OUTPUT, 1)
    }

    /// Writes again.
    ///
    /// # Errors
    /// The kernel's.
    pub fn resume(&self) -> Result<(), Error> {
        self.request("ioctl(PERF_EVENT_IOC_PAUSE_OUTPUT)", perf::PAUSE_OUTPUT, 0)
    }

    /// The CPU's number.
    #[must_use]
    pub fn cpu(&self) -> u32 {
        self.cpu
    }

    /// The control page, and from [`data_offset`](Self::data_offset) on the data. Writable (the control page only: a store to the data is a
    /// `SIGBUS`) unless the ring is written backward.
    #[must_use]
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Where the data starts in [`pages`](Self::pages): the size of a page.
    #[must_use]
    pub fn data_offset(&self) -> usize {
        self.page_size
    }

    /// Bytes of data.
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.pages.length().saturating_sub(self.page_size)
    }

    fn request(&self, call: &'static str, request: u32, argument: u32) -> Result<(), Error> {
        perf::request(self.as_fd(), request, argument)
            .map_err(|errno| Error::new(call, errno).of(format_args!("the perf ring of CPU {}", self.cpu)))
    }
}

/// To wait for.
impl AsFd for PerfRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// What reads the rings of all CPUs.
pub type PerfSet = PerCpu<PerfMemory, Vec<CpuReader<PerfMemory>>>;

/// A ring for each CPU that runs, entered in a perf event array; taken out of it again when dropped.
#[derive(Debug)]
pub struct PerfRings {
    map: LinuxMap,
    rings: BTreeMap<u32, PerfRing>,
}

impl PerfRings {
    /// Makes them. CPUs for which the array has no entry get no ring.
    ///
    /// # Errors
    /// The kernel's. Nothing is left behind, not in the array either.
    pub fn open(map: &LinuxMap, options: PerfOptions) -> Result<Self, Error> {
        let mut rings = Self { map: map.try_clone()?, rings: BTreeMap::new() };
        for cpu in cpus::online()?.into_iter().filter(|cpu| *cpu < map.max_entries()) {
            let ring = PerfRing::open(cpu, options)?;
            map.set_descriptor(cpu, ring.as_fd())?;
            rings.rings.insert(cpu, ring);
        }
        Ok(rings)
    }

    /// Readers of all of them, as one set.
    ///
    /// ```no_run
    /// # use ebpf_linux::{Interest, LinuxMap, PerfOptions, PerfRings, Trigger, Waiter};
    /// # use ebpf_perfbuf::{Event, Turn};
    /// # use std::ops::ControlFlow;
    /// # fn example(events: &LinuxMap) -> Result<(), ebpf_linux::Error> {
    /// let rings = PerfRings::open(events, PerfOptions::new(16))?;
    /// let waiter = Waiter::new()?;
    /// for (cpu, ring) in rings.iter() {
    ///     waiter.add(ring, u64::from(cpu), Interest::Readable, Trigger::Level)?;
    /// }
    /// let (mut set, mut ready) = (rings.readers()?, vec![]);
    /// loop {
    ///     let turn = set.turn(0, usize::MAX, |cpu, event| {
    ///         if let Event::Sample(sample) = event {
    ///             println!("CPU {cpu}: {:x?}", sample.slices());
    ///         }
    ///         ControlFlow::Continue(())
    ///     });
    ///     match turn {
    ///         Turn::Read(_) => {}
    ///         // Without a deadline, as long as it takes.
    ///         Turn::Wait { .. } => waiter.wait(&mut ready, None)?,
    ///         _ => break,
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `EBUSY` while a reader of one of them exists, `EINVAL` for rings that are written backward: those are read one by one.
    pub fn readers(&self) -> Result<PerfSet, Error> {
        let refused = |cpu, why: String| {
            Error::new("mmap", Errno::INVAL).of(format_args!("the perf ring of CPU {cpu}")).hint(why)
        };
        let readers = self.iter().map(|(cpu, ring)| {
            let reader = Reader::new(ring.memory()?).map_err(|error| refused(cpu, error.to_string()))?;
            Ok(CpuReader::new(cpu, reader))
        });
        let readers = readers.collect::<Result<Vec<_>, Error>>()?;
        // The map of rings has each CPU once.
        PerCpu::new(readers).map_err(|error| refused(0, error.to_string()))
    }

    /// The ring of a CPU, by its number.
    #[must_use]
    pub fn get(&self, cpu: u32) -> Option<&PerfRing> {
        self.rings.get(&cpu)
    }

    /// All of them, by the CPU's number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &PerfRing)> {
        self.rings.iter().map(|(cpu, ring)| (*cpu, ring))
    }
}

impl Drop for PerfRings {
    fn drop(&mut self) {
        for cpu in self.rings.keys() {
            // The array would keep the event alive. It fails only if somebody else has taken it out.
            let _ = self.map.delete(&cpu.to_ne_bytes());
        }
    }
}

/// What an event of a kind of probe is opened with: the kernel gives each kind its number at boot.
pub(crate) fn probe_attr(kind: &str, on_return: bool, offset: u64) -> Result<EventAttr, Error> {
    let place = format!("/sys/bus/event_source/devices/{kind}");
    let read = |file: &str| {
        let path = format!("{place}/{file}");
        let refused = |errno| Error::new("read", errno).of(&path);
        admit().map_err(refused)?;
        fs::read_to_string(&path)
            .map_err(|error| refused(errno_of(&error)).hint(format!("this kernel has no {kind}s")))
    };
    let unclear = |file: &str| Error::new("read", Errno::INVAL).of(format_args!("{place}/{file}"));
    let kind = read("type")?.trim().parse().map_err(|_| unclear("type"))?;
    let mut config = 0;
    if on_return {
        // `config:0`
        let format = read("format/retprobe")?;
        let bit = format.trim().strip_prefix("config:").and_then(|bit| bit.parse::<u32>().ok());
        config = bit.and_then(|bit| 1u64.checked_shl(bit)).ok_or_else(|| unclear("format/retprobe"))?;
    }
    Ok(EventAttr { kind, config, config2: offset, ..Default::default() })
}

fn open(attr: EventAttr, cpu: u32) -> Result<OwnedFd, Error> {
    let refused = |errno| {
        let error = Error::new("perf_event_open", errno).of(format_args!("CPU {cpu}"));
        match errno {
            Errno::PERM | Errno::ACCESS => error.needs(&[Capability::PerfMon]),
            Errno::NODEV => error.hint("that CPU does not run"),
            _ => error,
        }
    };
    let cpu = i32::try_from(cpu).map_err(|_| refused(Errno::INVAL))?;
    perf::open(attr, None, -1, cpu).map_err(refused)
}
