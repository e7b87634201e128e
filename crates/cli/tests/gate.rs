//! `ebpf-blocks gate`, driven from outside: verdicts, exit statuses, what is said about files that are none.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod tool;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tool::ran;

fn gate(arguments: &[&str]) -> (i32, Value) {
    let ran = ran(&[&["gate"], arguments, &["--json"]].concat());
    let verdict =
        ran.of_kind("verdict").pop().unwrap_or_else(|| panic!("a verdict: {} {}", ran.stdout, ran.stderr));
    (ran.status, verdict)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

/// A history of runs around `level`, some of which differ by 2 %.
fn history(directory: &Path, name: &str, values: impl Iterator<Item = f64>) -> PathBuf {
    let mut lines = "time,value\n".to_owned();
    for (day, value) in values.enumerate() {
        writeln!(lines, "2026-{:02}-{:02},{value}", day / 28 + 1, day % 28 + 1).expect("memory");
    }
    let path = directory.join(name);
    std::fs::write(&path, lines).expect("a temporary file");
    path
}

fn noise(index: usize) -> f64 {
    (index * 7919 % 100) as f64 / 5000.0 + 0.99
}

#[test]
fn a_history_is_judged_by_its_newest_runs() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let quiet = (0..60).map(|index| 125.0 * noise(index));
    let same = history(directory.path(), "same.csv", quiet.clone());
    let (status, verdict) = gate(&["history", text(&same)]);
    assert_eq!((status, &verdict["verdict"]), (0, &"pass".into()), "{verdict}");
    assert_eq!((verdict["window"].as_u64(), verdict["runs"].as_u64()), (Some(32), Some(60)));
    assert_eq!(
        (&verdict["window_from"], &verdict["window_to"]),
        (&"2026-01-25".into(), &"2026-02-28".into())
    );

    let slower =
        quiet.clone().enumerate().map(|(index, value)| if index >= 56 { value * 1.05 } else { value });
    let slower = history(directory.path(), "slower.csv", slower);
    let picture = directory.path().join("slower.svg");
    let (status, verdict) = gate(&["history", text(&slower), "--plot", text(&picture)]);
    assert_eq!(
        (status, &verdict["verdict"], &verdict["beyond"]),
        (1, &"regressed".into(), &4.into()),
        "{verdict}"
    );
    let picture = std::fs::read_to_string(picture).expect("a picture");
    for part in ["regressed beyond", "pass within", "window", "regressed: slower by more than", "<circle"] {
        assert!(picture.contains(part), "{part} is in the picture");
    }
    // As rates that is an improvement, and a change that was taken is none any more.
    assert_eq!(gate(&["history", text(&slower), "--higher-is-better"]).0, 0);
    assert_eq!(
        gate(&["history", text(&slower), "--accept", "2026-03-01"]).1["reason"],
        "unfit: too few runs"
    );

    // One disturbed run decides nothing, whatever it is, also next to a real one.
    for odd in [0.0, 1e30] {
        let disturbed = quiet.clone().enumerate().map(|(index, value)| if index == 58 { odd } else { value });
        let disturbed = history(directory.path(), "disturbed.csv", disturbed);
        assert_eq!(gate(&["history", text(&disturbed)]).0, 0);
    }
    // Where runs differ by half, nothing is said.
    let noisy = (0..60).map(|index| 100.0 + (index * 7919 % 100) as f64);
    let noisy = history(directory.path(), "noisy.csv", noisy);
    assert_eq!(gate(&["history", text(&noisy)]).0, 3);
    let few = history(directory.path(), "few.csv", quiet.clone().take(1));
    let (status, verdict) = gate(&["history", text(&few)]);
    assert_eq!((status, &verdict["reason"]), (4, &"unfit: too few runs".into()));
    let zeros = history(directory.path(), "zeros.csv", std::iter::repeat_n(0.0, 60));
    assert_eq!(gate(&["history", text(&zeros)]).1["reason"], "unfit: no values");
    let largest = history(directory.path(), "largest.csv", std::iter::repeat_n(f64::MAX, 60));
    assert_eq!(gate(&["history", text(&largest)]).0, 0);
}

