//! What is published: each package whole, the blocks without each other, front pages that say what the documentation says.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use serde_json::Value;

use crate::readme;
use crate::step::{Failure, Outcome, Step, exists, needs, root, target};

/// The rooms that know nothing of each other.
const BLOCKS: [&str; 5] = ["bench-gate", "ebpf-perfbuf", "ebpf-progtable", "ebpf-ringbuf", "wfp-txn"];

/// A package of the workspace.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) is_published: bool,
    metadata: Value,
}

/// `cargo xtask ci --only packages`.
pub(crate) fn run() -> Result<Outcome, Failure> {
    needs("packages", "cargo only; builds every package from what would be published of it");
    let packages = all()?;
    let (published, private): (Vec<_>, Vec<_>) = packages.iter().partition(|package| package.is_published);
    let mut wrong: Vec<String> = published.iter().flat_map(|package| package.missing()).collect();
    wrong.extend(packages.iter().flat_map(|package| package.forbidden(&packages)));
    for package in &published {
        wrong.extend(readme::check(package)?);
    }
    if !wrong.is_empty() {
        return Err(Failure(wrong.join("\n       ")));
    }
    let target = forget_earlier(&published)?;
    let excluded: Vec<&str> = private.iter().flat_map(|package| ["--exclude", &package.name]).collect();
    Step::cargo(&["package", "--workspace", "--allow-dirty", "--quiet"])
        .arguments(&excluded)
        .target(&target)
        .or("what is not in the package is missing where it is unpacked: paths that lead out of it, for instance")
        .run()?;
    let names: Vec<&str> = published.iter().map(|package| &*package.name).collect();
    Ok(Outcome::Shown(format!(
        "{} packages can be published, and build from what is: {}; no block depends on another one",
        names.len(),
        names.join(", ")
    )))
}

/// Packages are built beside each other from a registry that exists only meanwhile. What cargo unpacks and builds of a registry never changes, it takes for
/// granted, and goes by path and version: so what an earlier run left is removed. Gives where to build.
fn forget_earlier(packages: &[&Package]) -> Result<PathBuf, Failure> {
    let remove = |directory: PathBuf| match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Failure(format!("{}: {error}", directory.display())))
        }
        _ => Ok(()),
    };
    let target = target().join("packages");
    remove(target.clone())?;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let registries = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    // One on the network is called after its host, one that is a directory has only its number.
    let local = registries
        .into_iter()
        .flatten()
        .flatten()
        .filter(|registry| registry.file_name().to_string_lossy().starts_with('-'));
    for registry in local {
        for package in packages {
            let version = at(&package.metadata, "/version").as_str().unwrap_or_default();
            remove(registry.path().join(format!("{}-{version}", package.name)))?;
        }
    }
    Ok(target)
}

/// `cargo xtask ci --only powerset`.
pub(crate) fn powerset() -> Result<Outcome, Failure> {
    needs("powerset", "cargo-hack");
    if !exists("cargo", &["hack", "--version"]) {
        return Ok(Outcome::Skipped("cargo install cargo-hack --locked".to_owned()));
    }
    let (packages, private) = published_and_not()?;
    let excluded: Vec<&str> = private.iter().flat_map(|name| ["--exclude", &**name]).collect();
    Step::cargo(&["hack", "check", "--feature-powerset", "--workspace", "--quiet"])
        .arguments(&excluded)
        .or("a combination of features does not compile: features only add")
        .run()?;
    Ok(Outcome::Shown(format!(
        "{} packages compile with every combination of their features",
        packages.len()
    )))
}

/// `cargo xtask ci --only msrv`.
pub(crate) fn msrv() -> Result<Outcome, Failure> {
    let version = at(&metadata()?, "/packages/0/rust_version").as_str().unwrap_or_default().to_owned();
    needs("msrv", &format!("rustup's toolchain {version}"));
    let toolchain = format!("+{version}");
    if !exists("cargo", &[&toolchain, "--version"]) {
        return Ok(Outcome::Skipped(format!("rustup toolchain install {version} --profile minimal")));
    }
    let (packages, private) = published_and_not()?;
    let excluded: Vec<&str> = private.iter().flat_map(|name| ["--exclude", &**name]).collect();
    Step::cargo(&[&toolchain, "check", "--workspace", "--all-features", "--quiet"])
        .arguments(&excluded)
        .or("use less of the newer standard library, or raise `rust-version` and say so in CHANGELOG.md")
        .run()?;
    Ok(Outcome::Shown(format!("{} packages compile with Rust {version}", packages.len())))
}

