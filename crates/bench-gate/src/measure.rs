//! Measuring pairs of closures until there is an answer.

use crate::machine::{Clock, Env};
use crate::pair::{PairGate, Turn, VoidReason};
use crate::verdict::{Reason, Report, Step};

/// One pair, as it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Pair {
    /// Ticks of the baseline.
    pub baseline: u64,
    /// Ticks of the candidate.
    pub candidate: u64,
    /// Which side ran first.
    pub turn: Turn,
    /// Why it does not count, if it does not.
    pub void: Option<VoidReason>,
}

impl Pair {
    /// A pair that was measured some other way.
    #[must_use]
    pub const fn new(baseline: u64, candidate: u64, turn: Turn, void: Option<VoidReason>) -> Self {
        Self { baseline, candidate, turn, void }
    }

    /// Hands it to a gate.
    pub const fn judge(self, gate: &mut PairGate) -> Step {
        match self.void {
            Some(reason) => gate.void(reason),
            None => gate.push(self.baseline, self.candidate),
        }
    }
}

/// Runs both sides in turn, in the order that the gate asks for, until it has an answer. Both sides must do the same number of iterations, of some tens of microseconds
/// together: longer samples meet the scheduler, shorter ones the clock ([`Policy::shortest_sample`](crate::Policy::shortest_sample)).
///
/// A pair is voided when the thread was moved or disturbed during it, by what `env` says. A clock that goes back ends it: *unfit*. `observe` sees every pair, to record or
/// to draw it.
pub fn measure(
    gate: &mut PairGate,
    clock: &impl Clock,
    env: &impl Env,
    mut baseline: impl FnMut(),
    mut candidate: impl FnMut(),
    mut observe: impl FnMut(Pair),
) -> Report {
    // What runs for the first time is slower: neither side shall be it.
    baseline();
    candidate();
    while !gate.is_over() {
        let (cpu, disturbances) = (env.cpu(), env.disturbances());
        let turn = gate.turn();
        let (first, second) = match turn {
            Turn::BaselineFirst => (timed(clock, &mut baseline), timed(clock, &mut candidate)),
            Turn::CandidateFirst => (timed(clock, &mut candidate), timed(clock, &mut baseline)),
        };
        let (Some(first), Some(second)) = (first, second) else {
            let _: Step = gate.refuse(Reason::ClockBackward);
            break;
        };
        let void = if env.cpu() != cpu {
            Some(VoidReason::Migrated)
        } else if env.disturbances() != disturbances {
            Some(VoidReason::Disturbed)
        } else {
            None
        };
        let (baseline, candidate) = match turn {
            Turn::BaselineFirst => (first, second),
            Turn::CandidateFirst => (second, first),
        };
        let pair = Pair { baseline, candidate, turn, void };
        let _: Step = pair.judge(gate);
        observe(pair);
    }
    gate.report()
}

/// Ticks that it takes; none if the clock goes back.
fn timed(clock: &impl Clock, side: &mut impl FnMut()) -> Option<u64> {
    let start = clock.ticks();
    side();
    clock.ticks().checked_sub(start)
}
