//! How a crate that uses the ring models itself together with it, with nothing but what is public under `--cfg loom`.
//!
//! The crate in question hands work from a worker to a logger: the worker raises a flag *before* it submits the record that says so, and
//! the logger relies on finding the flag raised when it reads the record. `cargo xtask loom ringbuf` runs this.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "tests")]

mod models {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};

    use ebpf_ringbuf::model::Modelled;
    use ebpf_ringbuf::{Consumer, Geometry, Mapping, PageOffset, Producer, Stopped, SubmitFlags};
    use loom::sync::atomic::{AtomicBool, Ordering};
    use loom::thread;

    /// What the logger saw: a record or none, and the flag at that time.
    type Outcome = (bool, bool);

    fn outcomes(raise_first: bool) -> BTreeSet<Outcome> {
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let result = Arc::clone(&seen);
        loom::model(move || {
            let geometry = Geometry::new(64, 8, Mapping::Mirrored, PageOffset::FromRing).unwrap();
            let ring = Modelled::new(geometry, 0);
            let producer = Producer::new(ring.clone(), ring.clone()).unwrap();
            let flag = loom::sync::Arc::new(AtomicBool::new(false));
            let raised = flag.clone();
            // Every role on a thread of its own: the creating thread has seen all initial values.
            let worker = thread::spawn(move || {
                let record = producer.reserve(8).unwrap();
                if raise_first {
                    raised.store(true, Ordering::Relaxed);
                }
                let _ = record.submit(SubmitFlags::NO_WAKEUP);
                raised.store(true, Ordering::Relaxed);
            });
            let seen = Arc::clone(&seen);
            let logger = thread::spawn(move || {
                let mut consumer = Consumer::new(ring).unwrap();
                let found = match consumer.next_record() {
                    Ok(_) => true,
                    Err(stopped) => {
                        assert!(matches!(stopped, Stopped::Empty | Stopped::Busy));
                        false
                    }
                };
                seen.lock().unwrap().insert((found, flag.load(Ordering::Relaxed)));
            });
            worker.join().unwrap();
            logger.join().unwrap();
        });
        let seen = result.lock().unwrap();
        seen.clone()
    }

    /// All that may be seen is seen, and nothing else: a model that explored too little would fail here.
    #[test]
    fn a_record_carries_what_was_written_before_it() {
        assert_eq!(outcomes(true), [(false, false), (false, true), (true, true)].into());
    }

    /// The same with the mistake that the model is for: the flag raised too late. The wrong outcome shows.
    #[test]
    fn the_seeded_mistake_is_found() {
        assert!(outcomes(false).contains(&(true, false)));
    }
}
