//! What a section's name says about the programs in it: libbpf's table.
//!
//! The first row that matches wins, from top to bottom, so the order is part of the table. A row written with
//! [`exact`] matches its name only; one written with [`prefix`] (`"name+"` in libbpf) also matches
//! `name/anything`. Neither matches `nameX`.

use crate::kinds::ProgramKind;

/// What programs of a section are, and how they attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionKind {
    name: &'static str,
    takes_target: bool,
    kind: ProgramKind,
    attach_type: u32,
    flags: u8,
}

impl SectionKind {
    /// The row for a section name (without a leading `?`), or `None` for a name no row matches.
    #[must_use]
    pub fn find(section: &str) -> Option<&'static Self> {
        SECTIONS.get(Self::position(section)?)
    }

    /// The index of that row.
    pub(crate) fn position(section: &str) -> Option<usize> {
        // What stands before the first `/` can name a row that takes a target; no other row's name continues
        // such a name with a `/`, so that settles it.
        if let Some((stem, _)) = section.split_once('/')
            && let Some(position) = position_of(stem)
            && SECTIONS.get(position).is_some_and(Self::takes_target)
        {
            return Some(position);
        }
        position_of(section)
    }

    /// Number of rows.
    pub(crate) const COUNT: usize = SECTIONS.len();

    /// All rows, in the order in which they are tried.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &SECTIONS
    }

    /// The section name, or what stands before the `/`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether `name/target` is accepted beside `name`.
    #[must_use]
    pub const fn takes_target(&self) -> bool {
        self.takes_target
    }

    /// The program type.
    #[must_use]
    pub const fn kind(&self) -> ProgramKind {
        self.kind
    }

    /// The expected attach type (`enum bpf_attach_type`); 0 if the row names none.
    #[must_use]
    pub const fn expected_attach_type(&self) -> u32 {
        self.attach_type
    }

    /// Whether an old kernel that refuses the attach type may be given 0 instead.
    #[must_use]
    pub const fn attach_type_is_optional(&self) -> bool {
        self.flags & flag::EXP_ATTACH_OPT != 0
    }

    /// Whether the attach type is one that a user attaches with (`libbpf_attach_type_by_name` knows it).
    #[must_use]
    pub const fn is_attachable(&self) -> bool {
        self.flags & flag::ATTACHABLE != 0
    }

    /// Whether what stands after the `/` is a kernel function or type to look up in the kernel's BTF.
    #[must_use]
    pub const fn attaches_by_btf(&self) -> bool {
        self.flags & flag::ATTACH_BTF != 0
    }

    /// Whether programs are loaded with `BPF_F_SLEEPABLE`.
    #[must_use]
    pub const fn is_sleepable(&self) -> bool {
        self.flags & flag::SLEEPABLE != 0
    }

    /// Whether programs are loaded with `BPF_F_XDP_HAS_FRAGS`.
    #[must_use]
    pub const fn has_xdp_frags(&self) -> bool {
        self.flags & flag::XDP_FRAGS != 0
    }
}

/// The row of that name.
fn position_of(name: &str) -> Option<usize> {
    let mut slot = slot(name.as_bytes());
    loop {
        let position = usize::from(*INDEX.get(slot & SLOT_MASK)?);
        let row = SECTIONS.get(position)?;
        if row.name == name {
            return Some(position);
        }
        slot = slot.wrapping_add(1);
    }
}

/// Where a name is looked for first, by FNV-1a.
const fn slot(mut name: &[u8]) -> usize {
    let mut hash = 0x811c_9dc5_u32;
    while let [byte, rest @ ..] = name {
        hash = (hash ^ *byte as u32).wrapping_mul(0x0100_0193);
        name = rest;
    }
    // The low bits are those of the last byte mostly.
    ((hash >> 16 ^ hash) & 0xffff) as usize
}

/// Positions in [`SECTIONS`] by the hash of the row's name, or in the next slots after it; [`EMPTY`] if none.
static INDEX: [u8; SLOT_MASK + 1] = index();
const SLOT_MASK: usize = 255;
const EMPTY: u8 = u8::MAX;

