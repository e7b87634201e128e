//! A performance gate that noise cannot fool.
//!
//! Most gates call a change a regression when a figure is larger than usual, and let everything else pass. Noise makes such a gate cry wolf, until somebody turns
//! it off; and because all it can say is *not shown to be slower*, a machine that is noisy enough lets everything pass. This one asks for evidence on both sides. It answers
//! *pass*, with a bound that the slowdown is below; *regressed*, with a bound that it is above; *too noisy*, with what it would take; or *unfit*, with the reason.
//! The first two are wrong no more often than was agreed, in any noise, and that is computed, not measured.
//!
//! # Example
//!
//! ```
//! use bench_gate::{PairGate, Policy, Step, Turn, Verdict};
//!
//! // What each side does; gives the ticks that it took.
//! let (mut old, mut new) = (|| 50_000_u64, || 50_400_u64);
//!
//! // 1 % slower is tolerated, 3 % must not pass; either answer may be wrong once in a thousand.
//! let mut gate = PairGate::new(Policy::new(), 2026)?;
//! let verdict = loop {
//!     // A coin says which side is first.
//!     let (baseline, candidate) = match gate.turn() {
//!         Turn::BaselineFirst => {
//!             let baseline = old();
//!             (baseline, new())
//!         }
//!         _ => {
//!             let candidate = new();
//!             (old(), candidate)
//!         }
//!     };
//!     if let Step::Done(verdict) = gate.push(baseline, candidate) {
//!         break verdict;
//!     }
//! };
//! // 0.8 % slower: that passes, as proven after the fewest pairs that can prove anything.
//! assert_eq!(verdict, Verdict::Pass { upper_ppm: 30_000 });
//! assert_eq!(gate.report().pairs, 16);
//! # Ok::<(), bench_gate::PolicyError>(())
//! ```
//!
//! # The parts
//!
//! * [`PairGate`]: two versions on one machine, in pairs whose order a coin decides, judged by the sign test at looks whose boundaries are exact ([`Rule::Looks`]), or after
//!   every pair by bets ([`Rule::Bets`]). 64 bytes, a few nanoseconds a pair. [`measure`] drives it; [`Spread`] tightens its bounds.
//! * [`History`]: one version after the other, a run a night: the newest few against the window before them. [`Drift`]: changes too slow for a window.
//! * [`Threshold`]: margins that grow with the environment's own differences, up to a cap, and then refuse.
//! * [`Fitness`]: whether clock, CPU and memory are fit to measure on. [`Clock`] and [`Env`] are what an embedder writes.
//! * [`Barrier`], [`Handover`]: threads that begin together or say that they did not; samples from one thread to another.
//!
//! # When not to use it
//!
//! * Instructions say enough: count them. They do not vary, and see changes of a thousandth. They do not see caches, waiting, or the memory's speed.
//! * What matters is the tail: the gate is about the median of ratios. Half of all pairs must be slower before it sees anything.
//! * Two builds, and differences of less than a percent: where code lies in memory makes that much of a difference, and more pairs of the same two builds do not help.
//! * Numbers that were not measured side by side, one of each: they say nothing about what would come again, whatever test is put on them.
//!
//! # Guarantees
//!
//! * P(regressed | the slowdown is tolerated) and P(pass | the slowdown is forbidden) are at most the [`Risk`]s of the [`Policy`], for noise of any kind, if the sides
//!   run in the order that [`PairGate::turn`] says. `tests/error_rates.rs` computes them.
//! * One sample, of any value, changes each counter by one at most.
//! * Pairs are voided by reasons that do not look at times, always both sides, and counted: too many are *unfit*.
//! * The same samples and the same seed give the same [`Report`], bit for bit, on every machine. Results do not depend on the unit of the clock.
//! * No allocation, no `unsafe`, no panic, no float, no clock but [`Clock`].
//!
//! Not guaranteed: anything about *which* change is slower, about machines other than the one measured on, and, for [`History`], that runs of different nights are
//! exchangeable; where the machine itself changes the rates are only nominal.
//!
//! # In a driver
//!
//! Everything may be called at any level, in interrupts too: nothing waits but [`Barrier::wait`], for as long as it is told. Above `DISPATCH_LEVEL`, or with interrupts off,
//! measure for less than the watchdog allows.
#![no_std]
#![forbid(unsafe_code)]
#[cfg(test)]
extern crate std;

mod barrier;
mod drift;
mod golden;
mod handover;
mod history;
mod looks;
mod machine;
mod measure;
mod order;
mod pair;
mod policy;
mod rank;
mod spread;
mod threshold;
mod verdict;
mod word;

pub use barrier::{Barrier, Passed, Timeout, skew};
pub use drift::Drift;
pub use handover::{AtomicPair, Giver, Handover, Place, Slot, Taker};
pub use history::{Better, History, HistoryPolicy, HistoryPolicyError, Judgement};
pub use machine::{Clock, Env, Fitness, Needs, PinError};
pub use measure::{Pair, measure};
pub use order::{Order, sites};
pub use pair::{PairGate, Turn, VoidReason};
pub use policy::{Policy, PolicyError, Risk, Rule};
pub use spread::Spread;
pub use threshold::{Threshold, TooWide};
pub use verdict::{Percent, Reason, Report, Step, Verdict};
pub use word::{Exchange, Word};
