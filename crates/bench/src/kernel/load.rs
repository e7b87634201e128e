//! Loading k of 64 programs into the running kernel, beside libbpf: what is off costs nothing.

use std::ffi::CString;
use std::ptr::{self, NonNull};

use ebpf_linux::Linux;
use ebpf_loader::{Instruction, Object};
use libbpf_sys as sys;

use super::compile;
use crate::measure::{Contender, Stopwatch, pin, take_turns};
use crate::report::Report;

/// How many programs are on.
const STEPS: [usize; 9] = [0, 1, 8, 16, 24, 32, 40, 48, 64];
const PROGRAMS: usize = 64;

pub(crate) fn run(report: &mut Report, turns: usize) {
    let object = match compile("many.bpf.c") {
        Ok(object) => object,
        Err(why) => return report.skip(format!("loading: {why}")),
    };
    // SAFETY: a callback that prints nothing; libbpf keeps no other state here.
    unsafe { sys::libbpf_set_print(None) };
    let programs = Programs::new(&object);
    if let Err(why) = programs.ours(PROGRAMS) {
        return report.skip(format!("loading: {why}"));
    }
    pin(0);
    report.table("loading k of 64 programs, opened and linked included, microseconds of this thread (with the kernel's)");
    // All steps take turns with each other: what slows a moment down must not bend the line.
    let mut contenders: Vec<Contender<'_>> = STEPS
        .into_iter()
        .flat_map(|step| {
            let programs = &programs;
            [
                Contender::new("ours", move || programs.ours(step).expect("it was loaded before")),
                Contender::new("libbpf", move || programs.libbpf(step)),
            ]
        })
        .collect();
    let series = take_turns(&mut contenders, turns);
    let mut points = Vec::new();
    for (step, pair) in STEPS.into_iter().zip(series.chunks(2)) {
        let [own, libbpf] = pair else { continue };
        let instructions = programs.instructions(step);
        let figures = vec![
            ("instructions", instructions as f64),
            ("ours", own.nanoseconds() / 1e3),
            ("libbpf", libbpf.nanoseconds() / 1e3),
        ];
        report.row(&format!("{step} of {PROGRAMS}"), figures, false);
        points.push((instructions as f64, own.nanoseconds()));
        // What the loaders do is all there is to the first; the last is the verifier's time, the same for both, and may not be lost to noise.
        if let Some((_, wanted)) =
            [(0, 3.0), (1, 1.5), (PROGRAMS, 0.9)].into_iter().find(|(at, _)| *at == step)
        {
            report.goal(
                format!("loading {step} of {PROGRAMS} programs: libbpf"),
                own.against(libbpf),
                wanted,
            );
        }
    }
    let line = Line::through(&points);
    println!(
        "  ours: {:.1} us + {:.1} ns for each instruction that is on, R² {:.4}",
        line.base / 1e3,
        line.slope,
        line.explained
    );
    report.goal("load time is a line over the instructions that are on (R²)", line.explained, 0.99);
}

/// The object, and its programs in an order in which lengths are mixed.
struct Programs<'o> {
    object: &'o [u8],
    order: Vec<(String, usize)>,
}

impl<'o> Programs<'o> {
    fn new(object: &'o [u8]) -> Self {
        let opened: Object<'_, PROGRAMS> = Object::open_named("many", object).expect("our own object");
        let programs: Vec<(String, usize)> =
            opened.programs().map(|program| (program.name().to_owned(), program.len())).collect();
        assert_eq!(programs.len(), PROGRAMS);
        // 11 and 64 have no divisor in common: each once, and every eight of them of all lengths but never in their order.
        let order = (0..PROGRAMS).map(|index| programs[index * 11 % PROGRAMS].clone()).collect();
        Self { object, order }
    }

    fn instructions(&self, on: usize) -> usize {
        self.order[..on].iter().map(|(_, instructions)| instructions).sum()
    }

    /// Nanoseconds.
    fn ours(&self, on: usize) -> Result<f64, String> {
        let mut scratch = vec![Instruction::default(); 4096];
        let start = Stopwatch::start();
        let object: Object<'_, PROGRAMS> =
            Object::open_named("many", self.object).map_err(|error| error.to_string())?;
        for (name, _) in &self.order[on..] {
            object.set_autoload(name, false).map_err(|error| error.to_string())?;
        }
        let mut loaded = object.on(&Linux);
        loaded.load(&mut scratch).map_err(|error| error.to_string())?;
        let nanoseconds = start.nanoseconds();
        assert_eq!(loaded.programs().filter(|(_, handle)| handle.is_some()).count(), on);
        Ok(nanoseconds)
    }

    /// Nanoseconds.
    fn libbpf(&self, on: usize) -> f64 {
        let names =
            self.order[on..].iter().map(|(name, _)| CString::new(name.as_str()).expect("no zero in it"));
        let names: Vec<CString> = names.collect();
        let start = Stopwatch::start();
        // SAFETY: the object's bytes are readable for the call, after which libbpf needs them no more.
        let object = unsafe {
            sys::bpf_object__open_mem(self.object.as_ptr().cast(), self.object.len() as _, ptr::null())
        };
        let object = NonNull::new(object).expect("libbpf opens the object");
        for name in &names {
            // SAFETY: the object is open, the name a string.
            let program = unsafe { sys::bpf_object__find_program_by_name(object.as_ptr(), name.as_ptr()) };
            // SAFETY: a program of the object, which is not loaded yet.
            assert_eq!(unsafe { sys::bpf_program__set_autoload(program, false) }, 0);
        }
        // SAFETY: the object is open.
        let result = unsafe { sys::bpf_object__load(object.as_ptr()) };
        let nanoseconds = start.nanoseconds();
        assert_eq!(result, 0, "libbpf loads the object");
        // SAFETY: the object is open, and not used any more.
        unsafe { sys::bpf_object__close(object.as_ptr()) };
        nanoseconds
    }
}

/// The line with the smallest squares through some points.
struct Line {
    base: f64,
    slope: f64,
    /// How much of the spread it explains: 1 is all.
    explained: f64,
}

impl Line {
    fn through(points: &[(f64, f64)]) -> Self {
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let both: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
        let across: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
        let up: f64 = points.iter().map(|point| (point.1 - y).powi(2)).sum();
        let slope = both / across;
        Self { base: y - slope * x, slope, explained: both * both / (across * up) }
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn a_line_is_found_and_a_curve_is_not_one() {
        let line = Line::through(&[(0.0, 5.0), (1.0, 7.0), (4.0, 13.0)]);
        assert!(
            (line.base - 5.0).abs() < 1e-9 && (line.slope - 2.0).abs() < 1e-9 && line.explained > 0.999_999
        );
        let curve: Vec<(f64, f64)> = (0..9).map(|x| (f64::from(x), f64::from(x).powi(4))).collect();
        assert!(Line::through(&curve).explained < 0.9);
    }
}
