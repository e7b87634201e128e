//! What the embedder does for the gate, and whether its machine is fit to measure on.

use crate::rank::nth;
use crate::verdict::Reason;

/// A clock that never goes back: QueryPerformanceCounter, the time stamp counter, CLOCK_MONOTONIC_RAW, CNTVCT_EL0, a timer of a microcontroller.
pub trait Clock {
    /// Ticks since some moment.
    fn ticks(&self) -> u64;

    /// Ticks in a second: for people. No decision depends on it.
    fn hz(&self) -> u64;
}

/// Clocks are shared by reference.
impl<C: Clock + ?Sized> Clock for &C {
    fn ticks(&self) -> u64 {
        (**self).ticks()
    }

    fn hz(&self) -> u64 {
        (**self).hz()
    }
}

/// What surrounds the measuring thread. Whatever the embedder cannot tell is `None`, and then not looked at.
pub trait Env {
    /// CPUs that may be used.
    fn online(&self) -> u32;

    /// The CPU that this thread runs on.
    fn cpu(&self) -> Option<u32>;

    /// Binds this thread to a CPU.
    ///
    /// # Errors
    /// When it is refused.
    fn pin(&mut self, cpu: u32) -> Result<(), PinError>;

    /// How often something else took the CPU away from this thread: involuntary context switches, interrupts that took long. Wraps.
    fn disturbances(&self) -> Option<u64>;

    /// Free memory in KiB.
    fn free_kib(&self) -> Option<u64>;
}

/// A thread was not bound to a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PinError {
    /// The CPU.
    pub cpu: u32,
}

impl PinError {
    /// For this CPU.
    #[must_use]
    pub const fn new(cpu: u32) -> Self {
        Self { cpu }
    }
}

impl core::fmt::Display for PinError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the thread cannot be bound to CPU {}", self.cpu)
    }
}

impl core::error::Error for PinError {}

/// What a run needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needs {
    /// CPUs.
    pub cpus: u32,
    /// The CPU to bind to, if any.
    pub pin: Option<u32>,
    /// Free memory.
    pub free_kib: u64,
    /// The longest that one tick of the clock may be, in nanoseconds.
    pub resolution_ns: u64,
    /// How much longer a tenth of fixed loops may take than the shortest one, in hundredths: at more the machine is too busy even to try. Interference as such is no reason:
    /// pairs are made for it.
    pub hiccup_percent: u32,
}

impl Needs {
    /// One CPU, nothing bound, 1 MiB, ticks of a microsecond, loops that take ten times as long.
    #[must_use]
    pub const fn new() -> Self {
        Self { cpus: 1, pin: None, free_kib: 1024, resolution_ns: 1000, hiccup_percent: 1000 }
    }

    /// With another number of CPUs.
    #[must_use]
    pub const fn with_cpus(self, cpus: u32) -> Self {
        Self { cpus, ..self }
    }

    /// Bound to a CPU.
    #[must_use]
    pub const fn with_pin(self, cpu: u32) -> Self {
        Self { pin: Some(cpu), ..self }
    }

    /// With more memory, or less.
    #[must_use]
    pub const fn with_free_kib(self, free_kib: u64) -> Self {
        Self { free_kib, ..self }
    }

    /// With a better clock, or a worse one.
    #[must_use]
    pub const fn with_resolution_ns(self, resolution_ns: u64) -> Self {
        Self { resolution_ns, ..self }
    }

    /// On a calmer machine, or a busier one.
    #[must_use]
    pub const fn with_hiccup_percent(self, hiccup_percent: u32) -> Self {
        Self { hiccup_percent, ..self }
    }
}

impl Default for Needs {
    fn default() -> Self {
        Self::new()
    }
}

