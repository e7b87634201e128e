//! What only the running kernel knows, for objects that refer to it: addresses from `/proc/kallsyms`, types from its BTF.
//!
//! Looked up by name, independently of how libbpf resolves an object's externs.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs;
use std::ptr::NonNull;

use ebpf_progtable::{Extern, KconfigValue, KernelObject, Resolver};
use libbpf_sys as sys;

use crate::libbpf::quieten;

/// The running kernel's symbols and types.
pub struct Kernel {
    addresses: HashMap<String, u64>,
    types: Option<NonNull<sys::btf>>,
    kconfig: Option<Vec<u8>>,
}

impl Kernel {
    /// Reads both; what cannot be read knows nothing.
    #[must_use]
    pub fn running() -> Self {
        quieten();
        let text = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
        let mut addresses = HashMap::new();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            if let (Some(address), Some(_), Some(name)) = (words.next(), words.next(), words.next())
                && let Ok(address) = u64::from_str_radix(address, 16)
            {
                // The first of a name counts.
                addresses.entry(name.to_owned()).or_insert(address);
            }
        }
        // SAFETY: no arguments; null or an error where there are no types.
        let types = unsafe { sys::btf__load_vmlinux_btf() };
        // SAFETY: any pointer may be asked about.
        let failed = unsafe { sys::libbpf_get_error(types.cast()) } != 0;
        let types = NonNull::new(types).filter(|_| !failed);
        Self { addresses, types, kconfig: None }
    }

    /// With the contents of a map of configuration values.
    #[must_use]
    pub fn with_kconfig(mut self, contents: Vec<u8>) -> Self {
        self.kconfig = Some(contents);
        self
    }

    /// The number of a type of the kernel.
    #[must_use]
    pub fn type_id(&self, name: &str, kind: u32) -> Option<i32> {
        let name = CString::new(name).ok()?;
        // SAFETY: the types are live, the name is NUL-terminated and outlives the call.
        let id = unsafe { sys::btf__find_by_name_kind(self.types?.as_ptr(), name.as_ptr(), kind) };
        (id > 0).then_some(id)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if let Some(types) = self.types {
            // SAFETY: loaded by `running`, freed only here.
            unsafe { sys::btf__free(types.as_ptr()) }
        }
    }
}

impl Resolver for Kernel {
    fn address(&mut self, symbol: &Extern<'_>) -> Option<u64> {
        self.addresses.get(symbol.name()).copied()
    }

    fn variable(&mut self, symbol: &Extern<'_>) -> Option<KernelObject> {
        let btf_id = self.type_id(symbol.name(), sys::BTF_KIND_VAR)?;
        Some(KernelObject { btf_id, ..KernelObject::default() })
    }

    fn function(&mut self, symbol: &Extern<'_>) -> Option<KernelObject> {
        let btf_id = self.type_id(symbol.name(), sys::BTF_KIND_FUNC)?;
        Some(KernelObject { btf_id, ..KernelObject::default() })
    }

    fn kconfig(&self) -> Option<&[u8]> {
        self.kconfig.as_deref()
    }

    fn handles_core(&self) -> bool {
        true
    }
}

/// The value of a configuration variable in a text like `/proc/config.gz`; `LINUX_KERNEL_VERSION` is the running kernel's.
#[must_use]
pub fn configuration<'a>(text: &'a str, name: &str) -> Option<KconfigValue<'a>> {
    if name == "LINUX_KERNEL_VERSION" {
        return version().map(KconfigValue::Number);
    }
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    KconfigValue::parse(line)
}

/// `KERNEL_VERSION(major, minor, patch)`.
fn version() -> Option<u64> {
    let name = rustix::system::uname();
    let release = name.release().to_str().ok()?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse::<u64>());
    let mut number = || numbers.next()?.ok();
    let (major, minor, patch) = (number()?, number()?, number()?);
    Some(major << 16 | minor << 8 | patch.min(255))
}
