//! What an embedder brings, of which the optimiser knows nothing.

use core::fmt;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;

use ebpf_loader::{MapSpec, Platform, ProgramSpec};
use ebpf_ringbuf::Mapped;
use wfp_txn::{Access, Engine, Host, SessionOptions, Status};

/// An engine, a host and a platform.
#[derive(Debug)]
pub(crate) struct Outside;

/// Whatever it says may be so.
fn any<T: Copy>(value: T) -> Result<T, Status> {
    match black_box(0) {
        0 => Ok(black_box(value)),
        status => Err(Status::new(status)),
    }
}

impl Engine for Outside {
    type Session = u64;
    type Object<'o> = &'o [u8];
    type Id = u64;

    fn open(&self, _: SessionOptions) -> Result<u64, Status> {
        any(1)
    }

    fn close(&self, _: u64) -> Result<(), Status> {
        any(())
    }

    fn begin(&self, _: &u64, _: Access) -> Result<(), Status> {
        any(())
    }

    fn commit(&self, _: &u64) -> Result<(), Status> {
        any(())
    }

    fn abort(&self, _: &u64) -> Result<(), Status> {
        any(())
    }

    fn add(&self, _: &u64, _: &[u8]) -> Result<u64, Status> {
        any(1)
    }

    fn delete(&self, _: &u64, _: &u64) -> Result<(), Status> {
        any(())
    }

    fn contains(&self, _: &u64, _: &u64) -> Result<bool, Status> {
        any(true)
    }
}

impl Host for Outside {
    type Bell = AtomicU32;

    fn bell(&self) -> AtomicU32 {
        AtomicU32::new(0)
    }

    fn rings(&self, bell: &AtomicU32) -> u32 {
        bell.load(Ordering::Relaxed)
    }

    fn ring(&self, bell: &AtomicU32) {
        bell.fetch_add(1, Ordering::Relaxed);
    }

    fn wait(&self, bell: &AtomicU32, seen: u32, until: Option<Duration>) {
        black_box((bell, seen, until));
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(black_box(0))
    }

    fn sleep(&self, duration: Duration) {
        black_box(duration);
    }

    fn thread(&self) -> u64 {
        black_box(0)
    }
}

/// A spin lock.
pub(crate) struct Lock(AtomicBool);

// SAFETY: whoever sets the flag is alone until it is cleared.
unsafe impl lock_api::RawMutex for Lock {
    #[allow(clippy::declare_interior_mutable_const, reason = "the trait's")]
    const INIT: Self = Self(AtomicBool::new(false));

    type GuardMarker = lock_api::GuardSend;

    fn lock(&self) {
        while !self.try_lock() {
            core::hint::spin_loop();
        }
    }

    fn try_lock(&self) -> bool {
        // Acquire: pairs with the Release of the unlock before.
        !self.0.swap(true, Ordering::Acquire)
    }

    unsafe fn unlock(&self) {
        // Release: pairs with the Acquire of the lock after.
        self.0.store(false, Ordering::Release);
    }
}

/// What a platform may say.
#[derive(Debug)]
pub(crate) struct Refused;

impl core::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

fn handle() -> Result<u64, Refused> {
    if black_box(true) { Ok(black_box(1)) } else { Err(Refused) }
}

impl Platform for Outside {
    type Error = Refused;
    type Map = u64;
    type Program = u64;
    type Link = u64;
    type Target<'t> = &'t str;
    type Ring = Mapped<'static>;

    fn create_map(&self, map: &MapSpec<'_>) -> Result<u64, Refused> {
        black_box(map);
        handle()
    }

    fn destroy_map(&self, map: u64) {
        black_box(map);
    }

    fn map_reference(&self, _: &u64) -> i32 {
        black_box(3)
    }

    fn load_program(&self, program: &ProgramSpec<'_>) -> Result<u64, Refused> {
        black_box(program);
        handle()
    }

    fn unload_program(&self, program: u64) {
        black_box(program);
    }

    fn attach(&self, program: &u64, target: &str) -> Result<u64, Refused> {
        black_box((program, target));
        handle()
    }

    fn detach(&self, link: u64) {
        black_box(link);
    }

    fn ring(&self, _: &u64) -> Result<Mapped<'static>, Refused> {
        black_box(None).ok_or(Refused)
    }
}
