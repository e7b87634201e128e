//! The kernel's rings, the program that fills them, and the two readers.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::ops::ControlFlow;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

use ebpf_perfbuf::page::field;
use ebpf_perfbuf::{CpuReader, Direction, Event, Mapped, PerCpu, Reader, Sample, Stopped};
use libbpf_sys as sys;

use crate::kernel::{load_object, program};
use crate::measure::{Seen, Stopwatch};

/// A ring for each CPU, opened and mapped by libbpf.
pub(super) struct Rings {
    object: NonNull<sys::bpf_object>,
    program: i32,
    buffer: NonNull<sys::perf_buffer>,
    /// What libbpf's callback saw.
    seen: Box<Line>,
    /// Control pages, and the tails when the rings were filled last.
    pages: Vec<(NonNull<u8>, usize)>,
    /// Bytes mapped for each.
    mapped: usize,
}

/// On a cache line of its own: where it crossed two, adding to it was seen to take four times as long.
#[derive(Default)]
#[repr(align(64))]
struct Line(UnsafeCell<Seen>);

/// `struct fill` of the BPF program.
#[repr(C)]
struct Fill {
    sizes: [u64; 8],
    count: u64,
    random: u64,
}

impl Rings {
    /// Compiles and loads the program, and lets libbpf open rings of `pages` pages.
    pub(super) fn load(pages: usize) -> Result<Self, String> {
        let object = load_object("fill_perf.bpf.c", "root is needed")?;
        // SAFETY: the object is loaded, the name a string.
        let map = unsafe { sys::bpf_object__find_map_fd_by_name(object.as_ptr(), c"events".as_ptr()) };
        let program = program(object, c"fill");

        let seen = Box::<Line>::default();
        let context = seen.0.get().cast();
        // SAFETY: the descriptor is that of a perf event array; the context lives as long as the buffer.
        let buffer = unsafe {
            sys::perf_buffer__new(map, pages as _, Some(on_sample), Some(on_lost), context, ptr::null())
        };
        let buffer = NonNull::new(buffer)
            .ok_or_else(|| format!("libbpf does not open the rings: {}", std::io::Error::last_os_error()))?;
        // SAFETY: the buffer is live.
        let count = unsafe { sys::perf_buffer__buffer_cnt(buffer.as_ptr()) };
        let mut rings = Self { object, program, buffer, seen, pages: Vec::new(), mapped: 0 };
        for index in 0..count {
            let (mut base, mut size) = (ptr::null_mut(), 0);
            // SAFETY: the buffer is live and has this many rings; both results are written.
            let result = unsafe {
                sys::perf_buffer__buffer(buffer.as_ptr(), index as c_int, &raw mut base, &raw mut size)
            };
            assert_eq!(result, 0, "libbpf gives its ring {index}");
            rings.pages.push((NonNull::new(base.cast()).expect("a mapping"), 0));
            rings.mapped = size as usize + rustix::param::page_size();
        }
        Ok(rings)
    }

    pub(super) fn count(&self) -> usize {
        self.pages.len()
    }

    /// Empties the rings, fills each, and says what there is to be seen.
    pub(super) fn fill(&mut self, sizes: &[u64], random: bool) -> Result<Seen, String> {
        let mut how = Fill { sizes: [0; 8], count: sizes.len() as u64, random: u64::from(random) };
        how.sizes[..sizes.len()].copy_from_slice(sizes);
        for index in 0..self.pages.len() {
            let head = self.word(index, field::DATA_HEAD).load(Ordering::Acquire);
            // The ring was filled until it refused, and the next sample reports that: with a few small ones here, which are given up.
            self.word(index, field::DATA_TAIL).store(head, Ordering::Release);
            self.run(index, &Fill { sizes: [8; 8], count: 1, random: 0 })?;
            let head = self.word(index, field::DATA_HEAD).load(Ordering::Acquire);
            self.word(index, field::DATA_TAIL).store(head, Ordering::Release);
            while self.run(index, &how)? == 0 {}
            self.pages[index].1 = head;
            let used = self.word(index, field::DATA_HEAD).load(Ordering::Acquire).wrapping_sub(head);
            if used < self.mapped / 2 {
                return Err(format!("only {used} bytes were written to ring {index}"));
            }
        }
        Ok(self.libbpf().1)
    }

