//! Opens whatever bytes come and looks at everything an object says of itself.
#![no_main]

use std::hint::black_box;

use ebpf_progtable::ObjectFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let file = match ObjectFile::<64, 64>::open_named("fuzz.bpf.o", data) {
        Ok(file) => file,
        Err(error) => {
            black_box(format!("{error} {error:?}"));
            return;
        }
    };
    black_box(file.license());
    for program in file.programs().chain(file.subprograms()) {
        assert!(!program.instructions().is_empty(), "a program holds at least one instruction");
        assert!(program.instruction_bytes().len() <= data.len());
        black_box(format!("{program:?}"));
        black_box(program.section_name().len());
    }
    for program in file.programs() {
        assert!(!program.is_subprogram());
        assert!(file.program(program.name()).is_some(), "what is listed can be found");
        let autoload = program.autoload();
        program.set_autoload(!autoload).expect("nothing froze the table yet");
        assert_eq!(program.autoload(), !autoload);
    }
    for map in file.maps() {
        assert!(map.name().len() <= data.len().max(15));
        if let Some(value) = map.initial_value() {
            assert!(value.len() <= data.len(), "an initial value is a part of the file");
        }
        black_box(format!("{map:?}"));
    }
    file.freeze().expect("the first to freeze wins");
    assert!(file.freeze().is_err(), "the second does not");
    if let Some(program) = file.programs().next() {
        assert!(program.set_autoload(program.autoload()).is_err(), "a frozen table stays as it is");
    }
});
