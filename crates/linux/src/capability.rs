//! What this process may do.

/// A capability that calls of this crate need. `CAP_SYS_ADMIN` stands for each of the others but `CAP_NET_ADMIN` and `CAP_SYS_RESOURCE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Capability {
    /// Create maps, load programs (Linux 5.8; before that `CAP_SYS_ADMIN`).
    Bpf,
    /// Programs for networks, and attaching them.
    NetAdmin,
    /// Programs that look at the kernel; perf events of all processes (Linux 5.8).
    PerfMon,
    /// Everything that has no capability of its own.
    SysAdmin,
    /// Raise limits, which Linux before 5.11 charges maps against.
    SysResource,
}

impl Capability {
    /// Its name: `CAP_BPF`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bpf => "CAP_BPF",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::PerfMon => "CAP_PERFMON",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
        }
    }

    /// Its bit.
    const fn number(self) -> u32 {
        match self {
            Self::NetAdmin => 12,
            Self::SysAdmin => 21,
            Self::SysResource => 24,
            Self::PerfMon => 38,
            Self::Bpf => 39,
        }
    }

    /// Whether `CAP_SYS_ADMIN` will do instead.
    const fn is_part_of_admin(self) -> bool {
        matches!(self, Self::Bpf | Self::PerfMon | Self::SysAdmin)
    }

    fn is_in(self, set: u64) -> bool {
        let has = |capability: Self| set.checked_shr(capability.number()).unwrap_or(0) & 1 == 1;
        has(self) || (self.is_part_of_admin() && has(Self::SysAdmin))
    }
}

/// Those of `capabilities` that this thread does not have in effect; none if that cannot be found out.
#[must_use]
pub fn missing(capabilities: &[Capability]) -> Vec<Capability> {
    let Some(set) = effective() else { return Vec::new() };
    capabilities.iter().copied().filter(|capability| !capability.is_in(set)).collect()
}

fn effective() -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/thread-self/status").ok()?)
}

fn parse(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(value.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_stands_for_its_parts() {
        let set = parse("Name:\tx\nCapEff:\t0000000000201000\n").expect("a set");
        assert_eq!(set, 1 << 21 | 1 << 12);
        assert!(
            Capability::Bpf.is_in(set) && Capability::PerfMon.is_in(set) && Capability::NetAdmin.is_in(set)
        );
        assert!(!Capability::NetAdmin.is_in(1 << 21) && !Capability::SysResource.is_in(1 << 21));
        assert!(Capability::Bpf.is_in(1 << 39) && !Capability::Bpf.is_in(1 << 38));
        assert_eq!(parse("CapEff:\tzz"), None);
    }
}