    /// Our reader, in one drain of the set.
    pub(super) fn ours(&self) -> (f64, Seen) {
        self.rewind();
        let reader = |(cpu, (page, _)): (usize, &(NonNull<u8>, usize))| {
            // SAFETY: libbpf's mapping of a ring, which lives as long as `self`; the contenders take turns, so there is one reader.
            let memory = unsafe { Mapped::open(*page, black_box(self.mapped), Direction::Forward) };
            CpuReader::new(cpu as u32, Reader::new(memory.expect("a ring")).expect("a forward ring"))
        };
        let readers: Vec<_> = self.pages.iter().enumerate().map(reader).collect();
        let mut set = PerCpu::new(readers).expect("each CPU once");
        let mut seen = Seen::default();
        let start = Stopwatch::start();
        let drained = set.drain(usize::MAX, |_, event| {
            if let Event::Sample(sample) = event {
                glance(&mut seen, &sample);
            }
            ControlFlow::Continue(())
        });
        let nanoseconds = start.nanoseconds();
        assert_eq!((drained.stopped, drained.corrupt, drained.lost), (Stopped::Empty, None, 0));
        (nanoseconds, seen.keep())
    }

    /// libbpf's.
    pub(super) fn libbpf(&self) -> (f64, Seen) {
        self.rewind();
        // SAFETY: only libbpf's callback has the pointer, and it is not running.
        unsafe { *self.seen.0.get() = Seen::default() };
        let start = Stopwatch::start();
        // SAFETY: the buffer is live; its callback has the context to itself meanwhile.
        let consumed = unsafe { sys::perf_buffer__consume(self.buffer.as_ptr()) };
        let nanoseconds = start.nanoseconds();
        assert_eq!(consumed, 0, "libbpf");
        // SAFETY: the callback has returned.
        let seen = unsafe { *self.seen.0.get() };
        (nanoseconds, seen.keep())
    }

    /// Makes everything that [`fill`](Self::fill) wrote unread again.
    fn rewind(&self) {
        for (index, (_, tail)) in self.pages.iter().enumerate() {
            self.word(index, field::DATA_TAIL).store(*tail, Ordering::Release);
        }
    }

    fn run(&self, index: usize, how: &Fill) -> Result<u32, String> {
        let mut options = sys::bpf_test_run_opts {
            sz: size_of::<sys::bpf_test_run_opts>() as _,
            ctx_in: ptr::from_ref(how).cast(),
            ctx_size_in: size_of::<Fill>() as _,
            flags: sys::BPF_F_TEST_RUN_ON_CPU,
            // libbpf opens its rings by CPU, in order; none is offline, or the program would not run there.
            cpu: index as _,
            ..Default::default()
        };
        // SAFETY: the options and what they point to outlive the call.
        let result = unsafe { sys::bpf_prog_test_run_opts(self.program, &raw mut options) };
        if result != 0 {
            return Err(format!("BPF_PROG_TEST_RUN: {}", std::io::Error::from_raw_os_error(-result)));
        }
        Ok(options.retval)
    }

    fn word(&self, index: usize, offset: usize) -> &AtomicUsize {
        // SAFETY: inside the control page.
        let word = unsafe { self.pages[index].0.add(offset) };
        // SAFETY: aligned, mapped as long as `self` lives, and accessed atomically.
        unsafe { AtomicUsize::from_ptr(word.cast().as_ptr()) }
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        // SAFETY: the buffer is live and not used afterwards.
        unsafe { sys::perf_buffer__free(self.buffer.as_ptr()) };
        // SAFETY: as above, for the object.
        unsafe { sys::bpf_object__close(self.object.as_ptr()) };
    }
}

#[inline(always)]
fn glance(seen: &mut Seen, sample: &Sample<'_, Mapped<'_>>) {
    match sample.slices() {
        (payload, []) => seen.glance(payload),
        // The one sample in a lap that lies over the end.
        (first, second) => seen.count(first.len() + second.len(), beginning(first, second)),
    }
}

/// The first eight bytes of a sample in two parts.
#[cold]
#[inline(never)]
fn beginning(first: &[u8], second: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    for (byte, source) in bytes.iter_mut().zip(first.iter().chain(second)) {
        *byte = *source;
    }
    u64::from_ne_bytes(bytes)
}

unsafe extern "C" fn on_sample(context: *mut c_void, _cpu: c_int, data: *mut c_void, size: u32) {
    // SAFETY: the context is the one given with the callback, and only used here meanwhile.
    let seen = unsafe { &mut *context.cast::<Seen>() };
    // SAFETY: libbpf gives the payload's address and length.
    let payload = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), size as usize) };
    seen.glance(payload);
}

unsafe extern "C" fn on_lost(_context: *mut c_void, _cpu: c_int, count: u64) {
    panic!("{count} records lost in a ring that was emptied before");
}
