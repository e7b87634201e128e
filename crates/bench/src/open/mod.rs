//! Opening objects, beside libbpf and aya: real objects as they are installed, and synthetic ones that grow.
//!
//! A turn opens one object several times. What is opened is closed outside the time that is taken, for every
//! contender. Each checks an object as far as it does when it opens one: libbpf and aya also collect
//! relocations, which `ebpf-progtable` reads when it links a program.

mod allocations;
mod growth;
pub(crate) mod objects;
#[cfg(feature = "kernel")]
mod peers;

use std::hint::black_box;

use ebpf_progtable::{ObjectFile, OpenError, Options};

#[cfg(feature = "kernel")]
use crate::measure::Stopwatch;
#[cfg(feature = "kernel")]
use crate::measure::{Contender, find, median, pin, take_turns};
use crate::report::Report;

/// The largest table that the bench opens objects into.
pub(crate) type Table<'data> = ObjectFile<'data, { objects::MOST_PROGRAMS }, 64>;

/// Opens everything; `turns` for each object and contender.
pub(crate) fn run(report: &mut Report, turns: usize, filter: &str) {
    #[cfg(feature = "kernel")]
    corpus(report, turns, filter);
    #[cfg(not(feature = "kernel"))]
    report.skip("real objects: built without the feature `kernel`, which needs libelf and zlib".to_owned());
    growth::run(report, turns, filter);
    allocations::run(report);
}

/// Opens an object into a place that is there already.
pub(crate) fn open_into<'data>(
    place: &mut Table<'data>,
    name: &str,
    data: &'data [u8],
) -> Result<(), OpenError> {
    let mut options = Options::default();
    options.name = name;
    let outcome = ObjectFile::open_into(place, black_box(data), &options);
    black_box(place);
    outcome
}

/// Objects of other people, each opened by all.
#[cfg(feature = "kernel")]
fn corpus(report: &mut Report, turns: usize, filter: &str) {
    use ebpf_conformance::corpus::{Package, embedded, xdp_tools};

    let mut samples = xdp_tools();
    samples.extend(embedded(Package::XdpTools));
    samples.extend(embedded(Package::LibbpfTools));
    samples.retain(|sample| sample.name.contains(filter));
    if samples.is_empty() {
        return report.skip("no objects: apt-get install xdp-tools libbpf-tools".to_owned());
    }
    pin(0);
    report.table(format!("opening {} installed objects, microseconds", samples.len()));
    let (mut against_libbpf, mut against_aya, mut in_place) = (vec![], vec![], vec![]);
    for sample in &samples {
        let data = &sample.bytes;
        let mut place = ObjectFile::<'_, 64, 64>::empty();
        let libbpf = peers::Libbpf::new(&sample.name, data);
        let mut contenders = vec![
            Contender::new("ours", || {
                timed(OWN, || {
                    let file = ObjectFile::<'_, 64, 64>::open_named(&sample.name, black_box(data));
                    assert!(black_box(&file).is_ok(), "an installed object opens");
                })
            }),
            Contender::new("ours, in place", || {
                let mut options = Options::default();
                options.name = &sample.name;
                timed(OWN, || {
                    ObjectFile::open_into(&mut place, black_box(data), &options)
                        .expect("an installed object opens");
                    black_box(&mut place);
                })
            }),
            Contender::new("libbpf", || libbpf.open(PEER)),
        ];
        // aya refuses objects with sections whose names it does not know.
        if peers::aya(data, 1).is_some() {
            contenders.push(Contender::new("aya", || peers::aya(data, PEER).expect("opened before")));
        }
        let series = take_turns(&mut contenders, turns);
        let figures = series.iter().map(|series| (series.name, series.microseconds())).collect();
        report.row(&sample.name, figures, false);
        let own = find(&series, "ours");
        against_libbpf.push(own.against(find(&series, "libbpf")));
        in_place.push(find(&series, "ours, in place").against(find(&series, "libbpf")));
        if let Some(aya) = series.iter().find(|series| series.name == "aya") {
            against_aya.push(own.against(aya));
        }
    }
    report.table("how many times as fast, over those objects");
    for (name, ratios) in
        [("libbpf", &against_libbpf), ("libbpf, in place", &in_place), ("aya", &against_aya)]
    {
        if ratios.is_empty() {
            continue;
        }
        let least = ratios.iter().copied().fold(f64::MAX, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        let figures = vec![
            ("objects", ratios.len() as f64),
            ("least", least),
            ("median", median(ratios.clone())),
            ("most", most),
        ];
        report.row(name, figures, false);
    }
    let what = |peer: &str, count: usize| format!("opening {count} installed objects, median: {peer}");
    report.goal(what("libbpf", against_libbpf.len()), median(against_libbpf), LIBBPF);
    if against_aya.is_empty() {
        report.skip("aya opens none of these objects".to_owned());
    } else {
        report.goal(what("aya", against_aya.len()), median(against_aya), AYA);
    }
}

/// Nanoseconds for each of `count` calls.
#[cfg(feature = "kernel")]
fn timed(count: u32, mut open: impl FnMut()) -> f64 {
    let start = Stopwatch::start();
    for _ in 0..count {
        open();
    }
    start.nanoseconds() / f64::from(count)
}

/// Objects opened in a turn, by us and by a peer: about as long for each.
#[cfg(feature = "kernel")]
const OWN: u32 = 100;
#[cfg(feature = "kernel")]
const PEER: u32 = 8;
/// How many times as fast as each peer opening has to be.
#[cfg(feature = "kernel")]
const LIBBPF: f64 = 20.0;
#[cfg(feature = "kernel")]
const AYA: f64 = 10.0;
