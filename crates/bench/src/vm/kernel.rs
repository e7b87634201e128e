//! The running kernel, which compiles programs to machine code.

use ebpf_linux::{Linux, LinuxMap, LinuxProgram, TestRun};
use ebpf_loader::{Instruction, MapSpec, Platform, ProgramKind, ProgramSpec};
use ebpf_ringbuf::Consumer;

/// Runs in a row, timed by the kernel.
const REPEAT: u32 = 100;

/// A loaded program with its maps.
pub(super) struct Kernel {
    program: LinuxProgram,
    maps: Vec<LinuxMap>,
    is_ring: bool,
}

impl Kernel {
    pub(super) fn new(specs: &[MapSpec<'_>], code: &[Instruction]) -> Result<Self, String> {
        let said = |error: ebpf_linux::Error| error.to_string();
        let maps: Vec<LinuxMap> =
            specs.iter().map(|spec| Linux.create_map(spec)).collect::<Result<_, _>>().map_err(said)?;
        for (map, spec) in maps.iter().zip(specs) {
            for key in 0..u32::from(spec.key_size == 4) * spec.max_entries {
                let value = vec![0; spec.value_size as usize];
                map.update(&key.to_ne_bytes(), &value, 0).map_err(said)?;
            }
        }
        let instructions = super::ours::refer(code, |number| Linux.map_reference(&maps[number]));
        let program = Linux
            .load_program(&ProgramSpec {
                name: "bench",
                section: "xdp",
                kind: ProgramKind::XDP,
                expected_attach_type: 0,
                license: "GPL",
                instructions: &instructions,
            })
            .map_err(said)?;
        let is_ring = specs.iter().any(|spec| spec.kind == ebpf_loader::MapKind::RINGBUF);
        Ok(Self { program, maps, is_ring })
    }

    pub(super) fn nanoseconds_per_run(&mut self) -> f64 {
        let run = TestRun { repeat: REPEAT, data: &[0; 64], ..Default::default() };
        let outcome = self.program.test_run(run).expect("a run");
        if self.is_ring {
            for map in &self.maps {
                if let Ok(ring) = Linux.ring(map) {
                    let mut consumer = Consumer::new(ring).expect("a position of the kernel's");
                    let _ = consumer.drain(usize::MAX, |_| std::ops::ControlFlow::Continue(()));
                }
            }
        }
        outcome.duration.as_nanos() as f64
    }
}