#[test]
fn files_that_are_none_are_refused_with_the_line() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("junk.csv");
    for (content, expected) in [
        (&b""[..], "no values"),
        (b"time,value\n1,2\n2,NaN\n", "line 3: NaN is no figure"),
        (b"1,2\n2,-1\n", "line 2: -1 is negative"),
        (b"1,2\n2\n", "line 2: no comma"),
        (b"1,2\n0,1\n", "line 2: `0` after `1`"),
        (b"1,2\n2,\xff\xfe\n", "line 2: `"),
    ] {
        std::fs::write(&path, content).expect("a temporary file");
        let ran = ran(&["gate", "history", text(&path)]);
        assert_eq!(ran.status, 2);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1);
    }
    for (content, expected) in [("{", "EOF"), ("[1,-1]", "value 1: -1 is negative"), ("[]", "no values")] {
        std::fs::write(&path, content).expect("a temporary file");
        let ran = ran(&["gate", "compare", text(&path), text(&path)]);
        assert!(ran.status == 2 && ran.stderr.contains(expected), "{}", ran.stderr);
    }
    assert_eq!(ran(&["gate", "history", "/nowhere.csv"]).status, 2);
    assert_eq!(ran(&["gate", "history", text(&path), "--tolerated", "20"]).status, 2);
    assert_eq!(ran(&["gate", "run", "--baseline", "a 'b", "--candidate", "c"]).status, 2);
    assert_eq!(ran(&["gate", "run", "--baseline", "/nowhere", "--candidate", "true"]).status, 2);
}

#[test]
fn stored_series_are_judged_only_if_they_were_measured_in_turns() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let series = |name: &str, factor: f64, interleaved: &str| {
        let values: Vec<f64> = (0..100).map(|index| 1e6 * noise(index) * factor).collect();
        let path = directory.path().join(name);
        std::fs::write(&path, format!("{{\"unit\":\"ns\",{interleaved}\"values\":{values:?}}}"))
            .expect("a file");
        path
    };
    let turns = "\"interleaved\":5,";
    let (base, same, slower) =
        (series("base", 1.0, turns), series("same", 1.001, turns), series("slower", 1.04, turns));
    let compare = |a: &Path, b: &Path, more: &[&str]| gate(&[&["compare", text(a), text(b)], more].concat());
    let (status, verdict) = compare(&base, &same, &[]);
    assert_eq!((status, &verdict["seed"]), (0, &5.into()), "{verdict}");
    assert!(
        verdict["slower_by_at_most_ppm"].as_i64() < Some(10_000),
        "the bound is tighter than the margin: {verdict}"
    );
    let (status, verdict) = compare(&base, &slower, &[]);
    assert_eq!((status, verdict["pairs"].as_u64()), (1, Some(16)));
    assert!(verdict["slower_by_at_least_ppm"].as_i64() >= Some(30_000), "{verdict}");
    assert_eq!(compare(&base, &slower, &["--higher-is-better"]).0, 0);
    // One after the other: nothing can be said, unless one says how they were measured.
    let (a, b) = (series("a", 1.0, ""), series("b", 1.04, ""));
    let (status, verdict) = compare(&a, &b, &[]);
    assert_eq!(status, 4);
    assert!(verdict["detail"].as_str().is_some_and(|detail| detail.contains("--paired")), "{verdict}");
    assert_eq!(compare(&a, &b, &["--paired"]).0, 1);
    assert_eq!(compare(&base, &series("c", 1.0, "\"interleaved\":6,"), &[]).0, 4, "of another run");
}

#[cfg(unix)]
mod processes {
    use super::*;

    /// A worker that answers with times of its own making: no clock, no noise of this machine.
    fn worker(directory: &Path, name: &str, program: &str) -> String {
        let path = directory.join(name);
        std::fs::write(&path, format!("n=0; while read line; do n=$((n+1)); {program}; done\n"))
            .expect("a script");
        format!("sh {}", path.display())
    }

