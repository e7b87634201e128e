//! Perf rings of the running kernel, and a program that writes to them on a named CPU.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use ebpf_perfbuf::page::field;
use ebpf_perfbuf::{CpuReader, Direction, GeometryError, Mapped, PerCpu, Reader, WakeupPolicy};
use ebpf_progtable::{Instruction, ProgramKind};
use libbpf_sys as sys;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::mm::ProtFlags;

use crate::bpf::{Pages, Program, SharedBytes, create_map, not_possible};
use crate::libbpf::Errno;

/// A perf event of the kind that programs write to (`PERF_COUNT_SW_BPF_OUTPUT`), on one CPU, with its ring mapped.
#[derive(Debug)]
pub struct PerfEvent {
    descriptor: OwnedFd,
    pages: Pages,
    cpu: u32,
    direction: Direction,
}

impl PerfEvent {
    /// Opens, maps and enables one with a ring of `size` bytes.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn open(cpu: u32, size: usize, policy: WakeupPolicy, direction: Direction) -> Result<Self, Errno> {
        let descriptor = open(cpu, policy, direction)?;
        // Where pages cannot be written there is no tail, and the oldest records are overwritten.
        let protection = match direction {
            Direction::Forward => ProtFlags::READ | ProtFlags::WRITE,
            Direction::Backward => ProtFlags::READ,
        };
        let length = size.checked_add(rustix::param::page_size()).ok_or(Errno(libc::EINVAL))?;
        let pages = Pages::map(descriptor.as_fd(), 0, length, protection)?;
        let event = Self { descriptor, pages, cpu, direction };
        event.control(ENABLE, 0)?;
        Ok(event)
    }

    /// This process's side of the ring. Make one reader at a time.
    ///
    /// # Panics
    ///
    /// When the kernel's page does not say where its data is.
    #[must_use]
    #[expect(clippy::panic, reason = "a test that cannot go on")]
    pub fn side(&self) -> Mapped<'_> {
        // SAFETY: pages as the kernel maps them, for as long as `self` lives; the kernel is the writer.
        let mapped = unsafe { Mapped::open(self.pages.base(), self.pages.length(), self.direction) };
        mapped.unwrap_or_else(|error| panic!("the kernel's page: {error}"))
    }

    /// The CPU that writes.
    #[must_use]
    pub fn cpu(&self) -> u32 {
        self.cpu
    }

    /// The control page, then the data.
    #[must_use]
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// A copy of the data.
    #[must_use]
    pub fn data(&self) -> Vec<u8> {
        let page = rustix::param::page_size();
        self.pages.bytes(page, self.pages.length().saturating_sub(page))
    }

    /// `data_head`.
    #[must_use]
    pub fn head(&self) -> &AtomicUsize {
        self.position(field::DATA_HEAD)
    }

    /// `data_tail`.
    #[must_use]
    pub fn tail(&self) -> &AtomicUsize {
        self.position(field::DATA_TAIL)
    }

    /// Asks poll(2), which consumes the answer, and waits for it at most so long.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn poll(&self, limit: Duration) -> io::Result<bool> {
        let limit = rustix::time::Timespec::try_from(limit).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&self.descriptor, PollFlags::IN)];
        Ok(poll(&mut fds, Some(&limit))? != 0)
    }

    /// Pauses output, or lets it go on (`PERF_EVENT_IOC_PAUSE_OUTPUT`).
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn pause(&self, is_paused: bool) -> Result<(), Errno> {
        self.control(PAUSE_OUTPUT, libc::c_ulong::from(is_paused))
    }

    /// The kernel's number of the event, as lost records have it.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn id(&self) -> Result<u64, Errno> {
        let mut id = 0u64;
        // SAFETY: the request writes one 64-bit word to the address given.
        check(unsafe { libc::ioctl(self.descriptor.as_raw_fd(), GET_ID, &raw mut id) }.into())?;
        Ok(id)
    }

    /// How many records the event has lost in all, reported in the ring or not (`PERF_FORMAT_LOST`, Linux 6.0).
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn lost(&self) -> io::Result<u64> {
        let mut words = [0u8; 16];
        let count = rustix::io::read(&self.descriptor, &mut words)?;
        match words.last_chunk() {
            Some(lost) if count == words.len() => Ok(u64::from_ne_bytes(*lost)),
            _ => Err(io::Error::other(format!("the event answered with {count} bytes"))),
        }
    }

    fn control(&self, request: libc::Ioctl, argument: libc::c_ulong) -> Result<(), Errno> {
        // SAFETY: these requests take a number.
        check(unsafe { libc::ioctl(self.descriptor.as_raw_fd(), request, argument) }.into()).map(drop)
    }

    fn position(&self, offset: usize) -> &AtomicUsize {
        // SAFETY: inside the first page.
        let word = unsafe { self.pages.base().add(offset) };
        // SAFETY: aligned and valid while the pages are mapped; nobody stores where that is not allowed.
        unsafe { AtomicUsize::from_ptr(word.cast().as_ptr()) }
    }
}

