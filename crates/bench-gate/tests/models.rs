//! Models of the barrier and of the hand-over: their real code, every interleaving within a bound, on loom's memory.
//!
//! Loom skips interleavings silently in known ways, so each model says which outcomes must be seen, all of them and no others, over both orders of spawning, and no role
//! runs on the creating thread. The environment variable `BENCH_GATE_MUTANT` weakens one ordering, or one half of one, and for each some model turns red.
//! `cargo xtask loom bench-gate` and `cargo xtask mutants bench-gate` run them.
#![cfg(loom)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]
#![allow(unsafe_code, reason = "loom's cells, which check who touches them")]

mod models {
    use std::cell::Cell;
    use std::num::NonZeroU16;
    use std::sync::{Mutex, OnceLock};

    use bench_gate::{
        Barrier, Clock, Exchange, Giver, Handover, Order, Pair, Place, Slot, Taker, Turn, Word,
    };
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::thread;

    /// A word of loom's, whose orderings one mutant weakens.
    struct Modelled(AtomicU32);

    impl Modelled {
        fn new() -> Self {
            Self(AtomicU32::new(0))
        }
    }

    impl Word for Modelled {
        fn load(&self, order: Order) -> u32 {
            self.0.load(effective(order))
        }

        fn store(&self, value: u32, order: Order) {
            self.0.store(value, effective(order));
        }

        fn pause(&self) {
            thread::yield_now();
        }
    }

    impl Exchange for Modelled {
        fn compare_exchange_weak(&self, current: u32, new: u32, order: Order) -> Result<u32, u32> {
            self.0.compare_exchange_weak(current, new, effective(order), Ordering::Relaxed)
        }
    }

    /// An ordering with two halves is weakened one half at a time.
    fn effective(order: Order) -> Ordering {
        static MUTANT: OnceLock<Option<String>> = OnceLock::new();
        let mutant = MUTANT.get_or_init(|| std::env::var("BENCH_GATE_MUTANT").ok()).as_deref().unwrap_or("");
        match mutant.strip_prefix(order.site()) {
            Some("") => Ordering::Relaxed,
            Some("-acquire") => Ordering::Release,
            Some("-release") => Ordering::Acquire,
            _ => order.ordering(),
        }
    }

    /// A value whose accesses loom checks.
    struct Checked<T>(UnsafeCell<T>);

    // SAFETY: loom finds out who accesses it meanwhile.
    unsafe impl<T: Send> Sync for Checked<T> {}

    impl<T: Copy> Checked<T> {
        fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }

        fn write(&self, change: impl FnOnce(&mut T)) {
            // SAFETY: loom checks that nobody else accesses the cell.
            self.0.with_mut(|cell| change(unsafe { &mut *cell }));
        }