    #[test]
    fn workers_are_asked_in_turn_and_restarted() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let base = worker(directory.path(), "base", "echo $((1000000 + n * 1000))");
        let slower = worker(directory.path(), "slower", "echo $((1050000 + n * 1000))");
        let run = |a: &str, b: &str, more: &[&str]| {
            gate(&[&["run", "--turns", "--no-pin", "--baseline", a, "--candidate", b], more].concat())
        };
        let picture = directory.path().join("pairs.svg");
        let prefix = directory.path().join("saved");
        let (status, verdict) = run(&base, &slower, &["--plot", text(&picture), "--save", text(&prefix)]);
        assert_eq!(
            (status, verdict["pairs"].as_u64(), verdict["slower"].as_u64()),
            (1, Some(16), Some(16)),
            "{verdict}"
        );
        let picture = std::fs::read_to_string(picture).expect("a picture");
        for part in ["tolerated 1 %", "forbidden 3 %", "wins over half", "regressed"] {
            assert!(picture.contains(part), "{part} is in the picture");
        }
        // What was stored says the same again.
        let stored = |side: &str| format!("{}.{side}.json", prefix.display());
        let (_, again) = gate(&["compare", &stored("baseline"), &stored("candidate")]);
        for key in ["verdict", "seed", "pairs", "slower", "within", "slower_by_at_least_ppm", "median_ppm"] {
            assert_eq!(again[key], verdict[key], "{key}");
        }
        assert_eq!(run(&base, &base, &[]).0, 0);
        // Launches that differ by 40 % from each other: the same code is not the same.
        let moody = worker(directory.path(), "moody", "echo $((1000000 + $$ % 7 * 70000))");
        let (status, verdict) = run(&moody, &moody, &[]);
        assert!(matches!(status, 3 | 4), "too noisy, or not independent: {verdict}");
        let (status, verdict) = run(&base, &worker(directory.path(), "junk", "echo soon"), &[]);
        assert_eq!((status, &verdict["reason"]), (4, &"unfit: one side failed".into()));
        let gone = worker(directory.path(), "gone", "exit 3");
        assert!(
            run(&base, &gone, &[]).1["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains("exit status: 3"))
        );
    }

    #[test]
    fn commands_are_run_in_turn_and_their_failure_is_no_verdict() {
        let (status, verdict) = gate(&["run", "--baseline", "false", "--candidate", "true"]);
        assert_eq!((status, &verdict["reason"]), (4, &"unfit: one side failed".into()), "{verdict}");
        // Twice as long is found in however much noise there is.
        let (status, verdict) = gate(&[
            "run",
            "--no-preflight",
            "--forbidden",
            "50",
            "--baseline",
            "sleep 0.005",
            "--candidate",
            "sleep 0.03",
        ]);
        assert_eq!(status, 1, "{verdict}");
        assert!(
            verdict["detail"].as_str().is_some_and(|detail| detail.contains("left the CPU")),
            "{verdict}"
        );
    }

    #[test]
    fn the_load_path_is_measured_where_it_is_allowed() {
        let ran = ran(&["gate", "load", "--json", "--max-pairs", "32"]);
        let verdicts = ran.of_kind("verdict");
        assert_eq!(verdicts[0]["subject"], "load on the embedded machine", "{} {}", ran.stdout, ran.stderr);
        assert_eq!(
            verdicts.len() + ran.of_kind("skipped").len(),
            if cfg!(target_os = "linux") { 2 } else { 1 }
        );
        if cfg!(target_os = "linux") && verdicts[0]["verdict"] != "unfit" {
            let detail = verdicts[0]["detail"].as_str().expect("text");
            assert!(detail.contains("left the CPU 0 times by itself"), "nothing to wait for: {detail}");
        }
        assert_eq!(super::ran(&["gate", "load", "/nowhere.o"]).status, 2);
    }

    #[test]
    fn the_machine_is_described() {
        let ran = ran(&["gate", "self-test", "--json"]);
        let environment = &ran.of_kind("environment")[0];
        assert_eq!(ran.status, if environment["fit"] == true { 0 } else { 4 });
        assert_eq!(environment["clock_backward"], 0);
        assert!(environment["clock_resolution_ns"].as_u64().is_some_and(|ns| ns > 0 && ns < 1_000_000));
        assert!(environment["cpus"].as_u64() > Some(0));
    }
}
