//! What the blocks look like inside other people's code, executed: a Linux module, a Windows driver, bare metal, a model.

mod kmod;
mod laws;
mod model;
mod windows;

use clap::Subcommand;

use crate::step::{Failure, Outcome};

#[derive(Subcommand)]
pub(crate) enum Host {
    /// Build a Linux module around the blocks, boot it in QEMU, read its ring from a process in there (Debian 12, as root)
    Kmod,
    /// Link every public function of the blocks for machines without an operating system: no panic, no allocator, no floating point, little stack
    Laws {
        /// Write the figures into crates/embed/README.md
        #[arg(long)]
        write: bool,
    },
    /// A crate outside the workspace that model-checks itself together with three blocks
    Model,
    /// Link a Windows driver without Windows, run its ring under Wine
    Windows,
}

/// `cargo xtask embed HOST`.
pub(crate) fn run(host: &Host) -> Result<Outcome, Failure> {
    match host {
        Host::Kmod => kmod::run(),
        Host::Laws { write } => laws::run(*write),
        Host::Model => model::run(),
        Host::Windows => windows::run(),
    }
}

/// Each of them.
pub(crate) fn all() -> Result<Outcome, Failure> {
    model::run()?.settle()?;
    windows::run()?.settle()?;
    laws::run(false)?.settle()?;
    kmod::run()
}
