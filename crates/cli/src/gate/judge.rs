//! A gate, its spread, and the pairs it has seen.

use bench_gate::{Pair, PairGate, Policy, PolicyError, Spread, Step};

/// Everything of one comparison.
pub(super) struct Judge {
    pub(super) gate: PairGate,
    pub(super) spread: Spread,
    pub(super) pairs: Vec<Pair>,
}

impl Judge {
    pub(super) fn new(policy: Policy, seed: u64) -> Result<Self, PolicyError> {
        Ok(Self { gate: PairGate::new(policy, seed)?, spread: Spread::new(), pairs: Vec::new() })
    }

    /// Takes a pair that the gate has not seen.
    pub(super) fn push(&mut self, pair: Pair) -> Step {
        let step = pair.judge(&mut self.gate);
        self.see(pair);
        step
    }

    /// Takes note of a pair that the gate has seen.
    pub(super) fn see(&mut self, pair: Pair) {
        if pair.void.is_none() {
            self.spread.push(pair.baseline, pair.candidate);
        }
        self.pairs.push(pair);
    }
}
