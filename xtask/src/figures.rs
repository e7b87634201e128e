//! The tables of figures in README.md, written by a run.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::step::{Failure, Outcome, Step, root};

/// Where the tables stand.
const BEGIN: &str = "<!-- figures: written by cargo xtask bench --write -->";
const END: &str = "<!-- end of figures -->";
/// Longer tables are for who asks for them.
const ROWS: usize = 12;

/// A part of the measurements, and the file with what it found.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) json: Value,
    /// What it was measured on.
    pub(crate) machine: String,
}

/// All parts, in the order in which they stand there.
pub(crate) const PARTS: [&str; 7] = ["ring", "perf", "open", "load", "wfp", "vm", "gate"];

/// Puts the figures into README.md; parts that were not measured now keep what was written of them before.
pub(crate) fn write(parts: &[Part]) -> Result<Outcome, Failure> {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).map_err(|error| failure(&path, &error))?;
    let readme = replaced(&readme, parts)
        .ok_or_else(|| Failure(format!("{}: the lines `{BEGIN}` and `{END}` are missing", path.display())))?;
    fs::write(&path, readme).map_err(|error| failure(&path, &error))?;
    let missed: Vec<String> =
        parts.iter().flat_map(|part| goals(&part.json)).filter_map(Goal::missed).collect();
    let tail = if missed.is_empty() { String::new() } else { format!("; MISSED: {}", missed.join("; ")) };
    Ok(Outcome::Shown(format!("README.md has the figures of this machine{tail}")))
}

fn replaced(readme: &str, parts: &[Part]) -> Option<String> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (old, after) = rest.split_once(END)?;
    let mut text = METHOD.to_owned();
    for name in PARTS {
        let heading = format!("\n### {name}\n");
        let kept =
            old.split_once(&heading).map(|(_, kept)| kept.split("\n### ").next().unwrap_or_default().trim());
        let section = match (parts.iter().find(|part| part.name == name), kept) {
            (Some(part), _) => format!("{}\n\n{}", part.machine, tables(part).trim()),
            (None, Some(kept)) => kept.to_owned(),
            (None, None) => continue,
        };
        text.push_str(&format!("{heading}\n{section}\n"));
    }
    Some(format!("{before}{BEGIN}\n\n{text}\n{END}{after}"))
}

/// How they are taken.
const METHOD: &str = "Contenders take turns in one process, each following each other one equally often; a figure is the median over the turns, a ratio the median of the \
    ratios within a turn, and time is the thread's own. Absolute figures of a machine that others use drift by a fifth, ratios hardly, unless a \
    virtual machine's CPUs are moved: where rows need two, the part `ring` says how far apart those were. In the part \
    `vm` loops begin on cache lines, ours and the peers': where one happens to lie changes an interpreter's figures by up to a half. **Bold** is the best of \
    a row, a name in brackets is no contender, but shows how far one gets without what makes the others hard; so does the last column. `cargo xtask bench --write` writes all this, `cargo xtask bench PART` prints one part.\n";

/// How busy the machine was in the last minute, and how many CPUs it has.
pub(crate) fn load() -> (f64, usize) {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN);
    (load, std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// What they are taken on, and when.
pub(crate) fn machine(turns: &str) -> Result<String, Failure> {
    let date = Step::new("date", &["-u", "+%F"]).output()?;
    let rust = Step::new("rustc", &["--version"]).output()?;
    let kernel = Step::new("uname", &["-sr"]).output()?;
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
        value.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let (load, cpus) = load();
    Ok(format!(
        "Taken on {}: {cpus} CPUs ({}), {} of memory, {}, {}; {turns}; load {load:.1} before.",
        date.trim(),
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal"),
        kernel.trim(),
        rust.trim(),
    ))
}

fn tables(part: &Part) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "| goal | reached | wanted | |\n|---|---|---|---|");
    for goal in goals(&part.json) {
        let relation = if goal.is_limit { "at most " } else { "" };
        let verdict = if goal.is_met { "" } else { "**missed** " };
        let possible =
            goal.possible.map_or(String::new(), |(how, possible)| format!("{how} {possible:.2}× "));
        let _ = writeln!(
            text,
            "| {} | {:.2}× | {relation}{:.2}× | {verdict}{possible}|",
            goal.what, goal.reached, goal.wanted
        );
    }
    let mut better = Vec::new();
    for table in list(&part.json, "/tables") {
        let (title, rows) = (string(table, "/title"), list(table, "/rows"));
        let best = Best::of(&title);
        if rows.len() <= ROWS {
            text.push_str(&table_text(&title, rows, best));
        } else {
            let _ = writeln!(
                text,
                "\n{title}: {} rows, `cargo xtask bench {}` prints them.",
                rows.len(),
                part.name
            );
        }
        better.extend(rows.iter().filter_map(|row| peer_is_better(&title, row, best)));
    }
    let _ = match &*better {
        [] => writeln!(text, "\nNo peer is better in any row."),
        rows => writeln!(text, "\nWhere a peer is better: {}.", rows.join("; ")),
    };
    for skipped in list(&part.json, "/skipped") {
        let _ = writeln!(text, "\nNot measured: {}", skipped.as_str().unwrap_or_default());
    }
    text.push('\n');
    text
}

