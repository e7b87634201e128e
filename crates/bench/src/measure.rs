//! Taking times so that they can be compared on a machine that others use too.
//!
//! Contenders take turns in one process, and a ratio is taken within each turn, so that what slows a moment down slows both sides of it. What is
//! reported is the median over the turns.

use std::hint::black_box;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Binds this thread to one CPU. Where that is refused, times are only less steady.
pub(crate) fn pin(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// CPUs this process may use. Asked first before any thread is pinned: afterwards the system says one.
pub(crate) fn cpus() -> usize {
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| std::thread::available_parallelism().map_or(1, Into::into))
}

/// Time that this thread ran, in nanoseconds: what others ran on its CPU meanwhile does not count.
pub(crate) struct Stopwatch(rustix::time::Timespec);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(thread_time())
    }

    pub(crate) fn nanoseconds(&self) -> f64 {
        let now = thread_time();
        (now.tv_sec - self.0.tv_sec) as f64 * 1e9 + (now.tv_nsec - self.0.tv_nsec) as f64
    }
}

fn thread_time() -> rustix::time::Timespec {
    rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime)
}

/// Where threads that are on different CPUs begin together: nobody sleeps, so nobody has to be woken.
pub(crate) struct Gate(AtomicUsize);

impl Gate {
    pub(crate) const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Waits until `threads` threads are here.
    pub(crate) fn pass(&self, threads: usize) {
        self.0.fetch_add(1, Ordering::AcqRel);
        while self.0.load(Ordering::Acquire) < threads {
            // Where threads share a CPU, one has to make room for the other to come.
            std::thread::yield_now();
        }
    }
}

/// Something on cache lines of its own: two, because neighbours are fetched in pairs.
#[repr(align(128))]
pub(crate) struct Line<T>(pub(crate) T);

/// Something to take the time of: one turn gives nanoseconds per record.
pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    pub(crate) turn: Box<dyn FnMut() -> f64 + 'a>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(name: &'static str, turn: impl FnMut() -> f64 + 'a) -> Self {
        Self { name, turn: Box::new(turn) }
    }
}

/// What a contender took, turn by turn.
#[derive(Clone)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    nanoseconds: Vec<f64>,
}

impl Series {
    /// Millions of records a second.
    pub(crate) fn rate(&self) -> f64 {
        1e3 / median(self.nanoseconds.clone())
    }

    /// Microseconds a turn says.
    pub(crate) fn microseconds(&self) -> f64 {
        median(self.nanoseconds.clone()) / 1e3
    }

    /// What a turn took.
    pub(crate) fn nanoseconds(&self) -> f64 {
        median(self.nanoseconds.clone())
    }

    /// What a turn took that so great a share of the turns were not slower than.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.nanoseconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[(share * (sorted.len() - 1) as f64).round() as usize]
    }

    /// How many times as fast as `peer` this one is: the median of the ratios turn by turn.
    pub(crate) fn against(&self, peer: &Self) -> f64 {
        let ratio = |(own, peer): (&f64, &f64)| peer / own;
        median(self.nanoseconds.iter().zip(&peer.nanoseconds).map(ratio).collect())
    }
}

/// Lets every contender take `turns` turns after one that does not count.
///
/// What ran just before leaves caches and translations behind, so in so many turns as there are contenders (twice as many, if they are odd)
/// each of them follows each other one equally often.
pub(crate) fn take_turns(contenders: &mut [Contender<'_>], turns: usize) -> Vec<Series> {
    let mut series: Vec<Series> =
        contenders.iter().map(|contender| Series { name: contender.name, nanoseconds: Vec::new() }).collect();
    for contender in &mut *contenders {
        (contender.turn)();
    }
    let count = contenders.len();
    for turn in 0..turns {
        for index in 0..count {
            let which = whose_turn(turn, index, count);
            series[which].nanoseconds.push((contenders[which].turn)());
        }
    }
    series
}

/// Who comes `index`th in that turn: a Williams square, which zigzags (0, 1, n-1, 2, n-2 …) from another start each time.
fn whose_turn(turn: usize, index: usize, count: usize) -> usize {
    let is_mirrored = !count.is_multiple_of(2) && (turn / count) % 2 == 1;
    let index = if is_mirrored { count - 1 - index } else { index };
    let zigzag = if index % 2 == 1 { index.div_ceil(2) } else { count - index / 2 };
    (turn + zigzag) % count
}

pub(crate) fn find<'s>(series: &'s [Series], name: &str) -> &'s Series {
    series.iter().find(|series| series.name == name).unwrap_or_else(|| panic!("no contender `{name}`"))
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// What every consumer does with every record: the same work for all, and proof that they saw the same records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) sum: u64,
}

impl Seen {
    /// Looks at the length and the first eight bytes.
    #[cfg(feature = "kernel")]
    #[inline(always)]
    pub(crate) fn glance(&mut self, payload: &[u8]) {
        self.count(payload.len(), payload.first_chunk().map_or(0, |first| u64::from_ne_bytes(*first)));
    }

    /// The same for who has looked already.
    #[cfg(feature = "kernel")]
    #[inline(always)]
    pub(crate) fn count(&mut self, length: usize, first: u64) {
        self.records += 1;
        self.bytes = self.bytes.wrapping_add(length as u64);
        self.sum = self.sum.wrapping_add(first);
    }

    /// Looks at every byte.
    #[inline(always)]
    pub(crate) fn read<const N: usize>(&mut self, payload: &[u8; N]) {
        self.records += 1;
        let (words, _) = payload.as_chunks::<8>();
        let sum = words.iter().fold(0, |sum: u64, word| sum.wrapping_add(u64::from_ne_bytes(*word)));
        self.sum = self.sum.wrapping_add(sum);
    }

    /// Keeps the compiler from leaving the looking out.
    pub(crate) fn keep(self) -> Self {
        black_box(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_follows_everybody_equally_often() {
        for count in 2..8 {
            let mut follows = vec![vec![0; count]; count];
            for turn in 0..2 * count {
                let order: Vec<usize> = (0..count).map(|index| whose_turn(turn, index, count)).collect();
                order.windows(2).for_each(|pair| follows[pair[0]][pair[1]] += 1);
                let mut all = order.clone();
                all.sort_unstable();
                assert!(all.into_iter().eq(0..count), "{order:?}");
            }
            for (which, after) in follows.iter().enumerate() {
                assert!(
                    after.iter().enumerate().all(|(other, times)| *times == 2 * usize::from(which != other)),
                    "{follows:?}"
                );
            }
        }
    }

    #[test]
    fn ratios_are_taken_within_a_turn() {
        let own = Series { name: "own", nanoseconds: vec![1.0, 10.0, 2.0] };
        let peer = Series { name: "peer", nanoseconds: vec![2.0, 20.0, 4.0] };
        assert!((own.against(&peer) - 2.0).abs() < 1e-9);
        assert!((own.rate() - 500.0).abs() < 1e-9);
    }
}
