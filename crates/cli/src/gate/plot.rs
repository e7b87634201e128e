//! Pictures that show why a gate said what it said.

use std::fmt::Display;
use std::path::Path;

use bench_gate::{Better, Pair, Report, Verdict};
use plotters::prelude::*;

use super::history::Found;

const SIZE: (u32, u32) = (960, 640);
const GOOD: RGBColor = RGBColor(0x2e, 0x7d, 0x32);
const BAD: RGBColor = RGBColor(0xc6, 0x28, 0x28);
const PLAIN: RGBColor = RGBColor(0x45, 0x5a, 0x64);
const PALE: RGBColor = RGBColor(0xb0, 0xbe, 0xc5);

fn text(error: impl Display) -> String {
    error.to_string()
}

fn colour(verdict: &Verdict) -> RGBColor {
    match verdict {
        Verdict::Pass { .. } => GOOD,
        Verdict::Regressed { .. } => BAD,
        _ => PLAIN,
    }
}

/// Above, by how much the candidate was slower, pair by pair, with both margins; below, how both counts went, as wins more than half.
pub(super) fn pairs(path: &Path, subject: &str, report: &Report, pairs: &[Pair]) -> Result<(), String> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(text)?;
    let heading = ("sans-serif", 18).into_font().color(&colour(&report.verdict));
    let area = area.titled(&format!("{subject}: {}", report.verdict), heading).map_err(text)?;
    let (upper, lower) = area.split_vertically(360);
    let (tolerated, forbidden) =
        (f64::from(report.tolerated_ppm) / 1e4, f64::from(report.forbidden_ppm) / 1e4);
    let last = pairs.len().max(1) as f64;

    // Most pairs, not the odd ones, say how much is to be seen; those lie at the edge.
    let mut sizes: Vec<f64> = pairs.iter().filter_map(slower_by).map(f64::abs).collect();
    sizes.sort_by(f64::total_cmp);
    let usual = sizes.get(sizes.len().saturating_mul(9) / 10).copied().unwrap_or(0.0);
    let reach = (usual * 1.5).max(forbidden * 2.0);
    let mut chart = ChartBuilder::on(&upper)
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..last, -reach..reach)
        .map_err(text)?;
    chart.configure_mesh().light_line_style(WHITE).y_desc("slower by, %").draw().map_err(text)?;
    for (margin, colour, name) in [(tolerated, GOOD, "tolerated"), (forbidden, BAD, "forbidden")] {
        let line = LineSeries::new([(0.0, margin), (last, margin)], colour.stroke_width(2));
        let label = format!("{name} {margin} %");
        chart.draw_series(line).map_err(text)?.label(label).legend(key(colour));
    }
    let points = pairs.iter().zip(0_u32..).map(|(pair, index)| {
        let by = slower_by(pair);
        let colour = match by {
            _ if pair.void.is_some() => PALE,
            Some(by) if by > tolerated => BAD,
            Some(by) if by < forbidden => GOOD,
            _ => PLAIN,
        };
        Circle::new((f64::from(index), by.unwrap_or(reach).clamp(-reach, reach)), 3, colour.filled())
    });
    chart.draw_series(points).map_err(text)?;
    legend(&mut chart)?;

    let mut counts: [Vec<(f64, f64)>; 2] = [vec![(0.0, 0.0)], vec![(0.0, 0.0)]];
    let (mut slower, mut within, mut counted) = (0.0, 0.0, 0.0);
    for (pair, index) in pairs.iter().zip(1_u32..).filter(|(pair, _)| pair.void.is_none()) {
        let by = slower_by(pair).unwrap_or(f64::INFINITY);
        counted += 1.0;
        slower += f64::from(u8::from(by > tolerated));
        within += f64::from(u8::from(by < forbidden));
        for (counts, wins) in counts.iter_mut().zip([slower, within]) {
            counts.push((f64::from(index), wins - counted / 2.0));
        }
    }
    // What a coin does in one of a thousand cases, for the eye; the gate's own boundaries are steps near it.
    let bound = |pairs: f64| 1.9 * pairs.max(16.0).sqrt();
    let top = bound(last).max(last / 2.0) + 1.0;
    let mut chart = ChartBuilder::on(&lower)
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..last, -top..top)
        .map_err(text)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .y_desc("wins over half")
        .x_desc("pairs")
        .draw()
        .map_err(text)?;
    let boundary = (0_u32..=64).map(|step| last * f64::from(step) / 64.0).map(|pairs| (pairs, bound(pairs)));
    chart
        .draw_series(LineSeries::new(boundary, PALE.stroke_width(2)))
        .map_err(text)?
        .label("what decides, about")
        .legend(key(PALE));
    let [slower, within] = counts;
    for (counts, colour, name) in
        [(slower, BAD, "slower than tolerated"), (within, GOOD, "within what is forbidden")]
    {
        let line = LineSeries::new(counts, colour.stroke_width(2));
        chart.draw_series(line).map_err(text)?.label(name).legend(key(colour));
    }
    legend(&mut chart)?;
    area.present().map_err(text)
}