#[expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, where a panic is an error"
)]
const fn index() -> [u8; SLOT_MASK + 1] {
    let mut index = [EMPTY; SLOT_MASK + 1];
    let mut position = 0;
    while position < SECTIONS.len() {
        let row = &SECTIONS[position];
        let mut slot = slot(row.name.as_bytes());
        while index[slot & SLOT_MASK] != EMPTY {
            slot += 1;
        }
        index[slot & SLOT_MASK] = position as u8;
        position += 1;
    }
    index
}
// An empty slot ends every search.
const _: () = assert!(SectionKind::COUNT < SLOT_MASK && SectionKind::COUNT <= EMPTY as usize);

const fn exact(name: &'static str, kind: ProgramKind, attach_type: u32, flags: u8) -> SectionKind {
    SectionKind { name, takes_target: false, kind, attach_type, flags }
}

const fn prefix(name: &'static str, kind: ProgramKind, attach_type: u32, flags: u8) -> SectionKind {
    SectionKind { name, takes_target: true, kind, attach_type, flags }
}

/// `enum sec_def_flags` of libbpf.
mod flag {
    pub(super) const EXP_ATTACH_OPT: u8 = 1;
    pub(super) const ATTACHABLE: u8 = 2;
    pub(super) const ATTACHABLE_OPT: u8 = ATTACHABLE | EXP_ATTACH_OPT;
    pub(super) const ATTACH_BTF: u8 = 4;
    pub(super) const SLEEPABLE: u8 = 8;
    pub(super) const XDP_FRAGS: u8 = 16;
    pub(super) const USDT: u8 = 32;
}

/// `enum bpf_attach_type` of `include/uapi/linux/bpf.h`, the values that the table uses.
mod attach {
    pub(super) const CGROUP_INET_INGRESS: u32 = 0;
    pub(super) const CGROUP_INET_EGRESS: u32 = 1;
    pub(super) const CGROUP_INET_SOCK_CREATE: u32 = 2;
    pub(super) const CGROUP_SOCK_OPS: u32 = 3;
    pub(super) const SK_SKB_STREAM_PARSER: u32 = 4;
    pub(super) const SK_SKB_STREAM_VERDICT: u32 = 5;
    pub(super) const CGROUP_DEVICE: u32 = 6;
    pub(super) const SK_MSG_VERDICT: u32 = 7;
    pub(super) const CGROUP_INET4_BIND: u32 = 8;
    pub(super) const CGROUP_INET6_BIND: u32 = 9;
    pub(super) const CGROUP_INET4_CONNECT: u32 = 10;
    pub(super) const CGROUP_INET6_CONNECT: u32 = 11;
    pub(super) const CGROUP_INET4_POST_BIND: u32 = 12;
    pub(super) const CGROUP_INET6_POST_BIND: u32 = 13;
    pub(super) const CGROUP_UDP4_SENDMSG: u32 = 14;
    pub(super) const CGROUP_UDP6_SENDMSG: u32 = 15;
    pub(super) const LIRC_MODE2: u32 = 16;
    pub(super) const FLOW_DISSECTOR: u32 = 17;
    pub(super) const CGROUP_SYSCTL: u32 = 18;
    pub(super) const CGROUP_UDP4_RECVMSG: u32 = 19;
    pub(super) const CGROUP_UDP6_RECVMSG: u32 = 20;
    pub(super) const CGROUP_GETSOCKOPT: u32 = 21;
    pub(super) const CGROUP_SETSOCKOPT: u32 = 22;
    pub(super) const TRACE_RAW_TP: u32 = 23;
    pub(super) const TRACE_FENTRY: u32 = 24;
    pub(super) const TRACE_FEXIT: u32 = 25;
    pub(super) const MODIFY_RETURN: u32 = 26;
    pub(super) const LSM_MAC: u32 = 27;
    pub(super) const TRACE_ITER: u32 = 28;
    pub(super) const CGROUP_INET4_GETPEERNAME: u32 = 29;
    pub(super) const CGROUP_INET6_GETPEERNAME: u32 = 30;
    pub(super) const CGROUP_INET4_GETSOCKNAME: u32 = 31;
    pub(super) const CGROUP_INET6_GETSOCKNAME: u32 = 32;
    pub(super) const XDP_DEVMAP: u32 = 33;
    pub(super) const CGROUP_INET_SOCK_RELEASE: u32 = 34;
    pub(super) const XDP_CPUMAP: u32 = 35;
    pub(super) const SK_LOOKUP: u32 = 36;
    pub(super) const XDP: u32 = 37;
    pub(super) const SK_SKB_VERDICT: u32 = 38;
    pub(super) const SK_REUSEPORT_SELECT: u32 = 39;
    pub(super) const SK_REUSEPORT_SELECT_OR_MIGRATE: u32 = 40;
    pub(super) const TRACE_KPROBE_MULTI: u32 = 42;
    pub(super) const LSM_CGROUP: u32 = 43;
    pub(super) const NETFILTER: u32 = 45;
    pub(super) const TCX_INGRESS: u32 = 46;
    pub(super) const TCX_EGRESS: u32 = 47;
    pub(super) const TRACE_UPROBE_MULTI: u32 = 48;
    pub(super) const CGROUP_UNIX_CONNECT: u32 = 49;
    pub(super) const CGROUP_UNIX_SENDMSG: u32 = 50;
    pub(super) const CGROUP_UNIX_RECVMSG: u32 = 51;
    pub(super) const CGROUP_UNIX_GETPEERNAME: u32 = 52;
    pub(super) const CGROUP_UNIX_GETSOCKNAME: u32 = 53;
    pub(super) const NETKIT_PRIMARY: u32 = 54;
    pub(super) const NETKIT_PEER: u32 = 55;
    pub(super) const TRACE_KPROBE_SESSION: u32 = 56;
    pub(super) const TRACE_UPROBE_SESSION: u32 = 57;
    pub(super) const TRACE_FSESSION: u32 = 58;
    pub(super) const TRACE_FENTRY_MULTI: u32 = 59;
    pub(super) const TRACE_FEXIT_MULTI: u32 = 60;
    pub(super) const TRACE_FSESSION_MULTI: u32 = 61;
}

