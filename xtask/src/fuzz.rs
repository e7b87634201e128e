//! Fuzzing, one target after the other.

use std::fs;
use std::path::Path;

use crate::step::{Failure, Outcome, Step, exists, needs, root};

/// `cargo xtask fuzz [TARGET] --seconds N`.
pub(crate) fn run(target: Option<&str>, seconds: u32) -> Result<Outcome, Failure> {
    needs("fuzz", "a nightly toolchain and cargo-fuzz");
    if !exists("cargo", &["+nightly", "fuzz", "--version"]) {
        return Ok(Outcome::Skipped(
            "no nightly toolchain with cargo-fuzz: rustup toolchain install nightly && cargo install cargo-fuzz".to_owned(),
        ));
    }
    let chosen = targets(target)?;
    // All at once, so that the times below are those of running.
    Step::cargo(&["+nightly", "fuzz", "build"]).arguments(&target.into_iter().collect::<Vec<_>>()).run()?;
    let mut runs = Vec::new();
    for name in &chosen {
        runs.push(fuzz(name, seconds)?);
    }
    println!(
        "\n{:<17} {:>5} {:>11} {:>8} {:>22} {:>9} {:>7}",
        "target", "seeds", "executions", "a second", "edges reached", "features", "corpus"
    );
    for (name, run) in chosen.iter().zip(&runs) {
        let edges = format!("{} of {} ({} %)", run.edges, run.all_edges, run.percent());
        println!(
            "{name:<17} {:>5} {:>11} {:>8} {edges:>22} {:>9} {:>7}",
            run.seeds, run.executions, run.rate, run.features, run.corpus
        );
    }
    println!("edges are those of the crates and of the target itself; the standard library is not counted");
    let what = match seconds {
        0 => "every committed seed runs without a crash".to_owned(),
        seconds => format!("no crash in {seconds} s of fuzzing each, nor in any committed seed"),
    };
    Ok(Outcome::Shown(format!("{what}: {}", chosen.join(", "))))
}

/// `cargo xtask fuzz TARGET --keep FILE NAME`: what was found becomes a seed, which every later run begins with.
pub(crate) fn keep(target: &str, file: &str, name: &str) -> Result<Outcome, Failure> {
    targets(Some(target))?;
    let is_name = name.contains('.') && !name.starts_with('.') && !name.contains('/');
    if !is_name {
        return Err(Failure(format!(
            "`{name}` names no seed: say in a word what it is, and end it like the others of the target (what has no extension is not committed)"
        )));
    }
    let seeds = root().join("fuzz/corpus").join(target);
    let seed = seeds.join(name);
    if seed.exists() {
        return Err(Failure(format!("{} is there already", seed.display())));
    }
    fs::create_dir_all(&seeds).map_err(|error| failure(&seeds, &error))?;
    fs::copy(file, &seed).map_err(|error| failure(Path::new(file), &error))?;
    Ok(Outcome::Shown(format!(
        "{} begins every run of `{target}` from here on; see it fail with `cargo xtask fuzz {target} --seconds 0`, then write a unit test, then the fix",
        seed.display()
    )))
}

/// What libFuzzer says of a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Run {
    seeds: usize,
    executions: u64,
    rate: u64,
    edges: u64,
    all_edges: u64,
    features: u64,
    corpus: u64,
    /// The file it has kept the crashing input in.
    artifact: Option<String>,
}

impl Run {
    /// Takes from a line what there is in it.
    fn line(&mut self, line: &str) {
        // `#4711	DONE   cov: 224 ft: 1078 corp: 157/14Kb lim: 1616 exec/s: 14146 rss: 584Mb`
        let figure = |name: &str| number(line.split_once(name)?.1.trim_start());
        let mut set = |field: fn(&mut Self) -> &mut u64, found: Option<u64>| {
            if let Some(found) = found {
                *field(self) = found;
            }
        };
        if line.starts_with('#') {
            set(|run| &mut run.edges, figure(" cov:"));
            set(|run| &mut run.features, figure(" ft:"));
            set(|run| &mut run.corpus, figure(" corp:"));
        }
        set(|run| &mut run.executions, figure("stat::number_of_executed_units:"));
        set(|run| &mut run.rate, figure("stat::average_exec_per_sec:"));
        if let Some((_, counters)) = line.split_once("INFO: Loaded 1 modules   (") {
            set(|run| &mut run.all_edges, number(counters));
        }
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            let path = Path::new(path.trim());
            self.artifact = Some(path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned());
        }
    }

    fn percent(&self) -> u64 {
        self.edges.saturating_mul(100).checked_div(self.all_edges).unwrap_or(0)
    }
}

