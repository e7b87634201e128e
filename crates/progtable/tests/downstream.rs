//! How a crate that uses the table models itself together with it, with nothing but what is public under
//! `--cfg loom`.
//!
//! The crate in question loads what is switched on, while somebody else may still be choosing. It has to freeze the
//! table *before* it looks: `cargo xtask loom progtable` runs this.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "tests")]

mod models {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};

    use ebpf_progtable::ObjectFile;
    use loom::thread;

    static OBJECT: &[u8] = include_bytes!("objects/choose.bpf.o");

    /// Whether switching the program off was accepted, and whether it was loaded.
    type Outcome = (bool, bool);

    fn outcomes(freeze_first: bool) -> BTreeSet<Outcome> {
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let result = Arc::clone(&seen);
        loom::model(move || {
            // A model's threads have small stacks: no more capacity than the object needs.
            let file: ObjectFile<'static, 4, 4> = ObjectFile::open(OBJECT).unwrap();
            let file = loom::sync::Arc::new(file);
            let chosen = file.clone();
            // Every role on a thread of its own: the creating thread has seen all initial values.
            let chooser = thread::spawn(move || {
                chosen.set_autoload(chosen.program("test_maps").unwrap(), false).is_ok()
            });
            let loader = thread::spawn(move || {
                let program = file.program("test_maps").unwrap();
                let early = program.autoload();
                file.freeze().unwrap();
                if freeze_first { program.autoload() } else { early }
            });
            let outcome = (chooser.join().unwrap(), loader.join().unwrap());
            seen.lock().unwrap().insert(outcome);
        });
        let seen = result.lock().unwrap();
        seen.clone()
    }

    /// All that may be seen is seen, and nothing else: a model that explored too little would fail here.
    #[test]
    fn what_is_loaded_is_what_was_accepted() {
        assert_eq!(outcomes(true), [(true, false), (false, true)].into());
    }

    /// The mistake, to see that the model notices it: a program is loaded although switching it off was accepted.
    #[test]
    fn looking_before_freezing_is_a_mistake() {
        assert!(outcomes(false).contains(&(true, true)));
    }
}