#[rustfmt::skip]
static SECTIONS: [SectionKind; 116] = [
    exact("socket", ProgramKind::SOCKET_FILTER, 0, 0),
    exact("sk_reuseport/migrate", ProgramKind::SK_REUSEPORT, attach::SK_REUSEPORT_SELECT_OR_MIGRATE, flag::ATTACHABLE),
    exact("sk_reuseport", ProgramKind::SK_REUSEPORT, attach::SK_REUSEPORT_SELECT, flag::ATTACHABLE),
    prefix("kprobe", ProgramKind::KPROBE, 0, 0),
    prefix("uprobe", ProgramKind::KPROBE, 0, 0),
    prefix("uprobe.s", ProgramKind::KPROBE, 0, flag::SLEEPABLE),
    prefix("kretprobe", ProgramKind::KPROBE, 0, 0),
    prefix("uretprobe", ProgramKind::KPROBE, 0, 0),
    prefix("uretprobe.s", ProgramKind::KPROBE, 0, flag::SLEEPABLE),
    prefix("kprobe.multi", ProgramKind::KPROBE, attach::TRACE_KPROBE_MULTI, 0),
    prefix("kretprobe.multi", ProgramKind::KPROBE, attach::TRACE_KPROBE_MULTI, 0),
    prefix("kprobe.session", ProgramKind::KPROBE, attach::TRACE_KPROBE_SESSION, 0),
    prefix("uprobe.multi", ProgramKind::KPROBE, attach::TRACE_UPROBE_MULTI, 0),
    prefix("uretprobe.multi", ProgramKind::KPROBE, attach::TRACE_UPROBE_MULTI, 0),
    prefix("uprobe.session", ProgramKind::KPROBE, attach::TRACE_UPROBE_SESSION, 0),
    prefix("uprobe.multi.s", ProgramKind::KPROBE, attach::TRACE_UPROBE_MULTI, flag::SLEEPABLE),
    prefix("uretprobe.multi.s", ProgramKind::KPROBE, attach::TRACE_UPROBE_MULTI, flag::SLEEPABLE),
    prefix("uprobe.session.s", ProgramKind::KPROBE, attach::TRACE_UPROBE_SESSION, flag::SLEEPABLE),
    prefix("ksyscall", ProgramKind::KPROBE, 0, 0),
    prefix("kretsyscall", ProgramKind::KPROBE, 0, 0),
    prefix("usdt", ProgramKind::KPROBE, 0, flag::USDT),
    prefix("usdt.s", ProgramKind::KPROBE, 0, flag::USDT | flag::SLEEPABLE),
    exact("tc/ingress", ProgramKind::SCHED_CLS, attach::TCX_INGRESS, 0),
    exact("tc/egress", ProgramKind::SCHED_CLS, attach::TCX_EGRESS, 0),
    exact("tcx/ingress", ProgramKind::SCHED_CLS, attach::TCX_INGRESS, 0),
    exact("tcx/egress", ProgramKind::SCHED_CLS, attach::TCX_EGRESS, 0),
    exact("tc", ProgramKind::SCHED_CLS, 0, 0),
    exact("classifier", ProgramKind::SCHED_CLS, 0, 0),
    exact("action", ProgramKind::SCHED_ACT, 0, 0),
    exact("netkit/primary", ProgramKind::SCHED_CLS, attach::NETKIT_PRIMARY, 0),
    exact("netkit/peer", ProgramKind::SCHED_CLS, attach::NETKIT_PEER, 0),
    prefix("tracepoint", ProgramKind::TRACEPOINT, 0, 0),
    prefix("tp", ProgramKind::TRACEPOINT, 0, 0),
    prefix("tracepoint.s", ProgramKind::TRACEPOINT, 0, flag::SLEEPABLE),
    prefix("tp.s", ProgramKind::TRACEPOINT, 0, flag::SLEEPABLE),
    prefix("raw_tracepoint", ProgramKind::RAW_TRACEPOINT, 0, 0),
    prefix("raw_tp", ProgramKind::RAW_TRACEPOINT, 0, 0),
    prefix("raw_tracepoint.s", ProgramKind::RAW_TRACEPOINT, 0, flag::SLEEPABLE),
    prefix("raw_tp.s", ProgramKind::RAW_TRACEPOINT, 0, flag::SLEEPABLE),
    prefix("raw_tracepoint.w", ProgramKind::RAW_TRACEPOINT_WRITABLE, 0, 0),
    prefix("raw_tp.w", ProgramKind::RAW_TRACEPOINT_WRITABLE, 0, 0),
    prefix("tp_btf", ProgramKind::TRACING, attach::TRACE_RAW_TP, flag::ATTACH_BTF),
    prefix("tp_btf.s", ProgramKind::TRACING, attach::TRACE_RAW_TP, flag::ATTACH_BTF | flag::SLEEPABLE),
    prefix("fentry", ProgramKind::TRACING, attach::TRACE_FENTRY, flag::ATTACH_BTF),
    prefix("fmod_ret", ProgramKind::TRACING, attach::MODIFY_RETURN, flag::ATTACH_BTF),
    prefix("fexit", ProgramKind::TRACING, attach::TRACE_FEXIT, flag::ATTACH_BTF),
    prefix("fentry.s", ProgramKind::TRACING, attach::TRACE_FENTRY, flag::ATTACH_BTF | flag::SLEEPABLE),
    prefix("fmod_ret.s", ProgramKind::TRACING, attach::MODIFY_RETURN, flag::ATTACH_BTF | flag::SLEEPABLE),
    prefix("fexit.s", ProgramKind::TRACING, attach::TRACE_FEXIT, flag::ATTACH_BTF | flag::SLEEPABLE),
    prefix("fsession", ProgramKind::TRACING, attach::TRACE_FSESSION, flag::ATTACH_BTF),
    prefix("fsession.s", ProgramKind::TRACING, attach::TRACE_FSESSION, flag::ATTACH_BTF | flag::SLEEPABLE),
    prefix("fsession.multi", ProgramKind::TRACING, attach::TRACE_FSESSION_MULTI, 0),
    prefix("fsession.multi.s", ProgramKind::TRACING, attach::TRACE_FSESSION_MULTI, flag::SLEEPABLE),
    prefix("fentry.multi", ProgramKind::TRACING, attach::TRACE_FENTRY_MULTI, 0),
    prefix("fexit.multi", ProgramKind::TRACING, attach::TRACE_FEXIT_MULTI, 0),
    prefix("fentry.multi.s", ProgramKind::TRACING, attach::TRACE_FENTRY_MULTI, flag::SLEEPABLE),
    prefix("fexit.multi.s", ProgramKind::TRACING, attach::TRACE_FEXIT_MULTI, flag::SLEEPABLE),
    prefix("freplace", ProgramKind::EXT, 0, flag::ATTACH_BTF),
    prefix("lsm", ProgramKind::LSM, attach::LSM_MAC, flag::ATTACH_BTF),
    prefix("lsm.s", ProgramKind::LSM, attach::LSM_MAC, flag::ATTACH_BTF | flag::SLEEPABLE),
    prefix("lsm_cgroup", ProgramKind::LSM, attach::LSM_CGROUP, flag::ATTACH_BTF),
    prefix("iter", ProgramKind::TRACING, attach::TRACE_ITER, flag::ATTACH_BTF),
    prefix("iter.s", ProgramKind::TRACING, attach::TRACE_ITER, flag::ATTACH_BTF | flag::SLEEPABLE),
    exact("syscall", ProgramKind::SYSCALL, 0, flag::SLEEPABLE),
    exact("xdp.frags/devmap", ProgramKind::XDP, attach::XDP_DEVMAP, flag::XDP_FRAGS),
    exact("xdp/devmap", ProgramKind::XDP, attach::XDP_DEVMAP, flag::ATTACHABLE),
    exact("xdp.frags/cpumap", ProgramKind::XDP, attach::XDP_CPUMAP, flag::XDP_FRAGS),
    exact("xdp/cpumap", ProgramKind::XDP, attach::XDP_CPUMAP, flag::ATTACHABLE),
    exact("xdp.frags", ProgramKind::XDP, attach::XDP, flag::XDP_FRAGS),
    exact("xdp", ProgramKind::XDP, attach::XDP, flag::ATTACHABLE_OPT),
    exact("perf_event", ProgramKind::PERF_EVENT, 0, 0),
    exact("lwt_in", ProgramKind::LWT_IN, 0, 0),
    exact("lwt_out", ProgramKind::LWT_OUT, 0, 0),
    exact("lwt_xmit", ProgramKind::LWT_XMIT, 0, 0),
    exact("lwt_seg6local", ProgramKind::LWT_SEG6LOCAL, 0, 0),
    exact("sockops", ProgramKind::SOCK_OPS, attach::CGROUP_SOCK_OPS, flag::ATTACHABLE_OPT),
    exact("sk_skb/stream_parser", ProgramKind::SK_SKB, attach::SK_SKB_STREAM_PARSER, flag::ATTACHABLE_OPT),
    exact("sk_skb/stream_verdict", ProgramKind::SK_SKB, attach::SK_SKB_STREAM_VERDICT, flag::ATTACHABLE_OPT),
    exact("sk_skb/verdict", ProgramKind::SK_SKB, attach::SK_SKB_VERDICT, flag::ATTACHABLE_OPT),
    exact("sk_skb", ProgramKind::SK_SKB, 0, 0),
    exact("sk_msg", ProgramKind::SK_MSG, attach::SK_MSG_VERDICT, flag::ATTACHABLE_OPT),
    exact("lirc_mode2", ProgramKind::LIRC_MODE2, attach::LIRC_MODE2, flag::ATTACHABLE_OPT),
    exact("flow_dissector", ProgramKind::FLOW_DISSECTOR, attach::FLOW_DISSECTOR, flag::ATTACHABLE_OPT),
    exact("cgroup_skb/ingress", ProgramKind::CGROUP_SKB, attach::CGROUP_INET_INGRESS, flag::ATTACHABLE_OPT),
    exact("cgroup_skb/egress", ProgramKind::CGROUP_SKB, attach::CGROUP_INET_EGRESS, flag::ATTACHABLE_OPT),
    exact("cgroup/skb", ProgramKind::CGROUP_SKB, 0, 0),
    exact("cgroup/sock_create", ProgramKind::CGROUP_SOCK, attach::CGROUP_INET_SOCK_CREATE, flag::ATTACHABLE),
    exact("cgroup/sock_release", ProgramKind::CGROUP_SOCK, attach::CGROUP_INET_SOCK_RELEASE, flag::ATTACHABLE),
    exact("cgroup/sock", ProgramKind::CGROUP_SOCK, attach::CGROUP_INET_SOCK_CREATE, flag::ATTACHABLE_OPT),
    exact("cgroup/post_bind4", ProgramKind::CGROUP_SOCK, attach::CGROUP_INET4_POST_BIND, flag::ATTACHABLE),
    exact("cgroup/post_bind6", ProgramKind::CGROUP_SOCK, attach::CGROUP_INET6_POST_BIND, flag::ATTACHABLE),
    exact("cgroup/bind4", ProgramKind::CGROUP_SOCK_ADDR, attach::CGROUP_INET4_BIND, flag::ATTACHABLE),
    exact("cgroup/bind6", ProgramKind::CGROUP_SOCK_ADDR, attach::CGROUP_INET6_BIND, flag::ATTACHABLE),
    exact("cgroup/connect4", ProgramKind::CGROUP_SOCK_ADDR, attach::CGROUP_INET4_CONNECT, flag::ATTACHABLE),
    exact("cgroup/connect6", ProgramKind::CGROUP_SOCK_ADDR, attach::CGROUP_INET6_CONNECT, flag::ATTACHABLE),
    exact("cgroup/connect_unix", ProgramKind::CGROUP_SOCK_ADDR, attach::CGROUP_UNIX_CONNECT, flag::ATTACHABLE),
    exact("cgroup/sendmsg4", ProgramKind::CGROUP_SOCK_ADDR, attach::CGROUP_UDP4_SENDMSG, flag::ATTACHABLE),
    exact("cgroup/sendmsg6", ProgramKind::CGROUP_SOCK_ADDR, attach::CGROUP_UDP6_SENDMSG, flag::ATTACHABLE),
    exact("cgroup/sendmsg_unix", ProgramKind::CGROUP_SOCK_ADDR, attach::CGROUP_UNIX_SENDMSG, flag::ATTACHABLE),
    exact("cgroup/recvmsg4", ProgramKind::CGROUP_SOCK_ADDR, attach::CGROUP_UDP4_RECVMSG, flag::ATTACHABLE),
    exact("cgroup/recvmsg6", ProgramKind::CGROUP_SOCK_ADDR, attach::CGROUP_UDP6_RECVMSG, flag::ATTACHABLE),
    exact("cgroup/recvmsg_unix", ProgramKind::CGROUP_SOCK_ADDR, attach::CGROUP_UNIX_RECVMSG, flag::ATTACHABLE),
    exact("cgroup/getpeername4", ProgramKind::CGROUP_SOCK_ADDR, attach::CGROUP_INET4_GETPEERNAME, flag::ATTACHABLE),
    exact("cgroup/getpeername6", ProgramKind::CGROUP_SOCK_ADDR, attach::CGROUP_INET6_GETPEERNAME, flag::ATTACHABLE),
    exact("cgroup/getpeername_unix", ProgramKind::CGROUP_SOCK_ADDR, attach::CGROUP_UNIX_GETPEERNAME, flag::ATTACHABLE),
    exact("cgroup/getsockname4", ProgramKind::CGROUP_SOCK_ADDR, attach::CGROUP_INET4_GETSOCKNAME, flag::ATTACHABLE),
    exact("cgroup/getsockname6", ProgramKind::CGROUP_SOCK_ADDR, attach::CGROUP_INET6_GETSOCKNAME, flag::ATTACHABLE),
    exact("cgroup/getsockname_unix", ProgramKind::CGROUP_SOCK_ADDR, attach::CGROUP_UNIX_GETSOCKNAME, flag::ATTACHABLE),
    exact("cgroup/sysctl", ProgramKind::CGROUP_SYSCTL, attach::CGROUP_SYSCTL, flag::ATTACHABLE),
    exact("cgroup/getsockopt", ProgramKind::CGROUP_SOCKOPT, attach::CGROUP_GETSOCKOPT, flag::ATTACHABLE),
    exact("cgroup/setsockopt", ProgramKind::CGROUP_SOCKOPT, attach::CGROUP_SETSOCKOPT, flag::ATTACHABLE),
    exact("cgroup/dev", ProgramKind::CGROUP_DEVICE, attach::CGROUP_DEVICE, flag::ATTACHABLE_OPT),
    prefix("struct_ops", ProgramKind::STRUCT_OPS, 0, 0),
    prefix("struct_ops.s", ProgramKind::STRUCT_OPS, 0, flag::SLEEPABLE),
    exact("sk_lookup", ProgramKind::SK_LOOKUP, attach::SK_LOOKUP, flag::ATTACHABLE),
    exact("netfilter", ProgramKind::NETFILTER, attach::NETFILTER, 0),
];