fn table_text(title: &str, rows: &[Value], best: Option<Best>) -> String {
    // Rows of one table need not have the same columns: each is a line of its own.
    let mut text = format!("\n{title}:\n\n");
    let columns: Vec<Vec<(String, f64)>> = rows.iter().map(figures).collect();
    let names = |row: &Vec<(String, f64)>| row.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let Some(head) = columns.first().map(names) else { return text };
    let is_regular = columns.iter().all(|row| names(row) == head);
    if is_regular {
        let _ = writeln!(text, "| | {} |\n|---|{}", head.join(" | "), "---|".repeat(head.len()));
    } else {
        let _ = writeln!(text, "| | |\n|---|---|");
    }
    for (row, figures) in rows.iter().zip(&columns) {
        let chosen = best.and_then(|best| best.among(figures));
        let cell = |(name, figure): &(String, f64)| {
            let value = if figure.abs() >= 100.0 { format!("{figure:.0}") } else { format!("{figure:.1}") };
            let value = if chosen == Some(*figure) { format!("**{value}**") } else { value };
            if is_regular { value } else { format!("{name} {value}") }
        };
        let cells: Vec<String> = figures.iter().map(cell).collect();
        let separator = if is_regular { " | " } else { ", " };
        let _ = writeln!(text, "| {} | {} |", string(row, "/row"), cells.join(separator));
    }
    text
}

/// What is wanted of a table's figures, if they are those of contenders.
#[derive(Clone, Copy)]
enum Best {
    Highest,
    Lowest,
}

impl Best {
    fn of(title: &str) -> Option<Self> {
        if title.contains("a second") || title.contains("pushed") {
            Some(Self::Highest)
        } else if title.contains("microseconds") || title.contains("nanoseconds") {
            Some(Self::Lowest)
        } else {
            None
        }
    }

    fn is_better(self, figure: f64, than: f64) -> bool {
        match self {
            Self::Highest => figure > than,
            Self::Lowest => figure < than,
        }
    }

    /// The best of the figures of a row, if they are those of contenders.
    fn among(self, figures: &[(String, f64)]) -> Option<f64> {
        figures.iter().find(|(name, _)| name.starts_with("ours"))?;
        let contenders = figures.iter().filter(|(name, _)| is_contender(name));
        contenders
            .map(|(_, figure)| *figure)
            .reduce(|best, figure| if self.is_better(figure, best) { figure } else { best })
    }
}

/// Of those that do the same: names in brackets are floors, and some columns say what was done rather than how fast.
fn is_contender(name: &str) -> bool {
    !name.starts_with('(') && name != "instructions" && name != "times as fast"
}

/// A peer that beats us, and by what.
fn peer_is_better(title: &str, row: &Value, best: Option<Best>) -> Option<String> {
    let best = best?;
    let figures = figures(row);
    let (_, own) = figures.iter().find(|(name, _)| name == "ours")?;
    let is_peer = |name: &str| is_contender(name) && !name.starts_with("ours");
    let peers: Vec<String> = figures
        .iter()
        .filter(|(name, figure)| is_peer(name) && best.is_better(*figure, *own))
        .map(|(name, figure)| format!("{name} {figure:.1} beside {own:.1}"))
        .collect();
    (!peers.is_empty()).then(|| format!("{title}, {}: {}", string(row, "/row"), peers.join(", ")))
}

