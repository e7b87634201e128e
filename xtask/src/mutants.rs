//! Does every memory ordering, and every step of a protocol, earn its place? Each is weakened or left out in turn, and some model has to turn red.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::step::{Failure, Outcome, Step, needs, root};
use crate::test;

/// `cargo xtask mutants [PACKAGE]`.
pub(crate) fn run(package: Option<&str>) -> Result<Outcome, Failure> {
    needs("mutants", "cargo only, and some minutes");
    let mut killed: usize = 0;
    let mut survivors = Vec::new();
    for modelled in test::modelled(package)? {
        let suite = Suite::build(modelled)?;
        for site in sites(modelled)? {
            match suite.first_red(&site) {
                Some(model) => {
                    killed = killed.saturating_add(1);
                    println!("killed    {site:<20} by {model}");
                }
                None => {
                    println!("SURVIVED  {site}");
                    survivors.push(site);
                }
            }
        }
    }
    if survivors.is_empty() && killed > 0 {
        Ok(Outcome::Shown(format!(
            "each of {killed} orderings, fences and steps, weakened or left out alone, turns a model red"
        )))
    } else {
        Err(Failure(format!(
            "{killed} killed; survived: {}: write the model that needs them",
            survivors.join(", ")
        )))
    }
}

/// A package whose models can be run with one ordering weakened.
pub(crate) struct Modelled {
    pub(crate) package: &'static str,
    /// The environment variable that names the site to weaken.
    pub(crate) variable: &'static str,
    /// The file with the package's table of orderings, or of steps that can be left out.
    pub(crate) sites: &'static str,
    /// Which target of the package holds the models that mutants are run against.
    pub(crate) target: &'static [&'static str],
    /// Other targets with models.
    pub(crate) others: &'static [&'static str],
}

/// The models of a package, compiled once, the quickest first.
struct Suite<'a> {
    modelled: &'a Modelled,
    binary: String,
    models: Vec<String>,
}

impl<'a> Suite<'a> {
    fn build(modelled: &'a Modelled) -> Result<Self, Failure> {
        let binary = test::model_binary(modelled)?;
        let listed = Step::new(&binary, &["--list", "models::"]).output()?;
        let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
        let mut suite = Self { modelled, binary, models: Vec::new() };
        let mut timed: Vec<(Duration, String)> = Vec::new();
        for name in names {
            let start = Instant::now();
            // Also what every mutant is compared with: unweakened, all hold.
            if suite.turns_red(name, "") {
                return Err(Failure(format!("{name} fails without any ordering weakened")));
            }
            timed.push((start.elapsed(), name.to_owned()));
        }
        timed.sort();
        suite.models = timed.into_iter().map(|(_, name)| name).collect();
        println!("{}: {} models hold unweakened", modelled.package, suite.models.len());
        Ok(suite)
    }

    /// The quickest model that notices.
    fn first_red(&self, site: &str) -> Option<&str> {
        self.models.iter().map(String::as_str).find(|model| self.turns_red(model, site))
    }

    /// A model that aborts has turned red too: loom cannot unwind from a deadlock.
    fn turns_red(&self, model: &str, site: &str) -> bool {
        let status = Command::new(&self.binary)
            .args(["--exact", model])
            .env(self.modelled.variable, site)
            .current_dir(root())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        !status.is_ok_and(|status| status.success())
    }
}

/// The sites whose ordering is more than relaxed, or the steps (`NAME = "where"`), read from the table. An ordering with two
/// halves is two: each half alone has to be missed.
fn sites(modelled: &Modelled) -> Result<Vec<String>, Failure> {
    let path = root().join(modelled.sites);
    let table = fs::read_to_string(&path).map_err(|error| Failure(format!("{}: {error}", path.display())))?;
    let sites: Vec<String> = table
        .lines()
        .filter_map(|line| line.trim().strip_suffix(';')?.split_once(" = "))
        .filter(|(name, ordering)| {
            let is_name = name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            let is_step = ordering.starts_with('"');
            is_name && (is_step || ["Acquire", "Release", "AcqRel", "SeqCst"].contains(ordering))
        })
        .flat_map(|(name, ordering)| match ordering {
            "AcqRel" => vec![format!("{name}-acquire"), format!("{name}-release")],
            _ => vec![name.to_owned()],
        })
        .collect();
    if sites.is_empty() { Err(Failure(format!("{}: no orderings found", path.display()))) } else { Ok(sites) }
}