/// In percent.
fn slower_by(pair: &Pair) -> Option<f64> {
    (pair.baseline > 0).then(|| (pair.candidate as f64 / pair.baseline as f64 - 1.0) * 100.0)
}

/// The runs, the window that decided, what it tolerates, and the newest runs.
pub(super) fn history(path: &Path, found: &Found<'_>) -> Result<(), String> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(text)?;
    let judgement = &found.judgement;
    let heading = ("sans-serif", 18).into_font().color(&colour(&judgement.verdict));
    let area = area.titled(&format!("{}: {}", found.path, judgement.verdict), heading).map_err(text)?;

    // The window, the newest, and what came before it, as much again.
    let shown = judgement.window.saturating_add(found.newest).saturating_mul(2).max(20);
    let skipped = found.runs.len().saturating_sub(shown);
    let runs = found.runs.get(skipped..).unwrap_or_default();
    let newest_from = runs.len().saturating_sub(found.newest);
    let window_from = newest_from.saturating_sub(judgement.window);
    let thresholds = [
        (found.own(judgement.regressed_beyond), BAD, "regressed beyond"),
        (found.own(judgement.pass_within), GOOD, "pass within"),
        (found.own(judgement.median), PALE, "median of the window"),
    ];
    // One odd run must not make a line of all others.
    let usual = found.own(judgement.median);
    let seen = |value: &f64| (usual / 2.0..usual * 2.0).contains(value);
    let values = runs.iter().map(|run| run.value).filter(seen);
    let all = || values.clone().chain(thresholds.iter().map(|(value, ..)| *value));
    let (low, high) = (all().fold(f64::MAX, f64::min), all().fold(f64::MIN, f64::max));
    let room = ((high - low) * 0.05).max(f64::MIN_POSITIVE);
    let (low, high) = (low - room, high + room);
    let last = runs.len().max(1) as f64;
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(88)
        .build_cartesian_2d(-1.0..last, low..high)
        .map_err(text)?;
    let better = match judgement.regressed_beyond.cmp(&judgement.median) {
        std::cmp::Ordering::Less => Better::Higher,
        _ => Better::Lower,
    };
    let description = if better == Better::Lower { "lower is better" } else { "higher is better" };
    chart.configure_mesh().light_line_style(WHITE).x_desc("runs").y_desc(description).draw().map_err(text)?;
    let window = (window_from as f64 - 0.5, newest_from as f64 - 0.5);
    chart
        .draw_series([Rectangle::new([(window.0, low), (window.1, high)], PALE.mix(0.3).filled())])
        .map_err(text)?
        .label("window")
        .legend(key(PALE));
    for (value, colour, name) in thresholds {
        let line = LineSeries::new([(-1.0, value), (last, value)], colour.stroke_width(2));
        chart.draw_series(line).map_err(text)?.label(name).legend(key(colour));
    }
    let points = runs.iter().enumerate().map(|(index, run)| {
        let (size, colour) = if index >= newest_from { (5, colour(&judgement.verdict)) } else { (3, PLAIN) };
        Circle::new((index as f64, run.value.clamp(low, high)), size, colour.filled())
    });
    chart.draw_series(points).map_err(text)?.label("newest").legend(key(colour(&judgement.verdict)));
    legend(&mut chart)?;
    area.present().map_err(text)
}

fn key(colour: RGBColor) -> impl Fn((i32, i32)) -> Rectangle<(i32, i32)> {
    move |(x, y)| {
        Rectangle::new(
            [(x, y.saturating_sub(3)), (x.saturating_add(14), y.saturating_add(3))],
            colour.filled(),
        )
    }
}

type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

fn legend<'a>(chart: &mut Chart<'a, 'a>) -> Result<(), String> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(PALE)
        .draw()
        .map_err(text)
}
