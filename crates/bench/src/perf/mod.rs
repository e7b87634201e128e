//! Draining full perf rings of the running kernel, one for each CPU, beside libbpf.
//!
//! libbpf opens the events and maps the rings; a BPF program fills each on its CPU, once for each pattern. A turn sets all tails back to where they stood then, so that
//! both read the same records at the same addresses.

mod rings;

use crate::measure::{Contender, Seen, find, pin, take_turns};
use crate::report::Report;
use rings::Rings;

/// One way to fill the rings, and what draining them has to reach against libbpf, for each of [`PAGES`]. The larger rings are beyond the caches that are near, and what
/// memory gives limits both readers.
struct Pattern {
    name: &'static str,
    sizes: &'static [u64],
    random: bool,
    libbpf: [f64; 2],
}

const PATTERNS: [Pattern; 6] = [
    Pattern { name: "8 B", sizes: &[8], random: false, libbpf: [2.0, 2.0] },
    Pattern { name: "64 B", sizes: &[64], random: false, libbpf: [2.0, 1.5] },
    Pattern { name: "256 B", sizes: &[256], random: false, libbpf: [2.0, 1.25] },
    Pattern { name: "1024 B", sizes: &[1024], random: false, libbpf: [1.0, 1.0] },
    Pattern { name: "8 and 64 B in turn", sizes: &[8, 64], random: false, libbpf: [1.0, 1.0] },
    Pattern { name: "five sizes, random", sizes: &[8, 16, 64, 256, 1024], random: true, libbpf: [1.0, 1.0] },
];

/// Pages of data for each CPU: a common choice, and one that comes to the 16 MiB of the other ring's figures where there are two CPUs.
const PAGES: [usize; 2] = [128, 2048];

pub(crate) fn run(report: &mut Report, turns: usize, filter: &str) {
    for (which, pages) in PAGES.into_iter().enumerate() {
        if let Err(why) = size(report, turns, filter, which, pages) {
            report.skip(format!("the kernel's perf rings: {why}"));
        }
    }
}

fn size(report: &mut Report, turns: usize, filter: &str, which: usize, pages: usize) -> Result<(), String> {
    let mut rings = Rings::load(pages)?;
    pin(0);
    let cpus = rings.count();
    let kilobytes = pages * rustix::param::page_size() / 1024;
    report.table(format!(
        "draining {cpus} full perf rings of {kilobytes} KiB, one CPU reads, millions of records a second"
    ));
    for pattern in PATTERNS.iter().filter(|pattern| pattern.name.contains(filter)) {
        let expected = rings.fill(pattern.sizes, pattern.random)?;
        let rings = &rings;
        let turn = |(nanoseconds, seen): (f64, Seen)| {
            assert_eq!(seen, expected, "a contender read something else");
            nanoseconds / seen.records as f64
        };
        let mut contenders = [
            Contender::new("ours", || turn(rings.ours())),
            Contender::new("libbpf", || turn(rings.libbpf())),
        ];
        let series = take_turns(&mut contenders, turns);
        report.rates(pattern.name, &series);
        let reached = find(&series, "ours").against(find(&series, "libbpf"));
        report.goal(
            format!("perf rings of {kilobytes} KiB, {}: libbpf", pattern.name),
            reached,
            pattern.libbpf[which],
        );
    }
    Ok(())
}
