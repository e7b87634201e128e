//! What a section's name says about the programs in it on Windows: the table of eBPF for Windows.
//!
//! The longest prefix that matches wins, whatever follows it: `xdp_filter` is of type `xdp` there, and of no type
//! on Linux. A GUID names each type to the system; libbpf's interface uses the numbers.

use crate::kinds::ProgramKind;

/// Which table of section names to go by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SectionTable {
    /// That of libbpf: [`SectionKind`](crate::SectionKind).
    #[default]
    Linux,
    /// That of eBPF for Windows: [`WindowsSection`]. There, too, the only program of an object may stand in `.text`,
    /// which is otherwise the place of subprograms.
    Windows,
}

/// What programs of a section are on Windows, and how they attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowsSection {
    prefix: &'static str,
    kind: ProgramKind,
    program: Option<Guid>,
    attach: Option<u32>,
    attach_guid: Option<Guid>,
}

/// A GUID as it is written: 32 hexadecimal digits from left to right.
pub type Guid = u128;

impl WindowsSection {
    /// The row with the longest prefix of a section's name, or `None` for a name without one.
    #[must_use]
    pub fn find(section: &str) -> Option<&'static Self> {
        Self::position(section).and_then(|row| SECTIONS.get(row))
    }

    /// All rows.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &SECTIONS
    }

    /// The index of that row.
    pub(crate) fn position(section: &str) -> Option<usize> {
        longest(&SECTIONS, section)
    }

    /// Number of rows.
    pub(crate) const COUNT: usize = SECTIONS.len();

    /// What a section's name starts with.
    #[must_use]
    pub const fn prefix(&self) -> &'static str {
        self.prefix
    }

    /// The program type; its number there is [`ProgramKind::windows_number`].
    #[must_use]
    pub const fn kind(&self) -> ProgramKind {
        self.kind
    }

    /// The program type's GUID; `None` for extensions whose header is not public in eBPF for Windows.
    #[must_use]
    pub const fn program_guid(&self) -> Option<Guid> {
        self.program
    }

    /// The attach type's number (`enum bpf_attach_type` of `ebpf_structs.h`); `None` where releases differ: there it
    /// has to be asked of the system by the section's name.
    #[must_use]
    pub const fn attach_type(&self) -> Option<u32> {
        self.attach
    }

    /// The attach type's GUID, if it is the same in all releases.
    #[must_use]
    pub const fn attach_guid(&self) -> Option<Guid> {
        self.attach_guid
    }
}

/// The row of a table with the longest prefix of a section's name.
fn longest(table: &[WindowsSection], section: &str) -> Option<usize> {
    let matching = table.iter().enumerate().filter(|(_, row)| section.starts_with(row.prefix));
    matching.max_by_key(|(_, row)| row.prefix.len()).map(|(position, _)| position)
}

const fn row(
    prefix: &'static str,
    kind: ProgramKind,
    program: Option<Guid>,
    attach: Option<u32>,
    attach_guid: Option<Guid>,
) -> WindowsSection {
    WindowsSection { prefix, kind, program, attach, attach_guid }
}

/// Program types, from `ebpf_program_attach_type_guids.h`.
mod program {
    use super::Guid;

    pub(super) const XDP: Option<Guid> = Some(0xf1832a85_85d5_45b0_98a0_7069d63013b0);
    pub(super) const BIND: Option<Guid> = Some(0x608c517c_6c52_4a26_b677_bb1c34425adf);
    pub(super) const SOCK_ADDR: Option<Guid> = Some(0x92ec8e39_aeec_11ec_9a30_18602489beee);
    pub(super) const SOCK_OPS: Option<Guid> = Some(0x43fb224d_68f8_46d6_aa3f_c856518cbb32);
    pub(super) const SAMPLE: Option<Guid> = Some(0xf788ef4a_207d_4dc3_85cf_0f2ea107213c);
}

