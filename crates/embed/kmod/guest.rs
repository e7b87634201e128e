//! The first process of the guest: loads the module, reads its ring, asks it to show the rest, and says on the console what was seen.
//!
//! `cargo xtask embed kmod` builds it statically, boots it and reads the console: the last line must begin with `PASS`.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a guest that panics fails"
)]

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("skipped: made for Linux");
}

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::CStr;
    use std::fs::{self, File};
    use std::ops::ControlFlow;
    use std::os::fd::{AsFd, OwnedFd};
    use std::panic::catch_unwind;
    use std::path::Path;
    use std::ptr::{self, NonNull};
    use std::time::{Duration, Instant};

    use ebpf_ringbuf::{Consumer, Geometry, Mapped, Mapping, PageOffset, Stopped};
    use rustix::event::epoll;
    use rustix::fs::{Mode, OFlags};
    use rustix::io::{Errno, read};
    use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};
    use rustix::mm::{MapFlags, ProtFlags, mmap};
    use rustix::mount::{MountFlags, mount};
    use rustix::process::getpid;
    use rustix::system::{RebootCommand, delete_module, init_module, reboot};

    /// As in `module.h`.
    const CONTEXTS: usize = 5;
    const NAMES: [&str; CONTEXTS] =
        ["process on CPU 0", "process on CPU 1", "softirq", "hard interrupt", "NMI"];
    const RECORDS: [u64; CONTEXTS] = [300_000, 300_000, 200_000, 150_000, 50_000];
    const NOBODY: u64 = u64::MAX;
    const DATA: usize = 64 * 4096;

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Run {
        records: [u64; CONTEXTS],
        loser: u64,
    }

    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default)]
    struct Stats {
        asked: u64,
        wakeups: u64,
        inside: [u64; CONTEXTS],
        misplaced: u64,
        reserved: u64,
        submitted: u64,
        discarded: u64,
        full: u64,
        outstanding: u64,
        unread: u64,
    }

    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default)]
    struct Transactions {
        threads: u64,
        each: u64,
        refused_alone: u64,
        refused_serialized: u64,
        failed: u64,
        objects: u64,
        nested_refused: u64,
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Choice {
        bytes: u64,
        length: u64,
        programs: u64,
        on_at_first: u64,
        on_after: u64,
        frozen: i64,
        frozen_again: i64,
        changed_late: i64,
        cut: i64,
        message: [u8; 128],
    }

    const RUN: Opcode = opcode::write::<Run>(b'b', 1);
    const STATS: Opcode = opcode::read::<Stats>(b'b', 2);
    const TRANSACTIONS: Opcode = opcode::read_write::<Transactions>(b'b', 3);
    const CHOOSE: Opcode = opcode::read_write::<Choice>(b'b', 4);

    pub(crate) fn main() {
        if getpid().as_raw_nonzero().get() != 1 {
            eprintln!("this is the first process of a guest: cargo xtask embed kmod");
            return;
        }
        // A first process that ends takes the kernel with it.
        if catch_unwind(all).is_err() {
            println!("FAIL: see the panic above");
        }
        let _ = reboot(RebootCommand::PowerOff);
    }

    fn all() {
        for (kind, place) in [(c"proc", c"/proc"), (c"sysfs", c"/sys"), (c"devtmpfs", c"/dev")] {
            fs::create_dir_all(Path::new(place.to_str().unwrap())).unwrap();
            mount(kind, place, kind, MountFlags::empty(), None::<&CStr>).unwrap();
        }
        let mut log = Log::open();
        let module = fs::read("/ebb_ring.ko").unwrap();

        init_module(&module, c"").unwrap();
        let device = open_device();
        let ring = Ring::map(&device);
        let mut reader = Reader::new(&device, &ring);
        let seen = reader.read(&device, NOBODY).unwrap_or_else(|wrong| panic!("{wrong}"));
        print(&seen, &stats(&device));
        // The same with one record left out: if that is not noticed, the check above says nothing.
        let wrong = reader.read(&device, 3).err().unwrap_or_else(|| panic!("a lost record was not noticed"));
        println!("a record left out on purpose is noticed: {wrong}");
        choose(&device);
        transactions(&device);
        drop(reader);
        drop(device);
        // The ring is mapped still, and so the module stays.
        assert_eq!(delete_module(c"ebb_ring", 0).err(), Some(Errno::AGAIN), "unloaded under a mapping");
        drop(ring);
        unload();
        // And once more, with the ring in use until the end.
        init_module(&module, c"").unwrap();
        let device = open_device();
        let run = Run { records: RECORDS, loser: NOBODY };
        // SAFETY: the structure that the command takes.
        unsafe { tell::<RUN, Run>(&device, run) }.unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(stats(&device).submitted > 0);
        drop(device);
        unload();

        let complaints = log.since_start();
        assert!(complaints.is_empty(), "the kernel complained: {complaints:#?}");
        println!(
            "PASS: {} records read in sequence, the module is unloaded, no complaint in the log",
            seen.total()
        );
    }

    fn unload() {
        delete_module(c"ebb_ring", 0).unwrap();
        let modules = fs::read_to_string("/proc/modules").unwrap();
        assert!(!modules.contains("ebb_ring"), "still there: {modules}");
        let mappings = fs::read_to_string("/proc/vmallocinfo").unwrap();
        assert!(!mappings.contains("ebb_ring"), "memory is left mapped: {mappings}");
    }

    fn open_device() -> OwnedFd {
        rustix::fs::open("/dev/ebb_ring", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    /// # Safety
    /// The command takes a `T`.
    unsafe fn tell<const COMMAND: Opcode, T>(device: &OwnedFd, value: T) -> rustix::io::Result<()> {
        // SAFETY: the caller's.
        let command = unsafe { Setter::<COMMAND, T>::new(value) };
        // SAFETY: the caller's.
        unsafe { ioctl(device, command) }
    }

    /// # Safety
    /// The command takes a `T` and changes it.
    unsafe fn ask<const COMMAND: Opcode, T>(device: &OwnedFd, value: &mut T) -> rustix::io::Result<()> {
        // SAFETY: the caller's.
        let command = unsafe { Updater::<COMMAND, T>::new(value) };
        // SAFETY: the caller's.
        unsafe { ioctl(device, command) }
    }

    fn stats(device: &OwnedFd) -> Stats {
        let mut stats = Stats::default();
        // SAFETY: the structure that the command fills in.
        unsafe { ask::<STATS, Stats>(device, &mut stats) }.unwrap();
        stats
    }

    /// The ring's pages, as of a ring of bpf(2).
    struct Ring {
        consumer: NonNull<u8>,
        producer: NonNull<u8>,
    }

    const PAGE: usize = 4096;

    impl Ring {
        fn map(device: &OwnedFd) -> Self {
            let map = |offset, length, protection| {
                // SAFETY: a new mapping at an address of the kernel's choice.
                unsafe { mmap(ptr::null_mut(), length, protection, MapFlags::SHARED, device, offset) }
            };
            let writable = ProtFlags::READ | ProtFlags::WRITE;
            assert_eq!(
                map(PAGE as u64, PAGE, writable).err(),
                Some(Errno::PERM),
                "the producer's page is writable"
            );
            let consumer = map(0, PAGE, writable).unwrap();
            let producer = map(PAGE as u64, PAGE + 2 * DATA, ProtFlags::READ).unwrap();
            Self {
                consumer: NonNull::new(consumer.cast()).unwrap(),
                producer: NonNull::new(producer.cast()).unwrap(),
            }
        }
    }

    impl Drop for Ring {
        fn drop(&mut self) {
            // SAFETY: what `map` has mapped; readers borrow it.
            unsafe { rustix::mm::munmap(self.consumer.as_ptr().cast(), PAGE) }.unwrap();
            // SAFETY: as above.
            unsafe { rustix::mm::munmap(self.producer.as_ptr().cast(), PAGE + 2 * DATA) }.unwrap();
        }
    }

    /// What a run has brought.
    #[derive(Default)]
    struct Seen {
        next: [u64; CONTEXTS],
        bytes: u64,
        discarded: u64,
        /// Returns of epoll, of which that many found the ring empty.
        woken: u64,
        woken_for_nothing: u64,
        busy: u64,
        elapsed: Duration,
    }

    impl Seen {
        fn total(&self) -> u64 {
            self.next.iter().sum()
        }

        fn check(&mut self, record: &[u8]) -> Result<(), String> {
            let word = |at: usize| u32::from_ne_bytes(record[at..at + 4].try_into().unwrap());
            let (producer, length) = (word(0) as usize, word(4) as usize);
            let sequence = u64::from_ne_bytes(record[8..16].try_into().unwrap());
            if producer >= CONTEXTS || length != record.len() || length != 16 + 8 * (sequence % 13) as usize {
                return Err(format!(
                    "a record of {} bytes says {producer}, {length}, {sequence}",
                    record.len()
                ));
            }
            if record[16..].iter().any(|byte| *byte != sequence.to_ne_bytes()[0]) {
                return Err(format!("record {sequence} of {} holds other bytes", NAMES[producer]));
            }
            let expected = self.next[producer];
            if sequence != expected {
                return Err(format!("{}: record {sequence} comes where {expected} should", NAMES[producer]));
            }
            self.next[producer] += 1;
            self.bytes += length as u64;
            Ok(())
        }
    }

    struct Reader<'r> {
        consumer: Consumer<Mapped<'r>>,
        epoll: OwnedFd,
    }

    impl<'r> Reader<'r> {
        fn new(device: &OwnedFd, ring: &'r Ring) -> Self {
            let geometry = Geometry::new(DATA, PAGE, Mapping::Mirrored, PageOffset::FromRing).unwrap();
            // SAFETY: within the mapping.
            let data = unsafe { ring.producer.add(PAGE) };
            // SAFETY: pages as the module maps them, for as long as `ring` is borrowed; there is one consumer.
            let mapped = unsafe { Mapped::new(ring.consumer, ring.producer, data, geometry) };
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
            let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&epoll, device, epoll::EventData::new_u64(0), edge).unwrap();
            Self { consumer: Consumer::new(mapped).unwrap(), epoll }
        }

        /// Has the module produce, and reads it all. Sleeps whenever there is nothing, and is woken by edges alone.
        fn read(&mut self, device: &OwnedFd, loser: u64) -> Result<Seen, String> {
            let start = Instant::now();
            let run = Run { records: RECORDS, loser };
            // SAFETY: the structure that the command takes.
            unsafe { tell::<RUN, Run>(device, run) }.unwrap();
            let mut seen = Seen::default();
            let mut wrong = None;
            let lost = u64::from(loser != NOBODY);
            let expected: u64 = RECORDS.iter().sum::<u64>() - lost;
            let mut records = 0;
            while records < expected {
                let drained = self.consumer.drain(usize::MAX, |record| {
                    if let Err(error) = seen.check(&record) {
                        wrong.get_or_insert(error);
                    }
                    ControlFlow::Continue(())
                });
                records += drained.records as u64;
                seen.discarded += drained.discarded as u64;
                match drained.stopped {
                    Stopped::Empty => {}
                    Stopped::Busy => seen.busy += 1,
                    other => return Err(format!("after {records} records: {other}")),
                }
                if seen.woken != 0 && drained.records + drained.discarded == 0 {
                    seen.woken_for_nothing += 1;
                }
                if records >= expected {
                    break;
                }
                let mut events = Vec::with_capacity(1);
                let limit = rustix::time::Timespec { tv_sec: 20, tv_nsec: 0 };
                if epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&limit))
                    .unwrap()
                    == 0
                {
                    return Err(format!(
                        "a wakeup was lost: asleep after {records} of {expected} records, {:?}",
                        stats(device)
                    ));
                }
                seen.woken += 1;
            }
            seen.elapsed = start.elapsed();
            wrong.map_or(Ok(seen), Err)
        }
    }

    fn print(seen: &Seen, stats: &Stats) {
        for (context, name) in NAMES.iter().enumerate() {
            let inside = stats.inside[context];
            println!(
                "{name}: {} records, {inside} while CPU 0's thread was inside a reservation",
                seen.next[context]
            );
        }
        println!(
            "{} records, {} payload bytes, {} discarded, {} times busy, in {:.1} s",
            seen.total(),
            seen.bytes,
            seen.discarded,
            seen.busy,
            seen.elapsed.as_secs_f64()
        );
        println!(
            "wakeups: {} asked for, {} made, {} returns of epoll, {} of them for nothing",
            stats.asked, stats.wakeups, seen.woken, seen.woken_for_nothing
        );
        println!("the module counts {stats:?}");
        assert_eq!(seen.next, RECORDS);
        assert_eq!(stats.misplaced, 0, "a producer ran in another context than the one meant");
        assert_eq!(stats.reserved, stats.submitted + stats.discarded);
        assert_eq!(stats.submitted, seen.total());
        // Two interrupts out of three at least met the thread half-way: else the run shows nothing of what it is for.
        let met = stats.inside.iter().filter(|inside| **inside != 0).count();
        assert!(met >= 2, "no interrupt came between reserve and commit");
        assert!(seen.woken > 0 && stats.wakeups <= stats.asked, "wakeups do not add up");
    }

    fn choose(device: &OwnedFd) {
        let object = include_bytes!("../../progtable/tests/objects/choose.bpf.o");
        let mut choice = Choice {
            bytes: object.as_ptr().addr() as u64,
            length: object.len() as u64,
            programs: 0,
            on_at_first: 0,
            on_after: 0,
            frozen: 0,
            frozen_again: 0,
            changed_late: 0,
            cut: 0,
            message: [0; 128],
        };
        // SAFETY: the structure that the command takes; the object's bytes are as long as it says.
        unsafe { ask::<CHOOSE, Choice>(device, &mut choice) }.unwrap();
        let message = CStr::from_bytes_until_nul(&choice.message).unwrap().to_str().unwrap();
        println!(
            "object: {} programs, loaded at first {:#b}, then {:#b}; half of it: {message}",
            choice.programs, choice.on_at_first, choice.on_after
        );
        assert_eq!((choice.programs, choice.on_at_first, choice.on_after), (3, 0b111, 0b100));
        assert_eq!((choice.frozen, choice.frozen_again, choice.changed_late), (0, -7, -7));
        assert!(choice.cut == -5 && !message.is_empty(), "half an object was opened: {}", choice.cut);
    }

    fn transactions(device: &OwnedFd) {
        let mut said = Transactions { threads: 4, each: 100, ..Transactions::default() };
        // SAFETY: the structure that the command takes and fills in.
        unsafe { ask::<TRANSACTIONS, Transactions>(device, &mut said) }.unwrap();
        println!(
            "transactions of {} threads on one session: {} begins refused with TXN_IN_PROGRESS; serialized {}, {} failed, {} objects added",
            said.threads, said.refused_alone, said.refused_serialized, said.failed, said.objects
        );
        assert!(said.refused_alone > 0, "the threads never met: nothing is shown");
        assert_eq!((said.refused_serialized, said.failed, said.objects), (0, 0, 800));
        assert_eq!(said.nested_refused, 1);
    }

    /// The kernel's log.
    struct Log(File);

    impl Log {
        /// From here on.
        fn open() -> Self {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = File::from(rustix::fs::open("/dev/kmsg", flags, Mode::empty()).unwrap());
            let mut log = Self(file);
            log.drain(|_, _| ());
            log
        }

        /// What is a warning or worse. But that a module of nobody's signature taints the kernel is as it should be, and that a timer took its time
        /// is about the machine: the guest is emulated.
        fn since_start(&mut self) -> Vec<String> {
            let mut complaints = Vec::new();
            self.drain(|level, text| {
                println!("log <{level}> {text}");
                let known = ["loading out-of-tree module taints kernel", "hrtimer: interrupt took"];
                let is_known = known.iter().any(|known| text.contains(known));
                if level <= 4 && !is_known
                    || ["Call Trace", "unsafe", "BUG", "WARNING"].iter().any(|bad| text.contains(bad))
                {
                    complaints.push(text.to_owned());
                }
            });
            complaints
        }

        fn drain(&mut self, mut each: impl FnMut(u32, &str)) {
            let mut record = [0; 8192];
            loop {
                match read(self.0.as_fd(), &mut record) {
                    Ok(length) => {
                        let text = String::from_utf8_lossy(&record[..length]).into_owned();
                        let (prefix, message) = text.split_once(';').unwrap();
                        let priority: u32 = prefix.split(',').next().unwrap().parse().unwrap();
                        each(priority & 7, message.lines().next().unwrap_or_default());
                    }
                    // Overwritten before it was read.
                    Err(Errno::PIPE) => {}
                    Err(Errno::AGAIN) => return,
                    Err(error) => panic!("/dev/kmsg: {error}"),
                }
            }
        }
    }
}
