//! How the price of opening grows from ten programs to ten thousand.

use std::path::Path;

use super::Table;
use super::objects::{SHAPES, Shape};
use crate::instructions::run_counted;
use crate::measure::Stopwatch;
use crate::measure::{Contender, find, take_turns};
use crate::report::Report;

/// Programs of the objects.
const SIZES: [usize; 4] = [10, 100, 1000, 10_000];

/// How much dearer one of 10 000 programs may be than one of 100, in instructions.
const IN_ORDER: f64 = 1.1;
/// The same where the table has to be sorted, which costs up to the logarithm's square: 4 times.
const SORTED: f64 = 2.0;

pub(super) fn run(report: &mut Report, turns: usize, filter: &str) {
    if !"growth".contains(filter) {
        return;
    }
    let turns = turns.min(11);
    report.table("opening an object of so many programs, nanoseconds for each program");
    for shape in SHAPES {
        for programs in SIZES {
            let data = shape.build(programs);
            let mut place = Box::new(Table::empty());
            #[cfg(feature = "kernel")]
            let libbpf = super::peers::Libbpf::new("name.bpf.o", &data);
            let count = (20_000 / programs).max(1) as u32;
            let mut contenders = vec![Contender::new("ours", || {
                let start = Stopwatch::start();
                for _ in 0..count {
                    super::open_into(&mut place, "name.bpf.o", &data).expect("the object opens");
                }
                start.nanoseconds() / f64::from(count)
            })];
            #[cfg(feature = "kernel")]
            if shape == Shape::InOrder {
                contenders.push(Contender::new("libbpf", || libbpf.open(1)));
            }
            let turns = if programs < 10_000 { turns } else { turns.min(3) };
            let series = take_turns(&mut contenders, turns);
            drop(contenders);
            assert_eq!(place.programs().count(), programs, "every program is found");
            let own = find(&series, "ours");
            let each = |series: &crate::measure::Series| {
                (series.name, series.microseconds() * 1e3 / programs as f64)
            };
            let mut figures: Vec<_> = series.iter().map(each).collect();
            if let Some(peer) = series.iter().find(|series| series.name != "ours") {
                figures.push(("times as fast", own.against(peer)));
            }
            report.row(&format!("{} {programs}", shape.name()), figures, false);
        }
    }
    instructions(report);
}

/// Instructions do not depend on how busy the machine is: these are what the goal is about.
fn instructions(report: &mut Report) {
    let opens = match std::env::current_exe() {
        Ok(own) => own.with_file_name("opens"),
        Err(error) => return report.skip(format!("instructions: {error}")),
    };
    if !opens.exists() {
        return report.skip("instructions: the binary `opens` is not built (cargo build --bins)".to_owned());
    }
    report.table("instructions for each program");
    for shape in SHAPES {
        let mut each = Vec::new();
        for programs in SIZES {
            match counted(&opens, shape, programs) {
                Ok(instructions) => each.push(instructions / programs as f64),
                Err(why) => return report.skip(format!("instructions: {why}")),
            }
        }
        let names = ["10", "100", "1000", "10000"];
        report.row(shape.name(), names.into_iter().zip(each.iter().copied()).collect(), false);
        let limit = if shape == Shape::InOrder { IN_ORDER } else { SORTED };
        let growth = each[3] / each[1];
        report.limit(format!("one of 10 000 programs beside one of 100, {}", shape.name()), growth, limit);
    }
}

/// Instructions for opening an object once.
fn counted(opens: &Path, shape: Shape, programs: usize) -> Result<f64, String> {
    let run = |count: &str| run_counted(opens, &[shape.name(), &programs.to_string(), count]);
    Ok((run("3")? - run("1")?) as f64 / 2.0)
}