impl AsFd for PerfEvent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn open(cpu: u32, policy: WakeupPolicy, direction: Direction) -> Result<OwnedFd, Errno> {
    let cpu = i32::try_from(cpu).map_err(|_| Errno(libc::EINVAL))?;
    let (watermark, wakeup) = match policy {
        WakeupPolicy::Events(events) => (0, events.get()),
        WakeupPolicy::Watermark(bytes) => (WATERMARK, bytes.get()),
        _ => (0, 0),
    };
    let backward = if direction == Direction::Backward { WRITE_BACKWARD } else { 0 };
    let words = |low: u32, high: u32| u64::from_ne_bytes(ne_words(low, high));
    // `struct perf_event_attr`, the words up to `wakeup_events`.
    let mut attributes = [0u64; 16];
    let filled = [
        words(TYPE_SOFTWARE, u32::try_from(size_of_val(&attributes)).unwrap_or(0)),
        BPF_OUTPUT,
        0,
        SAMPLE_RAW,
        FORMAT_LOST,
        watermark | backward,
        words(wakeup, 0),
    ];
    for (word, filled) in attributes.iter_mut().zip(filled) {
        *word = filled;
    }
    // SAFETY: the attributes are as long as they say; the other arguments are numbers.
    let descriptor = check(unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            attributes.as_ptr(),
            ANY_PROCESS,
            cpu,
            NO_GROUP,
            libc::c_ulong::from(CLOEXEC),
        )
    })?;
    let descriptor = i32::try_from(descriptor).map_err(|_| Errno(libc::EBADF))?;
    // SAFETY: the kernel just gave this descriptor to us and to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn ne_words(low: u32, high: u32) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (low.to_ne_bytes(), high.to_ne_bytes());
    [a, b, c, d, e, f, g, h]
}

fn check(status: libc::c_long) -> Result<libc::c_long, Errno> {
    if status < 0 {
        Err(Errno(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)))
    } else {
        Ok(status)
    }
}

/// Writes events by `bpf_perf_event_output`, from a CPU of choice.
#[derive(Debug)]
pub struct Emitter {
    array: OwnedFd,
    payload: SharedBytes,
    program: Program,
}

impl Emitter {
    /// An array of `entries` places for events, and the program that writes to them.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn new(entries: u32) -> Result<Self, String> {
        let failed = |what: &'static str| move |error: Errno| format!("{what}: {error}");
        let array =
            create_map(sys::BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, entries, 0).map_err(failed("a map"))?;
        let payload = SharedBytes::new(LONGEST).map_err(failed("shared memory"))?;
        let code = code(array.as_raw_fd(), payload.as_raw_fd());
        let program = Program::load_as("raw_tp", ProgramKind::RAW_TRACEPOINT, &code)?;
        Ok(Self { array, payload, program })
    }

    /// The map.
    #[must_use]
    pub fn array(&self) -> BorrowedFd<'_> {
        self.array.as_fd()
    }

    /// Puts an event into the array, at the place of its CPU.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set(&self, event: &PerfEvent) -> Result<(), Errno> {
        self.set_at(event.cpu, event)
    }

    /// Puts an event into the array, at any place.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_at(&self, place: u32, event: &PerfEvent) -> Result<(), Errno> {
        let descriptor = event.descriptor.as_raw_fd();
        // SAFETY: key and value are as long as the map says, and outlive the call.
        let status = unsafe {
            sys::bpf_map_update_elem(
                self.array.as_raw_fd(),
                (&raw const place).cast(),
                (&raw const descriptor).cast(),
                0,
            )
        };
        check(status.into()).map(drop)
    }

    /// Takes the event of a CPU out of the array: there, programs write no more.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn unset(&self, place: u32) -> Result<(), Errno> {
        // SAFETY: the key is as long as the map says, and outlives the call.
        check(unsafe { sys::bpf_map_delete_elem(self.array.as_raw_fd(), (&raw const place).cast()) }.into())
            .map(drop)
    }

    /// Writes a sample on CPU `cpu` to the event of that CPU; gives what the helper returned: 0 or a negative error number.
    ///
    /// # Errors
    ///
    /// When the program could not be run there.
    pub fn emit(&mut self, cpu: u32, payload: &[u8]) -> Result<i32, Errno> {
        self.emit_to(cpu, CURRENT_CPU, payload)
    }

    /// The same on whichever CPU the calling thread is running, as most programs that are attached to something.
    ///
    /// # Errors
    ///
    /// When the program could not be run.
    pub fn emit_here(&mut self, payload: &[u8]) -> Result<i32, Errno> {
        self.payload.pages_mut().write(0, payload);
        Ok(self.program.run_here(&[payload.len() as u64, CURRENT_CPU])?.cast_signed())
    }

    /// The same as [`emit`](Self::emit) to the event at any place, or with any other flags.
    ///
    /// # Errors
    ///
    /// When the program could not be run there.
    ///
    /// # Panics
    ///
    /// When the payload is longer than [`LONGEST`].
    pub fn emit_to(&mut self, cpu: u32, flags: u64, payload: &[u8]) -> Result<i32, Errno> {
        self.payload.pages_mut().write(0, payload);
        let answer = self.program.run_on(cpu, &[payload.len() as u64, flags])?;
        Ok(answer.cast_signed())
    }
}

