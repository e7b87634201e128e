//! What the README shows is what the tool prints.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod tool;

use std::path::Path;

/// A line that stands for any number of lines left out.
const ELLIPSIS: &str = "…";

#[test]
fn the_readme_shows_real_output() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("the README");
    let mut shown = 0;
    for block in readme.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        let mut lines = block.lines();
        let command = lines.next().unwrap_or_default();
        let Some(arguments) = command.strip_prefix("$ cargo run --release -- ") else { continue };
        let output =
            tool::tool().args(arguments.split(' ')).current_dir(&root).output().expect("the tool starts");
        let output = String::from_utf8(output.stdout).expect("the output is UTF-8");
        let shows: Vec<&str> = lines.collect();
        compare(&shows, &output.lines().collect::<Vec<_>>())
            .unwrap_or_else(|line| panic!("`{command}`: not in the output: {line}"));
        shown += 1;
    }
    assert!(shown > 0, "the README shows the tool at work");
}

/// Goes through both side by side; after an ellipsis the shown lines are looked for further on.
fn compare<'s>(shown: &[&'s str], mut output: &[&str]) -> Result<(), &'s str> {
    let mut skipping = false;
    for line in shown {
        if *line == ELLIPSIS {
            skipping = true;
            continue;
        }
        let at = output.iter().position(|candidate| candidate == line).ok_or(*line)?;
        if at > 0 && !skipping {
            return Err(line);
        }
        output = output.get(at.saturating_add(1)..).unwrap_or_default();
        skipping = false;
    }
    if output.is_empty() || skipping { Ok(()) } else { Err("(more lines than the README shows)") }
}
