//! Rings of the running kernel, for as long as it takes: two producers number their records, and a reader in a process of its own is paused, killed, and
//! started again on what is pinned. At the end each record was read, or is one that the kernel counted as lost.
//!
//! `soak --ring RECORDS --perf RECORDS` (root). `cargo xtask kernel` runs a short one, `cargo xtask kernel --soak` the long one.
#![cfg_attr(
    target_os = "linux",
    allow(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used,
        reason = "a test: what goes wrong here is to stop it"
    )
)]

#[cfg(target_os = "linux")]
mod check;
#[cfg(target_os = "linux")]
mod conduct;
#[cfg(target_os = "linux")]
mod producer;
#[cfg(target_os = "linux")]
mod reader;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use clap::Parser;
    match Arguments::parse().run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) if lacks_rights(&*error) && std::env::var_os("CI").is_none() => {
            println!("skipped: this takes root: {error}");
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("soak: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("this needs Linux");
}

/// Whether this process may not do what all this takes.
#[cfg(target_os = "linux")]
fn lacks_rights(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(ebpf_linux::Error::is_permission)
        || error.downcast_ref().is_some_and(|errno: &rustix::io::Errno| *errno == rustix::io::Errno::PERM)
}

/// Two producers, one reader that has a hard life, and nothing unaccounted for.
#[cfg(target_os = "linux")]
#[derive(clap::Parser)]
struct Arguments {
    /// Records to be read from a BPF ring buffer
    #[arg(long, default_value_t = 0)]
    ring: u64,
    /// Records to be read from perf rings
    #[arg(long, default_value_t = 0)]
    perf: u64,
    /// How often the reader is paused, and how often killed
    #[arg(long, default_value_t = 10)]
    disturbances: u64,
    /// What the reader process is started with
    #[arg(long, hide = true)]
    read_ring: bool,
    /// The same for perf rings: descriptors of events, and the CPUs they are of
    #[arg(long, hide = true, num_args = 1..)]
    read_perf: Vec<String>,
}

#[cfg(target_os = "linux")]
impl Arguments {
    fn run(&self) -> Result<(), Box<dyn std::error::Error>> {
        if self.read_ring {
            return reader::ring();
        }
        if !self.read_perf.is_empty() {
            return reader::perf(&self.read_perf);
        }
        conduct::with_names_of_its_own()?;
        if self.ring > 0 {
            conduct::ring(self.ring, self.disturbances)?;
        }
        if self.perf > 0 {
            conduct::perf(self.perf, self.disturbances)?;
        }
        Ok(())
    }
}