fn fuzz(name: &str, seconds: u32) -> Result<Run, Failure> {
    // What a run finds goes into the first directory; the committed seeds are only read.
    let found = root().join("target/fuzz").join(name);
    let seeds = root().join("fuzz/corpus").join(name);
    fs::create_dir_all(&found).map_err(|error| failure(&found, &error))?;
    let count = fs::read_dir(&seeds).map_err(|error| failure(&seeds, &error))?.count();
    if count == 0 {
        return Err(Failure(format!("{}: a target begins with seeds", seeds.display())));
    }
    // The limit of 0 is none.
    let limit = if seconds == 0 { "-runs=0".to_owned() } else { format!("-max_total_time={seconds}") };
    let (found, seeds) = (found.to_string_lossy(), seeds.to_string_lossy());
    let arguments: &[&str] =
        if seconds == 0 { &[&*seeds, "--", &*limit] } else { &[&*found, &*seeds, "--", &*limit] };
    let mut run = Run { seeds: count, ..Run::default() };
    let mut last = Vec::new();
    let went_well = Step::cargo(&["+nightly", "fuzz", "run", name])
        .arguments(arguments)
        .arguments(&["-print_final_stats=1"])
        .watch(|line| {
            run.line(line);
            last.push(line.to_owned());
        })?;
    if went_well {
        // A target that runs nothing finds nothing.
        return if run.executions > 0 && run.edges > 0 {
            Ok(run)
        } else {
            Err(Failure(format!("{name}: nothing was run: {run:?}")))
        };
    }
    let from = last.iter().position(|line| line.contains("panicked at") || line.contains("ERROR:"));
    // What was said, and not the frames under it.
    let is_frame = |line: &str| {
        let line = line.trim_start();
        line.starts_with("at /") || line.starts_with(|first: char| first == '#' || first.is_ascii_digit())
    };
    let said = last.iter().skip(from.unwrap_or(0)).filter(|line| !is_frame(line));
    said.take(40).for_each(|line| println!("{line}"));
    let kept = run.artifact.unwrap_or_else(|| "one of fuzz/artifacts".to_owned());
    Err(Failure(format!(
        "{name}: a crash, kept in {kept}\n       what to do: `cargo +nightly fuzz tmin {name} {kept}` makes it smaller; `cargo xtask fuzz {name} --keep FILE NAME` makes it a seed \
         that every run begins with; then a unit test, then the fix"
    )))
}

/// All targets, or the one named.
fn targets(target: Option<&str>) -> Result<Vec<String>, Failure> {
    let listed = Step::cargo(&["+nightly", "fuzz", "list"]).or("is fuzz/Cargo.toml there?").output()?;
    let known: Vec<&str> = listed.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let is_chosen = |name: &&str| target.is_none_or(|target| target == *name);
    let chosen: Vec<String> = known.iter().copied().filter(is_chosen).map(str::to_owned).collect();
    if chosen.is_empty() {
        let target = target.unwrap_or("any");
        return Err(Failure(format!("no fuzz target `{target}`; there are: {}", known.join(", "))));
    }
    Ok(chosen)
}

/// The number that a text begins with.
fn number(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..digits)?.parse().ok()
}

fn failure(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::Run;

    #[test]
    fn what_the_fuzzer_says_is_understood() {
        let mut run = Run::default();
        for line in [
            "INFO: Loaded 1 modules   (913 inline 8-bit counters): 913 [0x55, 0x56), ",
            "#54\tINITED cov: 148 ft: 285 corp: 33/2501b exec/s: 0 rss: 37Mb",
            "#297081\tDONE   cov: 224 ft: 1078 corp: 157/14Kb lim: 1616 exec/s: 14146 rss: 584Mb",
            "stat::number_of_executed_units: 297081",
            "stat::average_exec_per_sec:     14146",
            "artifact_prefix='./'; Test unit written to ./crash-b8",
        ] {
            run.line(line);
        }
        let artifact = Some("./crash-b8".to_owned());
        let expected = Run {
            executions: 297_081,
            rate: 14_146,
            edges: 224,
            all_edges: 913,
            features: 1078,
            corpus: 157,
            artifact,
            seeds: 0,
        };
        assert_eq!((run.percent(), run), (24, expected));
    }
}