/// What the clock and the machine were found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fitness {
    /// The smallest step of the clock that was seen, in ticks.
    pub resolution_ticks: u64,
    /// What reading it costs, in ticks: the median between two reads.
    pub cost_ticks: u64,
    /// How often it went back.
    pub backward: u32,
    /// Ticks in a second.
    pub hz: u64,
    /// How much longer than the shortest one nine tenths of fixed loops take at most, in hundredths.
    pub hiccup_percent: u32,
    /// CPUs.
    pub online: u32,
    /// The CPU that this thread runs on.
    pub cpu: Option<u32>,
    /// Whether the thread was bound to the CPU that was asked for; nothing was asked for counts as bound.
    pub is_pinned: bool,
    /// Free memory.
    pub free_kib: Option<u64>,
}

// What they measured is on the stack, of which no function of a block takes more than 2 KiB.
const READS: usize = 56;
const SPINS: usize = 56;
const SPIN: u32 = 2_000;

impl Fitness {
    /// Binds the thread, then looks at the clock, the CPU and the memory. Takes some hundred thousand turns of an empty loop.
    pub fn examine(clock: &impl Clock, env: &mut impl Env, needs: &Needs) -> Self {
        let is_pinned = needs
            .pin
            .is_none_or(|cpu| env.pin(cpu).is_ok() && env.cpu().is_none_or(|running_on| running_on == cpu));
        let mut steps = [0_u64; READS];
        let mut backward: u32 = 0;
        let mut last = clock.ticks();
        for step in &mut steps {
            let now = clock.ticks();
            backward = backward.saturating_add(u32::from(now < last));
            *step = now.saturating_sub(last);
            last = now;
        }
        let mut spins = [0_u64; SPINS];
        for spin in &mut spins {
            let start = clock.ticks();
            for turn in 0..SPIN {
                core::hint::black_box(turn);
            }
            let end = clock.ticks();
            backward = backward.saturating_add(u32::from(end < start));
            *spin = end.saturating_sub(start);
        }
        let shortest = spins.iter().copied().min().unwrap_or(0);
        let usual = nth(spins.iter().copied(), SPINS * 9 / 10).unwrap_or(0);
        let extra = u128::from(usual.saturating_sub(shortest)).saturating_mul(100);
        let hiccup = extra.checked_div(shortest.into()).unwrap_or(0);
        Self {
            resolution_ticks: steps.iter().chain(&spins).copied().filter(|step| *step > 0).min().unwrap_or(0),
            cost_ticks: nth(steps.iter().copied(), READS / 2).unwrap_or(0),
            backward,
            hz: clock.hz(),
            hiccup_percent: u32::try_from(hiccup).unwrap_or(u32::MAX),
            online: env.online(),
            cpu: env.cpu(),
            is_pinned,
            free_kib: env.free_kib(),
        }
    }

    /// Whether that is enough.
    ///
    /// # Errors
    /// The first thing that is not.
    pub fn check(&self, needs: &Needs) -> Result<(), Reason> {
        let wanting = [
            (self.backward > 0, Reason::ClockBackward),
            (self.resolution_ticks == 0 || self.hz == 0, Reason::ClockStopped),
            (self.resolution_ns() > needs.resolution_ns, Reason::ClockCoarse),
            (self.online < needs.cpus, Reason::Cpus),
            (!self.is_pinned, Reason::Pin),
            (self.free_kib.is_some_and(|free| free < needs.free_kib), Reason::Memory),
            (self.hiccup_percent > needs.hiccup_percent, Reason::Busy),
        ];
        match wanting.into_iter().find(|(is_wanting, _)| *is_wanting) {
            Some((_, reason)) => Err(reason),
            None => Ok(()),
        }
    }

    /// The smallest step of the clock in nanoseconds, rounded up.
    #[must_use]
    pub fn resolution_ns(&self) -> u64 {
        let ns = u128::from(self.resolution_ticks).saturating_mul(1_000_000_000);
        match self.hz {
            0 => u64::MAX,
            hz => u64::try_from(ns.div_ceil(hz.into())).unwrap_or(u64::MAX),
        }
    }
}
