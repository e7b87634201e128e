//! The table of scenarios names tests that exist.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test: what goes wrong here is to stop it")]

use std::fs;
use std::path::Path;

#[test]
fn every_test_in_the_table_exists() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(here.join("src/scenarios.rs")).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("//! | ") && line.contains(".rs`: `"));
    let mut count = 0;
    for row in rows {
        let ours = row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap();
        let (file, test) = ours.split_once(": ").unwrap_or_else(|| panic!("{row}"));
        let (file, test) = (file.trim_matches('`'), test.trim_matches('`'));
        let path = if file.starts_with("crates/") {
            here.join("../..").join(file)
        } else {
            here.join("tests").join(file)
        };
        let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let declared = format!("fn {test}(");
        let before = source.split_once(&declared).unwrap_or_else(|| panic!("{file} has no test {test}")).0;
        assert!(before.trim_end().ends_with("#[test]"), "{file}: {test} is no test");
        count += 1;
    }
    assert!(count >= 40, "only {count} rows were understood");
}
