//! `bench-gate`.

use core::hint::black_box;
use core::sync::atomic::AtomicU32;

use bench_gate::*;

use crate::laws;

/// A clock and what surrounds it.
struct Machine;

impl Clock for Machine {
    fn ticks(&self) -> u64 {
        black_box(0)
    }

    fn hz(&self) -> u64 {
        black_box(0)
    }
}

impl Env for Machine {
    fn online(&self) -> u32 {
        black_box(0)
    }

    fn cpu(&self) -> Option<u32> {
        black_box(None)
    }

    fn pin(&mut self, cpu: u32) -> Result<(), PinError> {
        black_box(Err(PinError::new(cpu)))
    }

    fn disturbances(&self) -> Option<u64> {
        black_box(None)
    }

    fn free_kib(&self) -> Option<u64> {
        black_box(None)
    }
}

laws! {
    "bench-gate":
    Drift::new,
    Drift::push,
    Drift::is_alarmed,
    Drift::percent,
    Drift::runs,
    Slot::<AtomicU32, AtomicPair>::new,
    Handover::<AtomicU32, AtomicPair, 8>::new,
    Handover::<AtomicU32, AtomicPair, 8>::on,
    Handover::<AtomicU32, AtomicPair, 8>::split,
    Giver::<'static, AtomicU32, AtomicPair, 8>::give,
    Taker::<'static, AtomicU32, AtomicPair, 8>::take,
    AtomicPair::new,
    HistoryPolicy::new,
    HistoryPolicy::with_better,
    HistoryPolicy::with_margins,
    HistoryPolicy::with_newest,
    HistoryPolicy::with_trimmed,
    HistoryPolicy::check,
    History::<36>::new,
    History::<36>::push,
    History::<36>::accept,
    History::<36>::len,
    History::<36>::is_empty,
    History::<36>::judge,
    PinError::new,
    Needs::new,
    Needs::with_cpus,
    Needs::with_pin,
    Needs::with_free_kib,
    Needs::with_resolution_ns,
    Needs::with_hiccup_percent,
    Fitness::check,
    Fitness::resolution_ns,
    Pair::new,
    Pair::judge,
    Order::ordering,
    Order::site,
    PairGate::new,
    PairGate::turn,
    PairGate::push,
    PairGate::void,
    PairGate::refuse,
    PairGate::verdict,
    PairGate::is_over,
    PairGate::report,
    PairGate::deciding,
    Policy::new,
    Policy::with_margins,
    Policy::with_risks,
    Policy::with_rule,
    Policy::with_max_pairs,
    Policy::with_max_void_percent,
    Policy::with_budget_ticks,
    Policy::shortest_sample,
    Policy::check,
    Spread::new,
    Spread::push,
    Spread::median_ppm,
    Spread::quantile_ppm,
    Spread::sigma_ppm,
    Spread::bounds_ppm,
    Threshold::new,
    Threshold::push,
    Threshold::wanted_ppm,
    Threshold::adapt,
    Verdict::name,
    skew,
}

// Where a word cannot be exchanged there is no barrier.
#[cfg(target_has_atomic = "32")]
laws! {
    "bench-gate":
    Barrier::<AtomicU32>::new,
    Barrier::<AtomicU32>::on,
}

#[cfg(target_has_atomic = "32")]
laws! {
    "bench-gate":
    "Barrier::wait" => (|barrier, parties, limit| barrier.wait(parties, &Machine, limit))
        as fn(&Barrier, core::num::NonZeroU16, u64) -> Result<Passed, Timeout>,
}

fn measured(gate: &mut PairGate) -> Report {
    measure(
        gate,
        &Machine,
        &Machine,
        || black_box(()),
        || black_box(()),
        |pair| {
            black_box(pair);
        },
    )
}

laws! {
    "bench-gate":
    "Fitness::examine" => (|needs| Fitness::examine(&Machine, &mut Machine, needs)) as fn(&Needs) -> Fitness,
    "measure" => measured as fn(&mut PairGate) -> Report,
}
