//! Type information.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::capability::Capability;
use crate::error::Error;
use crate::program::with_log;
use crate::sys::{attr, bpf};

/// Types in the kernel: what maps and programs can refer to. A descriptor, closed when dropped.
#[derive(Debug)]
pub struct Btf {
    descriptor: OwnedFd,
}

impl Btf {
    /// Gives the kernel the contents of a `.BTF` section. As for programs, the log is asked for only when they are refused.
    ///
    /// # Errors
    /// The kernel's, with the log's last part.
    pub fn load(bytes: &[u8]) -> Result<Self, Error> {
        let descriptor = with_log(|log| bpf::btf_load(bytes, log)).map_err(|(errno, log)| {
            let error =
                Error::new("BPF_BTF_LOAD", errno).of(format_args!("{} bytes", bytes.len())).with_log(log);
            if error.log().is_empty() { error.needs(&[Capability::Bpf]) } else { error }
        })?;
        Ok(Self { descriptor })
    }

    /// Its number in the whole system.
    ///
    /// # Errors
    /// The kernel's.
    pub fn id(&self) -> Result<u32, Error> {
        let info: attr::BtfInfo = bpf::info(self.as_fd())
            .map_err(|errno| Error::new("BPF_OBJ_GET_INFO_BY_FD", errno).of("types"))?;
        Ok(info.id)
    }
}

impl AsFd for Btf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
