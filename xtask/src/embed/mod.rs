//! What the blocks look like inside other people's code, executed: a Linux module, a Windows driver, bare metal, a model.

mod kmod;

use clap::Subcommand;

use crate::step::{Failure, Outcome};

#[derive(Subcommand)]
pub(crate) enum Host {
    /// Build a Linux module around the blocks, boot it in QEMU, read its ring from a process in there (Debian 12, as root)
    Kmod,
}

/// `cargo xtask embed HOST`.
pub(crate) fn run(host: &Host) -> Result<Outcome, Failure> {
    match host {
        Host::Kmod => kmod::run(),
    }
}

/// Each of them.
pub(crate) fn all() -> Result<Outcome, Failure> {
    kmod::run()
}
