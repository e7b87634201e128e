//! How a crate that uses the rings models itself together with them, with nothing but what is public under `--cfg loom`.
//!
//! The crate in question configures a sensor before it writes the sensor's first event, and whoever reads the event relies on finding the sensor configured.
//! `cargo xtask loom perfbuf` runs this.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "tests")]

mod models {
    use std::collections::BTreeSet;
    use std::ops::ControlFlow;
    use std::sync::{Arc, Mutex};

    use ebpf_perfbuf::model::Modelled;
    use ebpf_perfbuf::{Direction, Geometry, Reader, WakeupPolicy, Writer};
    use loom::sync::atomic::{AtomicBool, Ordering};
    use loom::thread;

    /// What the reader saw: how many events, and whether the sensor was configured then.
    type Outcome = (usize, bool);

    fn outcomes(configure_first: bool) -> BTreeSet<Outcome> {
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let result = Arc::clone(&seen);
        loom::model(move || {
            let ring = Modelled::new(Geometry::new(32, Direction::Forward).unwrap(), 0);
            let configured = loom::sync::Arc::new(AtomicBool::new(false));
            let (memory, flag) = (ring.clone(), configured.clone());
            // Every role on a thread of its own: the creating thread has seen all initial values.
            let sensor = thread::spawn(move || {
                let mut writer = Writer::new(memory, WakeupPolicy::events(1)).unwrap();
                if configure_first {
                    flag.store(true, Ordering::Relaxed);
                }
                let _ = writer.output(&[1; 4]).unwrap();
                flag.store(true, Ordering::Relaxed);
            });
            let seen = Arc::clone(&seen);
            let reader = thread::spawn(move || {
                let mut reader = Reader::new(ring).unwrap();
                let drained = reader.drain(usize::MAX, |_| ControlFlow::Continue(()));
                seen.lock().unwrap().insert((drained.samples, configured.load(Ordering::Relaxed)));
            });
            sensor.join().unwrap();
            reader.join().unwrap();
        });
        let seen = result.lock().unwrap();
        seen.clone()
    }

    /// All that may be seen is seen, and nothing else: a model that explored too little would fail here.
    #[test]
    fn an_event_carries_what_was_done_before_it() {
        assert_eq!(outcomes(true), [(0, false), (0, true), (1, true)].into());
    }

    /// The same with the mistake that the model is for: configured too late. The wrong outcome shows.
    #[test]
    fn the_seeded_mistake_is_found() {
        assert!(outcomes(false).contains(&(1, false)));
    }
}
