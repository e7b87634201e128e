//! `bench-gate`.

use core::hint::black_box;
use core::num::NonZeroU16;
use core::sync::atomic::AtomicU32;

use bench_gate::*;

use crate::laws;
use crate::outside::Outside;

laws! {
    "bench-gate":
    Barrier::new,
    Barrier::<AtomicU32>::on,
    skew,
    Drift::new,
    Drift::push,
    Drift::is_alarmed,
    Drift::percent,
    Drift::runs,
    Slot::<AtomicU32, AtomicPair>::new,
    Handover::<AtomicU32, AtomicPair, 64>::new,
    Handover::<AtomicU32, AtomicPair, 64>::on,
    Handover::<AtomicU32, AtomicPair, 64>::split,
    Giver::<AtomicU32, AtomicPair, 64>::give,
    Taker::<AtomicU32, AtomicPair, 64>::take,
    AtomicPair::new,
    HistoryPolicy::new,
    HistoryPolicy::with_better,
    HistoryPolicy::with_margins,
    HistoryPolicy::with_newest,
    HistoryPolicy::with_trimmed,
    HistoryPolicy::check,
    History::<64>::new,
    History::<64>::push,
    History::<64>::accept,
    History::<64>::len,
    History::<64>::is_empty,
    History::<64>::judge,
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
}

laws! {
    "bench-gate":
    "Barrier::wait" => wait,
    "Fitness::examine" => examine,
    "measure" => measured,
}

fn wait(barrier: &Barrier, parties: NonZeroU16, limit: u64) -> Result<Passed, Timeout> {
    barrier.wait(parties, &Outside, limit)
}

fn examine(needs: &Needs) -> Fitness {
    Fitness::examine(&Outside, &mut Outside, needs)
}

fn measured(gate: &mut PairGate) -> Report {
    let work = || {
        black_box(());
    };
    measure(gate, &Outside, &Outside, work, work, |pair| {
        black_box(pair);
    })
}
