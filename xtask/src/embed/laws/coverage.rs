//! Whether every public function is named.
//!
//! The sources are as rustfmt leaves them and say `pub` only of what is public (`unreachable_pub` is denied), so their lines tell.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{BLOCKS, Law};
use crate::step::{Failure, root};

pub(super) fn check(laws: &[Law]) -> Result<(), Failure> {
    for block in BLOCKS {
        let named: BTreeSet<&str> =
            laws.iter().filter(|law| law.block == block).map(|law| law.name.as_str()).collect();
        let mut public = BTreeSet::new();
        collect(&root().join("crates").join(block).join("src"), &mut public)?;
        if public.is_empty() {
            return Err(Failure(format!("{block}: no public function was found")));
        }
        let missing: Vec<_> = public.iter().filter(|name| !named.contains(name.as_str())).collect();
        if !missing.is_empty() {
            return Err(Failure(format!(
                "crates/embed/src: these functions of {block} are not named there: {missing:?}"
            )));
        }
    }
    Ok(())
}

fn collect(folder: &Path, public: &mut BTreeSet<String>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure(format!("{}: {error}", folder.display()));
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        // What the model checker sees, and the engine for tests.
        if name == "model" || name == "models" {
            continue;
        }
        if path.is_dir() {
            collect(&path, public)?;
        } else {
            functions(&fs::read_to_string(&path).map_err(failed)?, public);
        }
    }
    Ok(())
}

/// The public functions of one file, methods with their type.
fn functions(source: &str, public: &mut BTreeSet<String>) {
    // The type of the block we are in, and how far its `impl` is indented.
    let mut of: Option<(usize, String)> = None;
    let mut header: Option<(usize, String)> = None;
    for line in source.lines() {
        if line.starts_with("#[cfg(test)]") {
            return;
        }
        let text = line.trim_start();
        let indent = line.len().saturating_sub(text.len());
        if let Some((indent, started)) = header.take() {
            header = Some((indent, format!("{started} {text}")));
        } else if text.starts_with("impl") && text.chars().nth(4).is_some_and(|next| "< ".contains(next)) {
            header = Some((indent, text.to_owned()));
        }
        if let Some((indent, started)) = header.take() {
            if started.contains('{') {
                of = Some((indent, implemented(&started)));
            } else {
                header = Some((indent, started));
            }
            continue;
        }
        if of.as_ref().is_some_and(|(outer, _)| indent == *outer && text.starts_with('}')) {
            of = None;
        }
        let Some(name) = function(text) else { continue };
        match &of {
            // A macro's: of which types is not said here.
            Some((_, of)) if of.starts_with('$') => {}
            Some((_, of)) => {
                public.insert(format!("{of}::{name}"));
            }
            None => {
                public.insert(name.to_owned());
            }
        }
    }
}

/// `name` of `pub const fn name<…>(…`.
fn function(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("pub ")?;
    let rest = rest.strip_prefix("const ").unwrap_or(rest);
    let rest = rest.strip_prefix("unsafe ").unwrap_or(rest);
    let rest = rest.strip_prefix("fn ")?;
    rest.split(['<', '(']).next()
}

/// `Type` of `impl<…> Trait for Type<…> {`.
fn implemented(header: &str) -> String {
    let mut depth: usize = 0;
    let rest = header.strip_prefix("impl").unwrap_or(header);
    let end = rest.char_indices().find(|(_, c)| {
        match c {
            '<' => depth = depth.saturating_add(1),
            '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    });
    let rest =
        if rest.starts_with('<') { end.and_then(|(at, _)| rest.get(at..)).unwrap_or(rest) } else { rest };
    let rest = rest.trim_start_matches('>').trim_start();
    let rest = rest.rsplit_once(" for ").map_or(rest, |(_, of)| of);
    rest.split(['<', ' ', '{']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_with_their_types() {
        let source = "\
pub const fn free<T>(x: T) {}
impl<const N: usize, M: Memory<A>> Ring<'_, N, M> {
    pub unsafe fn new(
    fn private() {}
    pub(crate) fn inner() {}
}
impl<S: AsRef<[M]>>
    Set<S>
where
    S: Other,
{
    pub fn rings() {}
}
impl fmt::Display for $kind {
    pub fn nobodys() {}
}
#[cfg(test)]
pub fn no() {}
";
        let mut public = BTreeSet::new();
        functions(source, &mut public);
        assert_eq!(public.into_iter().collect::<Vec<_>>(), ["Ring::new", "Set::rings", "free"]);
    }
}
