//! Front pages of the packages: what a registry shows is what the documentation begins with.

use std::fmt::Write as _;
use std::fs;

use crate::packages::{self, Package};
use crate::step::{Failure, Outcome, needs};

/// `cargo xtask readmes`.
pub(crate) fn write() -> Result<Outcome, Failure> {
    needs("readmes", "cargo only");
    let mut written = Vec::new();
    for package in packages::all()? {
        if package.is_published {
            let path = package.directory.join("README.md");
            fs::write(&path, page(&package)?)
                .map_err(|error| Failure(format!("{}: {error}", path.display())))?;
            written.push(package.name);
        }
    }
    Ok(Outcome::Shown(format!("written for {}", written.join(", "))))
}

/// What is wrong with the front page of a package.
pub(crate) fn check(package: &Package) -> Result<Option<String>, Failure> {
    let there = fs::read_to_string(package.directory.join("README.md")).unwrap_or_default();
    let is_same = there == page(package)?;
    Ok((!is_same).then(|| {
        format!(
            "{}: the front page is not what the documentation begins with: cargo xtask readmes",
            package.name
        )
    }))
}

fn page(package: &Package) -> Result<String, Failure> {
    let path = package.directory.join("src/lib.rs");
    let source =
        fs::read_to_string(&path).map_err(|error| Failure(format!("{}: {error}", path.display())))?;
    let mut page = format!("# {}\n\n", package.name);
    page.push_str(&text(&source));
    page.push_str(
        "\n## Licence\n\nMIT or Apache-2.0, as you like. Part of ebpf-blocks: small `no_std` crates, each by itself, for the plumbing of an eBPF \
         runtime.\n",
    );
    Ok(page)
}

/// The documentation at the top of a source file as it reads outside of rustdoc.
fn text(source: &str) -> String {
    let mut text = String::new();
    let mut in_code = false;
    let lines = source.lines().take_while(|line| line.starts_with("//!"));
    for line in lines.filter_map(|line| line.strip_prefix("//!")) {
        let line = line.strip_prefix(' ').unwrap_or(line);
        if let Some(fence) = line.strip_prefix("```") {
            let is_rust = matches!(fence, "" | "no_run" | "ignore" | "should_panic" | "compile_fail");
            let language = if in_code || !is_rust { fence } else { "rust" };
            let _ = writeln!(text, "```{language}");
            in_code = !in_code;
        } else if in_code {
            // Lines that rustdoc compiles and does not show.
            let trimmed = line.trim_start();
            if trimmed != "#" && !trimmed.starts_with("# ") {
                let _ = writeln!(text, "{line}");
            }
        } else if line.starts_with('#') {
            let _ = writeln!(text, "#{line}");
        } else {
            let _ = writeln!(text, "{}", without_links(line));
        }
    }
    text
}

/// Links to items lead nowhere outside of rustdoc; others stay.
fn without_links(line: &str) -> String {
    let mut result = String::new();
    let mut rest = line;
    while let Some((before, link)) = rest.split_once('[') {
        result.push_str(before);
        let Some((label, after)) = link.split_once(']') else {
            result.push('[');
            rest = link;
            continue;
        };
        let target = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        match target {
            Some((address, _)) if address.starts_with("http") => {
                result.push('[');
                rest = link;
            }
            Some((_, behind)) => {
                result.push_str(label);
                rest = behind;
            }
            // [`Item`] in short; brackets around anything else are what they are.
            None if label.starts_with('`') => {
                result.push_str(label);
                rest = after;
            }
            None => {
                result.push('[');
                rest = link;
            }
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn documentation_reads_the_same_outside_of_rustdoc() {
        let source = "//! A [`Ring`], the [memory](crate::memory) and `a[0]`; see [Linux](https://kernel.org).\n//!\n//! # Example\n//!\n//! ```\n//! # use hidden;\n//! #[test]\n//! let a = b[0];\n//! # Ok(())\n//! ```\n//!\n//! ```text\n//! # kept? no: hidden lines look like this everywhere\n//! ```\n#![no_std]\n//! not this\n";
        let expected = "A `Ring`, the memory and `a[0]`; see [Linux](https://kernel.org).\n\n## Example\n\n```rust\n#[test]\nlet a = b[0];\n```\n\n```text\n```\n";
        assert_eq!(text(source), expected);
    }
}