        fn get(&self) -> T {
            // SAFETY: loom checks that nobody writes the cell.
            self.0.with(|cell| unsafe { *cell })
        }
    }

    /// A clock of one thread: each look is a tick.
    struct Ticks(Cell<u64>);

    impl Ticks {
        fn new() -> Self {
            Self(Cell::new(0))
        }
    }

    impl Clock for Ticks {
        fn ticks(&self) -> u64 {
            self.0.set(self.0.get() + 1);
            self.0.get()
        }

        fn hz(&self) -> u64 {
            1
        }
    }

    type Role<S> = fn(&S) -> String;

    /// Explores what the roles say of a stage.
    fn explore<S: Send + Sync + 'static>(
        name: &str,
        preemptions: usize,
        stage: fn() -> S,
        roles: &'static [Role<S>],
        expected: &[&str],
    ) {
        let expected = expected.iter().map(|outcome| (*outcome).to_owned());
        ebpf_loom_harness::explore(name, preemptions, expected, move |spawning| {
            spawning.run(&Arc::new(stage()), roles).join(" ")
        });
    }

    // ---- barrier ----

    /// A barrier, and what each party did before it.
    struct Start {
        barrier: Barrier<Modelled>,
        prepared: [Checked<u32>; 2],
    }

    fn start() -> Start {
        Start { barrier: Barrier::on(Modelled::new()), prepared: [const { 0 }; 2].map(Checked::new) }
    }

    const FOREVER: u64 = u64::MAX;

    /// Prepares, passes, reads what the other has prepared: a race if the barrier does not order them. `l` for who came last.
    fn party(start: &Start, own: usize, limit: u64) -> String {
        start.prepared[own].write(|value| *value += 1);
        match start.barrier.wait(NonZeroU16::new(2).unwrap(), &Ticks::new(), limit) {
            Ok(passed) => {
                let other = start.prepared[1 - own].get();
                format!("{}{other}", if passed.is_last { 'l' } else { 'f' })
            }
            Err(timeout) => format!("t{}", timeout.here),
        }
    }

    /// What was prepared before is there after, whoever came first.
    #[test]
    fn what_was_done_before_a_barrier_is_done_after_it() {
        let roles: &[Role<Start>] = &[|start| party(start, 0, FOREVER), |start| party(start, 1, FOREVER)];
        explore("barrier", 3, start, roles, &["f1 l1", "l1 f1"]);
    }

    /// Parties that give up: both pass or neither does, and whoever gave up is not counted for those who come later.
    #[test]
    fn nobody_passes_alone() {
        let roles: &[Role<Start>] = &[|start| party(start, 0, 2), |start| party(start, 1, 2)];
        let together = ["f1 l1", "l1 f1"];
        let apart = ["t1 t1"];
        explore("giving up", 3, start, roles, &[&together[..], &apart].concat());
    }

    /// Twice, with work in between that the other must not see too early or too late: the second round is not the first one.
    #[test]
    fn a_barrier_is_used_again() {
        fn twice(start: &Start, own: usize) -> String {
            let first = party(start, own, FOREVER);
            // Between the first round and the next the cells are read; a third keeps the writes of the second apart from them.
            let _ = start.barrier.wait(NonZeroU16::new(2).unwrap(), &Ticks::new(), FOREVER).unwrap();
            let second = party(start, own, FOREVER);
            format!("{}{}", &first[1..], &second[1..])
        }
        let roles: &[Role<Start>] = &[|start| twice(start, 0), |start| twice(start, 1)];
        explore("rounds", 2, start, roles, &["12 12"]);
    }

    /// Three: what the first one did travels through the second one's counting to the third, and back; or all three give up.
    #[test]
    fn three_begin_together_or_not_at_all() {
        struct Three {
            barrier: Barrier<Modelled>,
            prepared: [Checked<u32>; 3],
        }
        fn party(start: &Three, own: usize) -> String {
            start.prepared[own].write(|value| *value = 1);
            match start.barrier.wait(NonZeroU16::new(3).unwrap(), &Ticks::new(), 1) {
                Ok(_) => start.prepared.iter().map(Checked::get).sum::<u32>().to_string(),
                Err(_) => "t".to_owned(),
            }
        }
        let roles: &[Role<Three>] =
            &[|start| party(start, 0), |start| party(start, 1), |start| party(start, 2)];
        let stage =
            || Three { barrier: Barrier::on(Modelled::new()), prepared: [const { 0 }; 3].map(Checked::new) };
        explore("three", 2, stage, roles, &["3 3 3", "t t t"]);
    }

    // ---- hand-over ----

    impl Place for Checked<(u64, u64)> {
        fn write(&self, pair: Pair) {
            self.write(|ticks| *ticks = (pair.baseline, pair.candidate));
        }

        fn read(&self) -> Pair {
            let (baseline, candidate) = self.get();
            Pair::new(baseline, candidate, Turn::BaselineFirst, None)
        }
    }

    type Sample = Checked<(u64, u64)>;
    type Line = Handover<Modelled, Sample, 1>;
    type GivingSide = Giver<'static, Modelled, Sample, 1>;
    type TakingSide = Taker<'static, Modelled, Sample, 1>;

    /// Both sides of one hand-over, each to be taken by its role.
    struct Sides {
        giver: Mutex<Option<GivingSide>>,
        taker: Mutex<Option<TakingSide>>,
        line: *mut Line,
    }

    // SAFETY: the pointer is only used to give the memory back.
    unsafe impl Send for Sides {}
    // SAFETY: likewise.
    unsafe impl Sync for Sides {}

    impl Drop for Sides {
        fn drop(&mut self) {
            // SAFETY: from a box; both sides have been dropped by their roles.
            drop(unsafe { Box::from_raw(self.line) });
        }
    }

    fn sides() -> Sides {
        let line = Box::into_raw(Box::new(Handover::on([Slot::new(Modelled::new(), Checked::new((0, 0)))])));
        // SAFETY: from a box, which lives until the sides are gone.
        let (giver, taker) = unsafe { &mut *line }.split();
        Sides { giver: Mutex::new(Some(giver)), taker: Mutex::new(Some(taker)), line }
    }

    /// Gives two pairs in one place, so that the second one writes where the first one was read; the taker looks three times.
    #[test]
    fn pairs_are_handed_over_whole_and_in_order() {
        fn give(sides: &Sides) -> String {
            let mut giver = sides.giver.lock().unwrap().take().unwrap();
            let given = (1..=2).filter(|index| {
                let pair = Pair::new(*index, index * 10, Turn::BaselineFirst, None);
                // Tries twice, measures on.
                giver.give(pair).is_ok() || {
                    thread::yield_now();
                    giver.give(pair).is_ok()
                }
            });
            given.map(|index| index.to_string()).collect()
        }
        fn take(sides: &Sides) -> String {
            let mut taker = sides.taker.lock().unwrap().take().unwrap();
            let mut taken = String::new();
            for _ in 0..3 {
                if let Some(pair) = taker.take() {
                    assert_eq!(pair.candidate, pair.baseline * 10, "half of a pair");
                    taken += &pair.baseline.to_string();
                    // Room for the giver's second try.
                    thread::yield_now();
                }
            }
            format!("[{taken}]")
        }
        explore("hand-over", 3, sides, &[give, take], &["1 []", "1 [1]", "12 [1]", "12 [12]"]);
    }
}
