//! The clock and the surroundings of the measuring thread on this machine.

use std::time::Instant;

use bench_gate::{Clock, Env, PinError};

/// Nanoseconds: `CLOCK_MONOTONIC_RAW` on Linux, which no time server bends; elsewhere the standard library's clock, which is QueryPerformanceCounter on Windows.
pub(crate) struct HostClock {
    #[cfg_attr(target_os = "linux", expect(dead_code, reason = "for other systems"))]
    start: Instant,
}

impl HostClock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for HostClock {
    #[cfg(target_os = "linux")]
    fn ticks(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicRaw);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        seconds.wrapping_mul(1_000_000_000).wrapping_add(u64::try_from(now.tv_nsec).unwrap_or(0))
    }

    #[cfg(not(target_os = "linux"))]
    fn ticks(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn hz(&self) -> u64 {
        1_000_000_000
    }
}

/// What this system tells about itself; elsewhere than on Linux that is little.
#[derive(Clone, Copy)]
pub(crate) struct Host {
    /// Asked before the thread is bound: afterwards it is one.
    online: u32,
}

impl Host {
    pub(crate) fn new() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self { online: u32::try_from(cpus).unwrap_or(u32::MAX) }
    }
}

/// How often a thread or a process left the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Switches {
    /// It waited for something.
    pub(crate) voluntary: u64,
    /// It was pushed aside.
    pub(crate) involuntary: u64,
}

impl Switches {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            voluntary: self.voluntary.saturating_sub(before.voluntary),
            involuntary: self.involuntary.saturating_sub(before.involuntary),
        }
    }

    /// Of the calling thread.
    pub(crate) fn of_this_thread() -> Option<Self> {
        Self::read("/proc/thread-self/status")
    }

    /// Of a process, which may have ended as long as nobody has waited for it.
    #[cfg(target_os = "linux")]
    pub(crate) fn of_process(id: u32) -> Option<Self> {
        Self::read(&format!("/proc/{id}/status"))
    }

    fn read(path: &str) -> Option<Self> {
        let status = std::fs::read_to_string(path).ok()?;
        let number = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
        Some(Self {
            voluntary: number("voluntary_ctxt_switches:")?,
            involuntary: number("nonvoluntary_ctxt_switches:")?,
        })
    }
}

impl Env for Host {
    fn online(&self) -> u32 {
        self.online
    }

    #[cfg(target_os = "linux")]
    fn cpu(&self) -> Option<u32> {
        u32::try_from(rustix::thread::sched_getcpu()).ok()
    }

    #[cfg(not(target_os = "linux"))]
    fn cpu(&self) -> Option<u32> {
        None
    }

    #[cfg(target_os = "linux")]
    fn pin(&mut self, cpu: u32) -> Result<(), PinError> {
        let mut set = rustix::thread::CpuSet::new();
        let index = usize::try_from(cpu).ok().filter(|index| *index < rustix::thread::CpuSet::MAX_CPU);
        set.set(index.ok_or(PinError::new(cpu))?);
        rustix::thread::sched_setaffinity(None, &set).map_err(|_| PinError::new(cpu))
    }

    #[cfg(not(target_os = "linux"))]
    fn pin(&mut self, cpu: u32) -> Result<(), PinError> {
        Err(PinError::new(cpu))
    }

    fn disturbances(&self) -> Option<u64> {
        Switches::of_this_thread().map(|switches| switches.involuntary)
    }

    fn free_kib(&self) -> Option<u64> {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        text.lines().find_map(|line| {
            line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?.trim().parse().ok()
        })
    }
}

/// The CPUs that this thread may use, the last one first: the first one is where interrupts go.
pub(crate) fn cpus() -> Vec<u32> {
    #[cfg(target_os = "linux")]
    {
        let Ok(set) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
        let all = (0..rustix::thread::CpuSet::MAX_CPU).rev().filter(|cpu| set.is_set(*cpu));
        all.filter_map(|cpu| cpu.try_into().ok()).collect()
    }
    #[cfg(not(target_os = "linux"))]
    Vec::new()
}

/// Where to measure, if it can be chosen.
pub(crate) fn quiet_cpu() -> Option<u32> {
    cpus().first().copied()
}

/// The average number of threads that wanted a CPU in the last minute.
pub(crate) fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}
