//! The driver's ring, without a driver: one process, two mappings of the same regions at different addresses, as a driver and a process have them.
//!
//! **What runs it is not Windows** (`cargo xtask embed windows` runs it under Wine): it shows that the layout is right and that a consumer that waits for an event is woken.

#[cfg(not(windows))]
fn main() {
    eprintln!("skipped: made for Windows");
}

#[cfg(windows)]
#[path = "driver/ring.rs"]
#[allow(
    dead_code,
    clippy::arithmetic_side_effects,
    clippy::panic,
    missing_docs,
    reason = "shared with the driver"
)]
mod ring;

#[cfg(windows)]
fn main() {
    windows::main();
}

#[cfg(windows)]
#[allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "what goes wrong should show"
)]
mod windows {
    use std::ffi::c_void;
    use std::ptr::{self, NonNull};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use ebpf_ringbuf::{Stopped, SubmitFlags};

    use crate::ring::{DATA, MARKS, PAGE, Regions, consumer, emit, producer};

    type Handle = *mut c_void;

    // Declared here because Wine has them in this library only.
    #[link(name = "kernelbase.dll", kind = "raw-dylib", modifiers = "+verbatim")]
    unsafe extern "system" {
        fn CreateEventW(attributes: *const c_void, manual: i32, initial: i32, name: *const u16) -> Handle;
        fn CreateFileMappingW(
            file: Handle,
            attributes: *const c_void,
            protection: u32,
            high: u32,
            low: u32,
            name: *const u16,
        ) -> Handle;
        fn MapViewOfFile3(
            section: Handle,
            process: Handle,
            base: *mut c_void,
            offset: u64,
            size: usize,
            kind: u32,
            protection: u32,
            parameters: *mut c_void,
            count: u32,
        ) -> *mut c_void;
        fn SetEvent(event: Handle) -> i32;
        fn VirtualAlloc2(
            process: Handle,
            base: *mut c_void,
            size: usize,
            kind: u32,
            protection: u32,
            parameters: *mut c_void,
            count: u32,
        ) -> *mut c_void;
        fn VirtualFree(address: *mut c_void, size: usize, kind: u32) -> i32;
        fn WaitForSingleObject(handle: Handle, milliseconds: u32) -> u32;
    }

    const READ_ONLY: u32 = 2;
    const READ_WRITE: u32 = 4;
    const NO_ACCESS: u32 = 1;
    const RESERVE: u32 = 0x2000;
    const RELEASE: u32 = 0x8000;
    const RESERVE_PLACEHOLDER: u32 = RESERVE | 0x4_0000;
    const REPLACE_PLACEHOLDER: u32 = 0x4000;
    const RELEASE_PRESERVING_PLACEHOLDER: u32 = RELEASE | 2;

    /// The three regions that are a process's business.
    struct Sections([Handle; 3]);

    impl Sections {
        fn new() -> Self {
            Self([PAGE, PAGE, DATA].map(|size| {
                let size = u32::try_from(size).unwrap();
                // SAFETY: memory of no file, no name.
                let section = unsafe {
                    CreateFileMappingW(-1_isize as Handle, ptr::null(), READ_WRITE, 0, size, ptr::null())
                };
                assert!(!section.is_null());
                section
            }))
        }

        /// Each region; the data twice in a row.
        fn map(&self, [consumer, rest]: [u32; 2]) -> Regions {
            let [consumer_section, producer_section, data] = self.0;
            Regions {
                consumer: view(consumer_section, ptr::null_mut(), PAGE, 0, consumer),
                producer: view(producer_section, ptr::null_mut(), PAGE, 0, rest),
                data: twice(data, rest),
            }
        }
    }

    fn view(section: Handle, base: *mut c_void, size: usize, kind: u32, protection: u32) -> NonNull<u8> {
        // SAFETY: at an address of the system's choice, or over a placeholder of that size.
        let view = unsafe {
            MapViewOfFile3(section, -1_isize as Handle, base, 0, size, kind, protection, ptr::null_mut(), 0)
        };
        NonNull::new(view.cast()).unwrap()
    }

    /// All of the data, and behind it all of it again: over a placeholder that is cut in two.
    fn twice(section: Handle, protection: u32) -> NonNull<u8> {
        let Some(place) = reserve(RESERVE_PLACEHOLDER) else { return twice_in_a_gap(section, protection) };
        // SAFETY: cuts the placeholder.
        assert!(unsafe { VirtualFree(place, DATA, RELEASE_PRESERVING_PLACEHOLDER) } != 0);
        both(section, place, REPLACE_PLACEHOLDER, protection)
    }

