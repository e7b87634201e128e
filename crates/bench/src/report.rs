//! Figures, and goals they have to reach.

use crate::measure::Series;

/// What a run found.
#[derive(Default)]
pub(crate) struct Report {
    goals: Vec<Goal>,
    tables: Vec<Table>,
    skipped: Vec<String>,
    lines: Vec<(String, Series)>,
}

struct Goal {
    what: String,
    reached: f64,
    wanted: f64,
    /// Whether `wanted` may not be exceeded; otherwise it has to be reached.
    is_limit: bool,
    /// What the memory itself would let one reach.
    possible: Option<(&'static str, f64)>,
}

struct Table {
    title: String,
    rows: Vec<(String, Vec<(&'static str, f64)>)>,
}

impl Report {
    /// Begins a table; rows follow.
    pub(crate) fn table(&mut self, title: impl Into<String>) {
        let title = title.into();
        println!("\n{title}");
        self.tables.push(Table { title, rows: Vec::new() });
    }

    /// Prints and keeps one row: millions of records a second for each contender, the fastest one marked.
    pub(crate) fn rates(&mut self, name: &str, series: &[Series]) {
        let rates = series.iter().map(|series| (series.name, series.rate())).collect();
        self.row(name, rates, true);
    }

    /// Prints and keeps what a turn of each contender took.
    pub(crate) fn nanoseconds(&mut self, name: &str, series: &[Series]) {
        let nanoseconds = series.iter().map(|series| (series.name, series.nanoseconds())).collect();
        self.row(name, nanoseconds, false);
    }

    /// Keeps what a cache line took to the other CPU in each turn of a row, for [`lines`](Self::lines).
    pub(crate) fn line(&mut self, row: String, series: Series) {
        self.lines.push((row, series));
    }

    /// Prints and keeps those: where in the machine the two CPUs were, and whether they stayed there.
    pub(crate) fn lines(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        self.table("a cache line from one CPU to the other during these rows, ns");
        for (row, series) in std::mem::take(&mut self.lines) {
            let figures = vec![
                ("one turn of ten below", series.quantile(0.1)),
                ("median", series.nanoseconds()),
                ("one of ten above", series.quantile(0.9)),
            ];
            self.row(&row, figures, false);
        }
    }

    /// Prints and keeps one row of figures.
    pub(crate) fn row(&mut self, name: &str, figures: Vec<(&'static str, f64)>, mark_highest: bool) {
        let highest = figures.iter().fold(f64::MIN, |highest, (_, figure)| highest.max(*figure));
        print!("  {name:<22}");
        for (name, figure) in &figures {
            let mark = if mark_highest && *figure >= highest { "*" } else { " " };
            print!(" {name} {figure:.1}{mark} ");
        }
        println!();
        if let Some(table) = self.tables.last_mut() {
            table.rows.push((name.to_owned(), figures));
        }
    }

    /// A figure that has to reach `wanted`.
    pub(crate) fn goal(&mut self, what: impl Into<String>, reached: f64, wanted: f64) {
        self.goals.push(Goal { what: what.into(), reached, wanted, is_limit: false, possible: None });
    }

    /// A goal, and beside it how far one gets in the same run when something is left out.
    pub(crate) fn goal_below(
        &mut self,
        what: impl Into<String>,
        reached: f64,
        wanted: f64,
        possible: (&'static str, f64),
    ) {
        let possible = Some(possible);
        self.goals.push(Goal { what: what.into(), reached, wanted, is_limit: false, possible });
    }

    /// A figure that must not exceed `most`.
    pub(crate) fn limit(&mut self, what: impl Into<String>, reached: f64, most: f64) {
        self.goals.push(Goal { what: what.into(), reached, wanted: most, is_limit: true, possible: None });
    }

    /// A part that could not run here.
    pub(crate) fn skip(&mut self, why: String) {
        println!("\nskipped: {why}");
        self.skipped.push(why);
    }

    /// Prints every goal with what was reached; gives whether all were.
    pub(crate) fn settle(&self) -> bool {
        println!("\ngoals");
        for goal in &self.goals {
            let verdict = if goal.is_reached() { "reached" } else { "MISSED " };
            let wanted = if goal.is_limit { "at most" } else { "wanted" };
            let possible =
                goal.possible.map_or(String::new(), |(how, possible)| format!(", {how} {possible:.2}x"));
            println!(
                "  {verdict}  {:<64} {:>6.2}x  ({wanted} {:.1}x{possible})",
                goal.what, goal.reached, goal.wanted
            );
        }
        let missed = self.goals.iter().filter(|goal| !goal.is_reached()).count();
        println!("{} goals, {missed} missed", self.goals.len());
        missed == 0
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        use serde_json::{Value, json};
        let goal = |goal: &Goal| json!({ "what": goal.what, "reached": goal.reached, "wanted": goal.wanted, "at_most": goal.is_limit, "met": goal.is_reached(), "possible": goal.possible });
        let row = |(name, figures): &(String, Vec<(&'static str, f64)>)| {
            // A list, because the order says which ones go together.
            let figures = figures.iter().map(|(name, figure)| json!([name, figure]));
            json!({ "row": name, "figures": figures.collect::<Vec<Value>>() })
        };
        let table = |table: &Table| json!({ "title": table.title, "rows": table.rows.iter().map(row).collect::<Vec<_>>() });
        json!({
            "goals": self.goals.iter().map(goal).collect::<Vec<_>>(),
            "tables": self.tables.iter().map(table).collect::<Vec<_>>(),
            "skipped": self.skipped,
        })
    }
}

impl Goal {
    fn is_reached(&self) -> bool {
        if self.is_limit { self.reached <= self.wanted } else { self.reached >= self.wanted }
    }
}