/// `cargo xtask ci --only api`.
pub(crate) fn api() -> Result<Outcome, Failure> {
    needs("api", "git; once there is a release, cargo-semver-checks");
    let tags = Step::new("git", &["tag", "--list", "v*", "--sort=-version:refname"]).output()?;
    let Some(last) = tags.lines().next() else {
        return Ok(Outcome::Shown(
            "nothing is released yet (no tag v*): there is no interface to keep".to_owned(),
        ));
    };
    if !exists("cargo", &["semver-checks", "--version"]) {
        return Ok(Outcome::Skipped("cargo install cargo-semver-checks --locked".to_owned()));
    }
    let (packages, private) = published_and_not()?;
    // A package that the release did not have has nothing to be compared with.
    let mut arguments: Vec<String> =
        private.into_iter().flat_map(|name| ["--exclude".to_owned(), name]).collect();
    for package in &packages {
        let manifest =
            package.directory.strip_prefix(root()).unwrap_or(&package.directory).join("Cargo.toml");
        if !exists("git", &["cat-file", "-e", &format!("{last}:{}", manifest.display())]) {
            println!("{} is new since {last}", package.name);
            arguments.extend(["--exclude".to_owned(), package.name.clone()]);
        }
    }
    Step::cargo(&["semver-checks", "--workspace", "--baseline-rev", last])
        .arguments(&arguments.iter().map(|argument| &**argument).collect::<Vec<_>>())
        .or("the version in Cargo.toml promises that what was public still is: raise it, or keep what was there")
        .run()?;
    Ok(Outcome::Shown(format!("the version says what changed since {last}")))
}

/// Everything in the workspace.
pub(crate) fn all() -> Result<Vec<Package>, Failure> {
    let metadata = metadata()?;
    let packages = at(&metadata, "/packages").as_array().cloned().unwrap_or_default();
    let package = |metadata: Value| {
        let manifest = PathBuf::from(at(&metadata, "/manifest_path").as_str()?);
        Some(Package {
            name: at(&metadata, "/name").as_str()?.to_owned(),
            directory: manifest.parent()?.to_owned(),
            // Those that may go nowhere have an empty list of registries.
            is_published: at(&metadata, "/publish").is_null(),
            metadata,
        })
    };
    let packages: Vec<_> = packages.into_iter().filter_map(package).collect();
    if packages.iter().any(|package| package.is_published) {
        Ok(packages)
    } else {
        Err(Failure("cargo metadata names no package that is published".to_owned()))
    }
}

fn published_and_not() -> Result<(Vec<Package>, Vec<String>), Failure> {
    let (published, private): (Vec<_>, Vec<_>) = all()?.into_iter().partition(|package| package.is_published);
    Ok((published, private.into_iter().map(|package| package.name).collect()))
}

fn metadata() -> Result<Value, Failure> {
    let text = Step::cargo(&["metadata", "--no-deps", "--format-version", "1"]).output()?;
    serde_json::from_str(&text).map_err(|error| Failure(format!("cargo metadata: {error}")))
}

/// What stands there, if anything does.
fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    value.pointer(path).unwrap_or(&Value::Null)
}

impl Package {
    /// What somebody who finds it in a registry would miss.
    fn missing(&self) -> Vec<String> {
        let text = |field: &str| at(&self.metadata, field).as_str().is_some_and(|text| !text.is_empty());
        let list = |field: &str| at(&self.metadata, field).as_array().is_some_and(|list| !list.is_empty());
        let file = |name: &str| fs::metadata(self.directory.join(name)).is_ok_and(|file| file.len() > 0);
        [
            ("a description", text("/description")),
            ("a licence", text("/license")),
            ("keywords", list("/keywords")),
            ("categories", list("/categories")),
            ("what docs.rs is to build", at(&self.metadata, "/metadata/docs/rs").is_object()),
            ("a front page: cargo xtask readmes", text("/readme") && file("README.md")),
            (
                "the licences' texts (links to ../../LICENSE-MIT and -APACHE)",
                file("LICENSE-MIT") && file("LICENSE-APACHE"),
            ),
        ]
        .into_iter()
        .filter(|(_, there)| !there)
        .map(|(what, _)| format!("{}: {what} is missing", self.name))
        .collect()
    }

    /// Dependencies of a block inside the workspace: there must be none. Tests may have some.
    fn forbidden(&self, packages: &[Self]) -> Vec<String> {
        if !BLOCKS.contains(&&*self.name) {
            return Vec::new();
        }
        let dependencies = at(&self.metadata, "/dependencies").as_array().map_or(&[][..], Vec::as_slice);
        dependencies
            .iter()
            .filter(|dependency| at(dependency, "/kind") != "dev")
            .filter_map(|dependency| at(dependency, "/name").as_str())
            .filter(|name| packages.iter().any(|package| package.name == **name))
            .map(|name| format!("{}: a block depends on {name}", self.name))
            .collect()
    }
}