    /// The same for systems without placeholders, which Wine 8 is: where there was room a moment ago.
    fn twice_in_a_gap(section: Handle, protection: u32) -> NonNull<u8> {
        println!("no placeholders here: mapped where there was room");
        let place = reserve(RESERVE).unwrap();
        // SAFETY: reserved a line above.
        assert!(unsafe { VirtualFree(place, 0, RELEASE) } != 0);
        both(section, place, 0, protection)
    }

    fn reserve(kind: u32) -> Option<*mut c_void> {
        let process = -1_isize as Handle;
        // SAFETY: addresses nobody has.
        let place =
            unsafe { VirtualAlloc2(process, ptr::null_mut(), 2 * DATA, kind, NO_ACCESS, ptr::null_mut(), 0) };
        (!place.is_null()).then_some(place)
    }

    fn both(section: Handle, place: *mut c_void, kind: u32, protection: u32) -> NonNull<u8> {
        let first = view(section, place, DATA, kind, protection);
        let second = view(section, place.wrapping_byte_add(DATA), DATA, kind, protection);
        assert_eq!(first.as_ptr().wrapping_add(DATA), second.as_ptr());
        first
    }

    const RECORDS: u64 = 200_000;

    pub(crate) fn main() {
        let sections = Sections::new();
        let (kernels, process) = (sections.map([READ_WRITE; 2]), sections.map([READ_WRITE, READ_ONLY]));
        assert_ne!(kernels.data, process.data);
        let shared: &'static [AtomicUsize; 1 + MARKS] =
            Box::leak(Box::new([const { AtomicUsize::new(0) }; 1 + MARKS]));
        // SAFETY: mapped until the process ends, and nobody else produces.
        let kernel_side = unsafe { producer(kernels, shared) }.unwrap();
        // SAFETY: mapped until the process ends, and nobody else consumes.
        let mut reader = unsafe { consumer(process) }.unwrap();
        // SAFETY: an event of no name that resets itself.
        let event = unsafe { CreateEventW(ptr::null(), 0, 0, ptr::null()) }.addr();

        // Records count their pages from the data: one in its second page says 1.
        let before = kernel_side.reserve(PAGE).unwrap();
        let second = kernel_side.reserve(8).unwrap();
        let position = second.position();
        assert_eq!(position, PAGE + 8);
        let page = process.data.as_ptr().wrapping_add(position + 4).cast::<u32>();
        // SAFETY: inside the process's own view of the data; this record's owner has written it.
        let page = unsafe { page.read_volatile() };
        assert_eq!(page, 1);
        for record in [before, second] {
            let _ = record.discard(SubmitFlags::NO_WAKEUP);
        }

        let (waits, full) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let wakes = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..RECORDS {
                    let mut payload = [0_u8; 40];
                    let payload = &mut payload[..8 + 8 * (number % 5) as usize];
                    payload[..8].copy_from_slice(&number.to_ne_bytes());
                    let wake = || {
                        wakes.fetch_add(1, Ordering::Relaxed);
                        // SAFETY: an event.
                        assert!(unsafe { SetEvent(ptr::without_provenance_mut(event)) } != 0);
                    };
                    while emit(&kernel_side, payload, wake).is_err() {
                        full.fetch_add(1, Ordering::Relaxed);
                        thread::yield_now();
                    }
                }
            });
            let mut expected = 0;
            while expected < RECORDS {
                match reader.next_record() {
                    Ok(record) => {
                        assert_eq!(record.len(), 8 + 8 * (expected % 5) as usize);
                        assert_eq!(record[..8], expected.to_ne_bytes());
                        expected += 1;
                    }
                    Err(Stopped::Empty | Stopped::Busy) => {
                        waits.fetch_add(1, Ordering::Relaxed);
                        // SAFETY: an event.
                        let woken =
                            unsafe { WaitForSingleObject(ptr::without_provenance_mut(event), 20_000) };
                        assert_eq!(woken, 0, "a wakeup was lost after {expected} records");
                    }
                    Err(stopped) => panic!("{stopped}"),
                }
            }
        });
        // The consumer's position, written through one mapping, is what the other one has as the producer's.
        // SAFETY: the first word of a page that is mapped.
        let [consumed, produced] =
            [kernels.consumer, process.producer].map(|page| unsafe { page.cast::<u64>().read_volatile() });
        assert_eq!(consumed, produced);
        println!(
            "{RECORDS} records through two mappings, {} waits, {} wakes, {} times full",
            waits.into_inner(),
            wakes.into_inner(),
            full.into_inner()
        );
    }
}