#[rustfmt::skip]
static SECTIONS: [WindowsSection; 16] = [
    row("xdp", ProgramKind::WINDOWS_XDP, program::XDP, Some(1), Some(0x85e0d8ef_579e_4931_b072_8ee226bb2e9d)),
    row("bind", ProgramKind::WINDOWS_BIND, program::BIND, Some(2), Some(0xb9707e04_8127_4c72_833e_05b1fb439496)),
    row("cgroup/connect4", ProgramKind::WINDOWS_CGROUP_SOCK_ADDR, program::SOCK_ADDR, Some(3), Some(0xa82e37b1_aee7_11ec_9a30_18602489beee)),
    row("cgroup/connect6", ProgramKind::WINDOWS_CGROUP_SOCK_ADDR, program::SOCK_ADDR, Some(4), Some(0xa82e37b2_aee7_11ec_9a30_18602489beee)),
    row("cgroup/recv_accept4", ProgramKind::WINDOWS_CGROUP_SOCK_ADDR, program::SOCK_ADDR, Some(5), Some(0xa82e37b3_aee7_11ec_9a30_18602489beee)),
    row("cgroup/recv_accept6", ProgramKind::WINDOWS_CGROUP_SOCK_ADDR, program::SOCK_ADDR, Some(6), Some(0xa82e37b4_aee7_11ec_9a30_18602489beee)),
    row("cgroup/connect_authorization4", ProgramKind::WINDOWS_CGROUP_SOCK_ADDR, program::SOCK_ADDR, None, None),
    row("cgroup/connect_authorization6", ProgramKind::WINDOWS_CGROUP_SOCK_ADDR, program::SOCK_ADDR, None, None),
    row("cgroup/bind4", ProgramKind::WINDOWS_CGROUP_SOCK_ADDR, program::SOCK_ADDR, None, None),
    row("cgroup/bind6", ProgramKind::WINDOWS_CGROUP_SOCK_ADDR, program::SOCK_ADDR, None, None),
    row("cgroup/listen4", ProgramKind::WINDOWS_CGROUP_SOCK_ADDR, program::SOCK_ADDR, None, None),
    row("cgroup/listen6", ProgramKind::WINDOWS_CGROUP_SOCK_ADDR, program::SOCK_ADDR, None, None),
    row("sockops", ProgramKind::WINDOWS_SOCK_OPS, program::SOCK_OPS, Some(7), Some(0x837d02cd_3251_4632_8d94_60d3b45769f2)),
    row("netevent", ProgramKind::WINDOWS_NETEVENT, None, None, None),
    row("process", ProgramKind::WINDOWS_PROCESS, None, None, None),
    row("sample_ext", ProgramKind::WINDOWS_SAMPLE, program::SAMPLE, Some(8), Some(0xf788ef4b_207d_4dc3_85cf_0f2ea107213c)),
];

#[cfg(test)]
mod tests {
    use super::{WindowsSection, longest, row};
    use crate::kinds::ProgramKind;

    #[test]
    fn the_longest_prefix_wins() {
        let found = |section| WindowsSection::find(section).map(|row| (row.prefix(), row.kind()));
        assert_eq!(found("xdp"), Some(("xdp", ProgramKind::WINDOWS_XDP)));
        assert_eq!(found("xdp_filter/1"), Some(("xdp", ProgramKind::WINDOWS_XDP)));
        assert_eq!(found("bind"), Some(("bind", ProgramKind::WINDOWS_BIND)));
        let sock_addr = ProgramKind::WINDOWS_CGROUP_SOCK_ADDR;
        assert_eq!(found("cgroup/connect4"), Some(("cgroup/connect4", sock_addr)));
        assert_eq!(
            found("cgroup/connect_authorization6"),
            Some(("cgroup/connect_authorization6", sock_addr))
        );
        assert_eq!(found("cgroup/connect"), None);
        assert_eq!(found("kprobe/x"), None);
        assert_eq!(found(""), None);
        // No name in the table starts another; extensions may add some that do.
        let row = |prefix| row(prefix, ProgramKind::WINDOWS_XDP, None, None, None);
        let nested = [row("a"), row("a/b/c"), row("a/b")];
        assert_eq!(longest(&nested, "a/b/x"), Some(2));
        assert_eq!(longest(&nested, "a/b/c"), Some(1));
        assert_eq!(longest(&nested, "ax"), Some(0));
    }

    #[test]
    fn every_row_is_found_by_its_own_prefix_and_guids_are_distinct() {
        for (position, row) in WindowsSection::all().iter().enumerate() {
            assert_eq!(WindowsSection::position(row.prefix()), Some(position));
            assert_eq!(row.attach_type().is_some(), row.attach_guid().is_some());
            for other in &WindowsSection::all()[position + 1..] {
                assert!(row.attach_guid().is_none() || row.attach_guid() != other.attach_guid());
                assert!(row.attach_type().is_none() || row.attach_type() != other.attach_type());
                assert_eq!(row.program_guid() == other.program_guid(), {
                    row.kind() == other.kind()
                        || row.program_guid().is_none() && other.program_guid().is_none()
                });
            }
        }
    }
}