/// The rings of some CPUs, and what writes to them.
#[derive(Debug)]
pub struct Session {
    events: Vec<PerfEvent>,
    /// To write with.
    pub emitter: Emitter,
    start: Instant,
}

/// The readers of a [`Session`].
pub type Set<'s> = PerCpu<Mapped<'s>, Vec<CpuReader<Mapped<'s>>>>;

impl Session {
    /// A ring of `size` bytes for each CPU that the calling thread may use; a note where the kernel allows none.
    ///
    /// # Errors
    ///
    /// The kernel's, if rights are not the reason or `CI` is set.
    pub fn open(size: usize, policy: WakeupPolicy, direction: Direction) -> Result<Option<Self>, String> {
        let cpus = ebpf_linux::cpus::allowed().map_err(|error| error.to_string())?;
        let events = match cpus.into_iter().map(|cpu| PerfEvent::open(cpu, size, policy, direction)).collect()
        {
            Ok(events) => events,
            Err(error) => return not_possible("perf events cannot be opened here", error).map(|()| None),
        };
        let session = Self { events, emitter: Emitter::new(1024)?, start: Instant::now() };
        session
            .events
            .iter()
            .try_for_each(|event| session.emitter.set(event))
            .map_err(|error| error.to_string())?;
        Ok(Some(session))
    }

    /// The events, by CPU.
    #[must_use]
    pub fn events(&self) -> &[PerfEvent] {
        &self.events
    }

    /// The CPUs.
    #[must_use]
    pub fn cpus(&self) -> Vec<u32> {
        self.events.iter().map(PerfEvent::cpu).collect()
    }

    /// Both at once: the readers, and what writes.
    ///
    /// # Errors
    ///
    /// When the rings are written backward.
    pub fn split(&mut self) -> Result<(Set<'_>, &[PerfEvent], &mut Emitter), String> {
        let readers =
            self.events.iter().map(|event| Ok(CpuReader::new(event.cpu, Reader::new(event.side())?)));
        let readers: Result<Vec<_>, GeometryError> = readers.collect();
        let set =
            PerCpu::new(readers.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
        Ok((set, &self.events, &mut self.emitter))
    }

    /// Nanoseconds since the session was opened: the clock of its deadlines.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// CPUs whose rings poll(2) says are ready, after waiting for one at most so long. The answers are consumed.
///
/// # Errors
///
/// The kernel's.
pub fn ready(events: &[PerfEvent], limit: Duration) -> io::Result<Vec<u32>> {
    let limit = rustix::time::Timespec::try_from(limit).map_err(io::Error::other)?;
    let mut fds: Vec<_> = events.iter().map(|event| PollFd::new(&event.descriptor, PollFlags::IN)).collect();
    poll(&mut fds, Some(&limit))?;
    let ready = fds.iter().zip(events).filter(|(fd, _)| fd.revents().contains(PollFlags::IN));
    Ok(ready.map(|(_, event)| event.cpu).collect())
}

/// Runs `bpf_perf_event_output(ctx, array, args[1], payload, args[0])` and returns what it says.
fn code(array: i32, payload: i32) -> [Instruction; 11] {
    const MASK: i32 = 0x1_ffff;
    const { assert!(LONGEST == 1 + MASK as usize) };
    let wide = |register, source, low| Instruction::new(0x18, register, source, 0, low);
    let rest = Instruction::new(0, 0, 0, 0, 0);
    [
        Instruction::new(0xbf, 6, 1, 0, 0),    // r6 = ctx
        Instruction::new(0x79, 5, 6, 0, 0),    // r5 = args[0]
        Instruction::new(0x57, 5, 0, 0, MASK), // r5 &= MASK
        Instruction::new(0x79, 3, 6, 8, 0),    // r3 = args[1]
        wide(2, 1, array),                     // r2 = the array
        rest,
        wide(4, 2, payload), // r4 = the payload
        rest,
        Instruction::new(0xbf, 1, 6, 0, 0),  // r1 = ctx
        Instruction::new(0x85, 0, 0, 0, 25), // bpf_perf_event_output
        Instruction::new(0x95, 0, 0, 0, 0),  // exit
    ]
}

/// The longest payload that can be written.
pub const LONGEST: usize = 1 << 17;

/// `BPF_F_CURRENT_CPU`: the event at the place of the CPU that the program runs on.
pub const CURRENT_CPU: u64 = 0xffff_ffff;

const TYPE_SOFTWARE: u32 = 1;
const BPF_OUTPUT: u64 = 10;
const SAMPLE_RAW: u64 = 1 << 10;
const FORMAT_LOST: u64 = 1 << 4;
const WATERMARK: u64 = 1 << 14;
const WRITE_BACKWARD: u64 = 1 << 27;
const ANY_PROCESS: i32 = -1;
const NO_GROUP: i32 = -1;
const CLOEXEC: u32 = 8;
const ENABLE: libc::Ioctl = 0x2400;
const PAUSE_OUTPUT: libc::Ioctl = 0x4004_2409;
const GET_ID: libc::Ioctl = 0x8008_2407;
