//! The project's own benchmarks, judged by its own gate: this working tree against a commit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{Failure, Outcome, Step, exists, needs, root, target};

/// What the benchmarks are: these files of the working tree, built with the crates of either side.
const BENCHMARKS: [&str; 2] = ["crates/bench/src/bin/turns.rs", "crates/bench/src/idle.rs"];
const OBJECT: &str = "crates/cli/programs/maps.bpf.o";

/// Two builds lie differently in memory, which alone makes a percent or two; less is tolerated than would pass unseen.
const MARGINS: [&str; 4] = ["--tolerated", "3", "--forbidden", "10"];

/// `cargo xtask gate [BASELINE] [--only NAME]`.
pub(crate) fn run(baseline: &str, only: Option<&str>) -> Result<Outcome, Failure> {
    needs("gate", "git, with the baseline's commit; builds the benchmarks twice");
    if !exists("git", &["rev-parse", "--verify", "--quiet", &format!("{baseline}^{{commit}}")]) {
        return Ok(Outcome::Skipped(format!("no commit `{baseline}` here (a shallow clone?)")));
    }
    let place = target().join("gate");
    let tree = Worktree::new(place.join("tree"), baseline)?;
    for file in BENCHMARKS {
        let to = tree.0.join(file);
        fs::copy(root().join(file), &to).map_err(|error| Failure(format!("{}: {error}", to.display())))?;
    }
    let build = |directory: &Path, side: &str| -> Result<PathBuf, Failure> {
        let target = place.join(side);
        Step::cargo(&["build", "--profile", "bench", "-p", "ebpf-bench", "--bin", "turns"])
            .directory(directory)
            .target(&target)
            .or("where the baseline's crates are used otherwise, choose a later baseline")
            .run()?;
        Ok(target.join("release/turns"))
    };
    let sides = [build(&tree.0, "baseline")?, build(&root(), "candidate")?];
    Step::cargo(&["build", "--release", "-p", "ebpf-blocks"]).run()?;
    let tool = target().join("release/ebpf-blocks");

    let names = Step::new(&sides[1].to_string_lossy(), &[]).output()?;
    let names: Vec<&str> = names.lines().filter(|name| only.is_none_or(|only| name.contains(only))).collect();
    if names.is_empty() {
        return Err(Failure(format!("no benchmark is called `{}`", only.unwrap_or_default())));
    }
    let (mut passed, mut regressed, mut unanswered) = (0_usize, Vec::new(), Vec::new());
    for name in names {
        let [baseline, candidate] = sides
            .each_ref()
            .map(|side| format!("'{}' {name} '{}'", side.display(), root().join(OBJECT).display()));
        let picture = place.join(format!("{}.svg", name.replace('/', "-")));
        let status = Command::new(&tool)
            .args([
                "gate",
                "run",
                "--turns",
                "--name",
                name,
                "--baseline",
                &baseline,
                "--candidate",
                &candidate,
            ])
            .args(MARGINS)
            .arg("--plot")
            .arg(&picture)
            .status()
            .map_err(|error| Failure(format!("{}: {error}", tool.display())))?;
        match status.code() {
            Some(0) => passed = passed.saturating_add(1),
            Some(1) => regressed.push(format!("{name} (see {})", picture.display())),
            Some(3 | 4) => unanswered.push(name),
            _ => return Err(Failure(format!("{name}: {status}"))),
        }
    }
    if !regressed.is_empty() {
        return Err(Failure(format!(
            "slower than {baseline} by more than is tolerated: {}",
            regressed.join(", ")
        )));
    }
    let rest = if unanswered.is_empty() {
        String::new()
    } else {
        format!("; nothing can be said of {}: this machine is too busy", unanswered.join(", "))
    };
    Ok(Outcome::Shown(format!("{passed} benchmarks are less than 10 % slower than {baseline}{rest}")))
}

/// A commit's files in a folder of their own, which goes when it is not needed any more.
struct Worktree(PathBuf);

impl Worktree {
    fn new(path: PathBuf, commit: &str) -> Result<Self, Failure> {
        // What a run that was ended left behind.
        drop(Self(path.clone()));
        Step::new("git", &["worktree", "add", "--detach", "--force", &path.to_string_lossy(), commit])
            .output()?;
        Ok(Self(path))
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        let _ = Step::new("git", &["worktree", "remove", "--force", &self.0.to_string_lossy()]).output();
        let _ = fs::remove_dir_all(&self.0);
        let _ = Step::new("git", &["worktree", "prune"]).output();
    }
}
