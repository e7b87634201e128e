//! Instructions per step, which are the same from run to run: what a gate can rest on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Steps of the two runs whose difference counts.
const FEW: u32 = 200;
const MANY: u32 = 1200;

/// A figure this much above the table's is a failure.
const TOLERANCE: f64 = 0.02;

/// Counts every step and compares with the table, or writes it. Gives whether nothing takes more than the table allows.
pub(crate) fn run(write: bool) -> Result<bool, String> {
    let counted = count()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt");
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    if write {
        std::fs::write(&path, table(&counted)).map_err(failed)?;
        print!("{}", table(&counted));
        return Ok(true);
    }
    let known = parse(&std::fs::read_to_string(&path).map_err(failed)?);
    println!("{:<34} {:>9} {:>9}", "instructions per step", "counted", "table");
    let mut holds = true;
    for (name, figure) in &counted {
        let Some(limit) = known.get(name) else {
            println!("{name:<34} {figure:>9.1}         -  not in the table");
            holds = false;
            continue;
        };
        let verdict = match figure / limit - 1.0 {
            change if change > TOLERANCE => {
                holds = false;
                format!("{:+.1} %  TOO MANY", change * 100.0)
            }
            change if change < -TOLERANCE => {
                format!("{:+.1} %  better: take it into the table", change * 100.0)
            }
            _ => String::new(),
        };
        println!("{name:<34} {figure:>9.1} {limit:>9.1}  {verdict}");
    }
    for name in known.keys().filter(|name| !counted.contains_key(*name)) {
        println!("{name:<34}         -            in the table, not among the steps");
        holds = false;
    }
    Ok(holds)
}

fn count() -> Result<BTreeMap<String, f64>, String> {
    let steps = steps()?;
    let listed = Command::new(&steps).output().map_err(|error| format!("{}: {error}", steps.display()))?;
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    names
        .lines()
        .map(|name| {
            // As many characters for every count.
            let counted = |count: u32| run_counted(&steps, &[name, &format!("{count:04}")]);
            let difference = counted(MANY)? - counted(FEW)?;
            Ok((name.to_owned(), difference as f64 / f64::from(MANY - FEW)))
        })
        .collect()
}

/// The binary with the steps, beside this one.
fn steps() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    Ok(own.with_file_name("steps"))
}

/// Instructions that a run of `binary` takes.
pub(crate) fn run_counted(binary: &Path, arguments: &[&str]) -> Result<i64, String> {
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(binary)
        .args(arguments)
        .env_clear()
        .output()
        .map_err(|error| format!("valgrind: {error} (apt-get install valgrind)"))?;
    let log = String::from_utf8_lossy(&output.stderr);
    let counted =
        log.lines().find_map(|line| line.split_once("refs:")).map(|(_, figure)| figure.replace(',', ""));
    match counted.and_then(|figure| figure.trim().parse().ok()) {
        Some(figure) if output.status.success() => Ok(figure),
        _ => Err(format!("valgrind on {}: {log}", arguments.join(" "))),
    }
}

fn table(counted: &BTreeMap<String, f64>) -> String {
    let mut table = String::from(
        "# Instructions per step, by valgrind, x86-64, cargo's default profile. `cargo xtask bench instructions --write` makes this file.\n",
    );
    for (name, figure) in counted {
        table.push_str(&format!("{name:<34} {figure:.1}\n"));
    }
    table
}

fn parse(table: &str) -> BTreeMap<String, f64> {
    table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, figure)| Some((name.to_owned(), figure.trim().parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_is_written() {
        let counted = BTreeMap::from([("a/b".to_owned(), 12.5), ("c".to_owned(), 3.0)]);
        assert_eq!(parse(&table(&counted)), counted);
    }
}
