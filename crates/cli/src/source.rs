//! Reading an object file without trusting it to be one.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Longer files are no objects of anyone's: the largest seen is below 2 MiB.
pub(crate) const LONGEST: u64 = 64 << 20;

/// Reads a file, but no more than [`LONGEST`] bytes of it: a device may have no end.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    let file = File::open(path).map_err(SourceError::Io)?;
    let mut bytes = Vec::new();
    file.take(LONGEST.saturating_add(1)).read_to_end(&mut bytes).map_err(SourceError::Io)?;
    if bytes.is_empty() {
        return Err(SourceError::Empty);
    }
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= LONGEST) {
        Ok(bytes)
    } else {
        Err(SourceError::TooLong)
    }
}

/// The name that maps of data sections are named after: the file's, without its directory.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Why there is nothing to open.
#[derive(Debug)]
pub(crate) enum SourceError {
    Empty,
    Io(io::Error),
    TooLong,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the file is empty"),
            Self::Io(error) => error.fmt(f),
            Self::TooLong => write!(f, "the file is longer than {} MiB, and no object is", LONGEST >> 20),
        }
    }
}
