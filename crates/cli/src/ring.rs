//! `ebpf-blocks ring`: a ring that is in use in the running kernel.

use std::io;

use crate::args::Ring;
use crate::console::{Console, Status};

#[cfg(target_os = "linux")]
mod linux;

/// Says where the ring stands, or takes records out of it.
pub(crate) fn ring(arguments: &Ring, console: &mut Console<'_>) -> io::Result<Status> {
    #[cfg(target_os = "linux")]
    {
        linux::ring(arguments, console)
    }
    #[cfg(not(target_os = "linux"))]
    {
        console.failure(&arguments.map, "this system is not Linux")?;
        Ok(Status::Failed)
    }
}