#[cfg(test)]
mod tests {
    extern crate std;

    use super::SectionKind;
    use crate::kinds::ProgramKind;

    fn kind(section: &str) -> Option<(ProgramKind, u32)> {
        SectionKind::find(section).map(|row| (row.kind(), row.expected_attach_type()))
    }

    #[test]
    fn a_row_with_a_target_matches_itself_and_what_follows_a_slash() {
        assert_eq!(kind("kprobe"), Some((ProgramKind::KPROBE, 0)));
        assert_eq!(kind("kprobe/do_unlinkat"), Some((ProgramKind::KPROBE, 0)));
        assert_eq!(kind("kprobe/"), Some((ProgramKind::KPROBE, 0)));
        assert_eq!(kind("kprobes"), None);
        assert_eq!(kind("kprobe.multi/tcp_*"), Some((ProgramKind::KPROBE, 42)));
    }

    #[test]
    fn a_row_without_a_target_matches_only_itself() {
        assert_eq!(kind("xdp"), Some((ProgramKind::XDP, 37)));
        assert_eq!(kind("xdp/devmap"), Some((ProgramKind::XDP, 33)));
        assert_eq!(kind("xdp/anything"), None);
        assert_eq!(kind("tc"), Some((ProgramKind::SCHED_CLS, 0)));
        assert_eq!(kind("tc/ingress"), Some((ProgramKind::SCHED_CLS, 46)));
        assert_eq!(kind(""), None);
    }