struct Goal {
    what: String,
    reached: f64,
    wanted: f64,
    is_limit: bool,
    is_met: bool,
    /// How far something gets that is no contender, and what is left out there.
    possible: Option<(String, f64)>,
}

impl Goal {
    fn missed(self) -> Option<String> {
        (!self.is_met).then(|| format!("{}: {:.2} ({:.1})", self.what, self.reached, self.wanted))
    }
}

fn goals(json: &Value) -> Vec<Goal> {
    let number = |goal: &Value, path: &str| goal.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let truth = |goal: &Value, path: &str| goal.pointer(path).and_then(Value::as_bool).unwrap_or(false);
    let goal = |goal: &Value| Goal {
        what: string(goal, "/what"),
        reached: number(goal, "/reached"),
        wanted: number(goal, "/wanted"),
        is_limit: truth(goal, "/at_most"),
        is_met: truth(goal, "/met"),
        possible: goal.pointer("/possible").and_then(figure),
    };
    list(json, "/goals").iter().map(goal).collect()
}

fn figures(row: &Value) -> Vec<(String, f64)> {
    list(row, "/figures").iter().filter_map(figure).collect()
}

fn figure(pair: &Value) -> Option<(String, f64)> {
    Some((pair.pointer("/0")?.as_str()?.to_owned(), pair.pointer("/1")?.as_f64()?))
}

fn list<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn string(value: &Value, path: &str) -> String {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn failure(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{BEGIN, END, Part, replaced, tables};

    #[test]
    fn tables_name_the_best_and_where_a_peer_is() {
        let row = |name: &str, ours: f64, peer: f64| json!({ "row": name, "figures": [["ours", ours], ["peer", peer], ["(floor)", 500.0]] });
        let json = json!({
            "goals": [{ "what": "beside the peer", "reached": 1.5, "wanted": 2.0, "at_most": false, "met": false, "possible": ["alone", 1.75] }],
            "tables": [{ "title": "records a second", "rows": [row("8 B", 120.0, 80.0), row("64 B", 50.0, 60.0)] }],
            "skipped": [],
        });
        let expected = "| goal | reached | wanted | |\n|---|---|---|---|\n| beside the peer | 1.50× | 2.00× | **missed** alone 1.75× |\n\n\
            records a second:\n\n| | ours | peer | (floor) |\n|---|---|---|---|\n| 8 B | **120** | 80.0 | 500 |\n| 64 B | 50.0 | **60.0** | 500 |\n\n\
            Where a peer is better: records a second, 64 B: peer 60.0 beside 50.0.\n\n";
        assert_eq!(tables(&Part { name: "ring", json, machine: String::new() }), expected);
    }

    #[test]
    fn prices_that_grow_are_no_contenders() {
        let json = json!({
            "tables": [{ "title": "nanoseconds each", "rows": [{ "row": "running", "figures": [["1", 18.0], ["1000", 0.9]] }] }],
        });
        let text = tables(&Part { name: "vm", json, machine: String::new() });
        assert!(text.contains("| running | 18.0 | 0.9 |"), "{text}");
    }

    #[test]
    fn only_what_stands_between_the_marks_is_replaced_and_only_what_was_measured() {
        let part = |name| Part { name, json: json!({ "tables": [] }), machine: format!("on that, {name}") };
        let readme =
            format!("before\n{BEGIN}\n\nstale\n\n### ring\n\nkept\n\n### wfp\n\ngone\n\n{END}\nafter\n");
        let written = replaced(&readme, &[part("wfp"), part("perf")]).unwrap();
        assert!(written.starts_with("before\n") && written.ends_with(&format!("{END}\nafter\n")));
        let order = ["### ring\n\nkept\n", "### perf\n\non that, perf\n", "### wfp\n\non that, wfp\n"]
            .map(|text| written.find(text).unwrap());
        assert!(order.is_sorted(), "{written}");
        assert!(!written.contains("stale") && !written.contains("gone"));
        assert_eq!(replaced(&written, &[]).as_deref(), Some(&*written), "what is kept stays as it is");
        assert_eq!(replaced("nothing", &[]), None);
    }
}
