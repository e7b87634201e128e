//! Tracepoints by name.

use std::fs;
use std::path::Path;

use crate::cpus::errno_of;
use crate::error::Error;
use crate::sys::{Errno, admit};

/// Where the kernel's list of tracepoints is mounted, in the order in which it is looked for.
pub(crate) const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// The number of a tracepoint.
pub(crate) fn id(group: &str, name: &str) -> Result<u64, Error> {
    let refused =
        |errno| Error::new("read", errno).of(format_args!("the number of tracepoint `{group}/{name}`"));
    admit().map_err(refused)?;
    // A name is one directory, not a path.
    if [group, name].iter().any(|part| part.is_empty() || part.contains('/') || *part == "..") {
        return Err(refused(Errno::INVAL));
    }
    let Some(place) = mounted() else {
        return Err(refused(Errno::NOENT).hint("mount -t tracefs tracefs /sys/kernel/tracing"));
    };
    let path = Path::new(place).join("events").join(group).join(name).join("id");
    let text = fs::read_to_string(path).map_err(|error| refused(errno_of(&error)))?;
    text.trim().parse().map_err(|_| refused(Errno::INVAL))
}

/// Where tracefs is.
pub(crate) fn mounted() -> Option<&'static str> {
    PLACES.into_iter().find(|place| Path::new(place).join("events").is_dir())
}