    /// What the table means: the first row that matches, by libbpf's rule, from top to bottom.
    fn first_match(section: &str) -> Option<&'static SectionKind> {
        let matches = |row: &&SectionKind| match section.strip_prefix(row.name()) {
            Some("") => true,
            Some(rest) => rest.starts_with('/') && row.takes_target(),
            None => false,
        };
        SectionKind::all().iter().find(matches)
    }

    #[test]
    fn the_index_finds_the_first_row_that_matches() {
        for row in SectionKind::all() {
            let continues = |other: &SectionKind| {
                other.name().strip_prefix(row.name()).is_some_and(|rest| rest.starts_with('/'))
            };
            assert!(
                !row.takes_target() || !SectionKind::all().iter().any(continues) && !row.name().contains('/'),
                "{}: `position` does not look further",
                row.name()
            );
            for suffix in ["", "/", "/target", "/a/b", "x", ".s", ".s/x", ".multi/x", "/devmap", "/ingress"] {
                let section = std::format!("{}{suffix}", row.name());
                assert_eq!(SectionKind::find(&section), first_match(&section), "{section}");
            }
            let cut = row.name().get(..row.name().len() - 1).unwrap_or_default();
            assert_eq!(SectionKind::find(cut), first_match(cut), "{cut}");
        }
        assert_eq!(SectionKind::find("/"), None);
        assert_eq!(SectionKind::find("/xdp"), None);
    }

    #[test]
    fn every_row_is_found_by_its_own_name() {
        for row in SectionKind::all() {
            assert_eq!(SectionKind::find(row.name()), Some(row), "an earlier row shadows {}", row.name());
        }
    }
}
