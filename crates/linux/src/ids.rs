//! What there is in the whole system, by number.

use crate::capability::Capability;
use crate::error::Error;
use crate::sys::bpf::{self, Numbered};

/// The numbers of all programs.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`.
pub fn programs() -> Result<Vec<u32>, Error> {
    all(Numbered::Program, "BPF_PROG_GET_NEXT_ID")
}

/// The numbers of all maps.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`.
pub fn maps() -> Result<Vec<u32>, Error> {
    all(Numbered::Map, "BPF_MAP_GET_NEXT_ID")
}

/// The numbers of all links.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`.
pub fn links() -> Result<Vec<u32>, Error> {
    all(Numbered::Link, "BPF_LINK_GET_NEXT_ID")
}

fn all(what: Numbered, call: &'static str) -> Result<Vec<u32>, Error> {
    let mut ids = Vec::new();
    let mut last = 0;
    loop {
        let next = bpf::next_id(what, last);
        match next.map_err(|errno| Error::new(call, errno).needs(&[Capability::SysAdmin]))? {
            // Numbers only grow.
            Some(id) if id > last => {
                ids.push(id);
                last = id;
            }
            _ => return Ok(ids),
        }
    }
}
