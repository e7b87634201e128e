//! The table of status codes: the one place that says what each of them means for a transaction.

use crate::{Class, Prefix, Status};

macro_rules! codes {
    ($($name:ident = $low:literal, $text:literal, $class:ident;)*) => {
        /// A code of the filter engine: the low word that its two prefixes, [`Prefix::Kernel`] and [`Prefix::User`], share.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = concat!("`FWP_E_", $text, "` and `STATUS_FWP_", $text, "`")] $name = $low,)*
        }

        impl Code {
            /// Every code, by its number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code with that low word.
            #[must_use]
            pub const fn from_low_word(low: u16) -> Option<Self> {
                match low {
                    $($low => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The name behind `FWP_E_` and `STATUS_FWP_`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            pub(crate) const fn class(self) -> Class {
                match self {
                    $(Self::$name => Class::$class,)*
                }
            }
        }
    };
}

impl Code {
    /// The low word.
    #[must_use]
    pub const fn low_word(self) -> u16 {
        self as u16
    }

    /// The status as the engine of that side gives it.
    #[must_use]
    pub const fn status(self, prefix: Prefix) -> Status {
        Status::new(prefix.high_word() | self as u32)
    }
}

codes! {
    CalloutNotFound = 0x0001, "CALLOUT_NOT_FOUND", AlreadySo;
    ConditionNotFound = 0x0002, "CONDITION_NOT_FOUND", AlreadySo;
    FilterNotFound = 0x0003, "FILTER_NOT_FOUND", AlreadySo;
    LayerNotFound = 0x0004, "LAYER_NOT_FOUND", AlreadySo;
    ProviderNotFound = 0x0005, "PROVIDER_NOT_FOUND", AlreadySo;
    ProviderContextNotFound = 0x0006, "PROVIDER_CONTEXT_NOT_FOUND", AlreadySo;
    SublayerNotFound = 0x0007, "SUBLAYER_NOT_FOUND", AlreadySo;
    NotFound = 0x0008, "NOT_FOUND", AlreadySo;
    AlreadyExists = 0x0009, "ALREADY_EXISTS", Permanent;
    InUse = 0x000A, "IN_USE", NothingChanged;
    DynamicSessionInProgress = 0x000B, "DYNAMIC_SESSION_IN_PROGRESS", CallersBug;
    WrongSession = 0x000C, "WRONG_SESSION", CallersBug;
    NoTxnInProgress = 0x000D, "NO_TXN_IN_PROGRESS", CallersBug;
    TxnInProgress = 0x000E, "TXN_IN_PROGRESS", NothingChanged;
    TxnAborted = 0x000F, "TXN_ABORTED", Replay;
    SessionAborted = 0x0010, "SESSION_ABORTED", Reopen;
    IncompatibleTxn = 0x0011, "INCOMPATIBLE_TXN", CallersBug;
    Timeout = 0x0012, "TIMEOUT", NothingChanged;
    NetEventsDisabled = 0x0013, "NET_EVENTS_DISABLED", Permanent;
    IncompatibleLayer = 0x0014, "INCOMPATIBLE_LAYER", Permanent;
    KmClientsOnly = 0x0015, "KM_CLIENTS_ONLY", Permanent;
    LifetimeMismatch = 0x0016, "LIFETIME_MISMATCH", Permanent;
    BuiltinObject = 0x0017, "BUILTIN_OBJECT", Permanent;
    TooManyCallouts = 0x0018, "TOO_MANY_CALLOUTS", Permanent;
    NotificationDropped = 0x0019, "NOTIFICATION_DROPPED", Permanent;
    TrafficMismatch = 0x001A, "TRAFFIC_MISMATCH", Permanent;
    IncompatibleSaState = 0x001B, "INCOMPATIBLE_SA_STATE", Permanent;
    NullPointer = 0x001C, "NULL_POINTER", Permanent;
    InvalidEnumerator = 0x001D, "INVALID_ENUMERATOR", Permanent;
    InvalidFlags = 0x001E, "INVALID_FLAGS", Permanent;
    InvalidNetMask = 0x001F, "INVALID_NET_MASK", Permanent;
    InvalidRange = 0x0020, "INVALID_RANGE", Permanent;
    InvalidInterval = 0x0021, "INVALID_INTERVAL", Permanent;
    ZeroLengthArray = 0x0022, "ZERO_LENGTH_ARRAY", Permanent;
    NullDisplayName = 0x0023, "NULL_DISPLAY_NAME", Permanent;
    InvalidActionType = 0x0024, "INVALID_ACTION_TYPE", Permanent;
    InvalidWeight = 0x0025, "INVALID_WEIGHT", Permanent;
    MatchTypeMismatch = 0x0026, "MATCH_TYPE_MISMATCH", Permanent;
    TypeMismatch = 0x0027, "TYPE_MISMATCH", Permanent;
    OutOfBounds = 0x0028, "OUT_OF_BOUNDS", Permanent;
    Reserved = 0x0029, "RESERVED", Permanent;
    DuplicateCondition = 0x002A, "DUPLICATE_CONDITION", Permanent;
    DuplicateKeymod = 0x002B, "DUPLICATE_KEYMOD", Permanent;
    ActionIncompatibleWithLayer = 0x002C, "ACTION_INCOMPATIBLE_WITH_LAYER", Permanent;
    ActionIncompatibleWithSublayer = 0x002D, "ACTION_INCOMPATIBLE_WITH_SUBLAYER", Permanent;
    ContextIncompatibleWithLayer = 0x002E, "CONTEXT_INCOMPATIBLE_WITH_LAYER", Permanent;
    ContextIncompatibleWithCallout = 0x002F, "CONTEXT_INCOMPATIBLE_WITH_CALLOUT", Permanent;
    IncompatibleAuthMethod = 0x0030, "INCOMPATIBLE_AUTH_METHOD", Permanent;
    IncompatibleDhGroup = 0x0031, "INCOMPATIBLE_DH_GROUP", Permanent;
    EmNotSupported = 0x0032, "EM_NOT_SUPPORTED", Permanent;
    NeverMatch = 0x0033, "NEVER_MATCH", Permanent;
    ProviderContextMismatch = 0x0034, "PROVIDER_CONTEXT_MISMATCH", Permanent;
    InvalidParameter = 0x0035, "INVALID_PARAMETER", Permanent;
    TooManySublayers = 0x0036, "TOO_MANY_SUBLAYERS", Permanent;
    CalloutNotificationFailed = 0x0037, "CALLOUT_NOTIFICATION_FAILED", Permanent;
    InvalidAuthTransform = 0x0038, "INVALID_AUTH_TRANSFORM", Permanent;
    InvalidCipherTransform = 0x0039, "INVALID_CIPHER_TRANSFORM", Permanent;
    IncompatibleCipherTransform = 0x003A, "INCOMPATIBLE_CIPHER_TRANSFORM", Permanent;
    InvalidTransformCombination = 0x003B, "INVALID_TRANSFORM_COMBINATION", Permanent;
    DuplicateAuthMethod = 0x003C, "DUPLICATE_AUTH_METHOD", Permanent;
    InvalidTunnelEndpoint = 0x003D, "INVALID_TUNNEL_ENDPOINT", Permanent;
    L2DriverNotReady = 0x003E, "L2_DRIVER_NOT_READY", Permanent;
    KeyDictatorAlreadyRegistered = 0x003F, "KEY_DICTATOR_ALREADY_REGISTERED", Permanent;
    KeyDictationInvalidKeyingMaterial = 0x0040, "KEY_DICTATION_INVALID_KEYING_MATERIAL", Permanent;
    ConnectionsDisabled = 0x0041, "CONNECTIONS_DISABLED", Permanent;
    InvalidDnsName = 0x0042, "INVALID_DNS_NAME", Permanent;
    StillOn = 0x0043, "STILL_ON", Permanent;
    IkeextNotRunning = 0x0044, "IKEEXT_NOT_RUNNING", Permanent;
    TcpipNotReady = 0x0100, "TCPIP_NOT_READY", Permanent;
    InjectHandleClosing = 0x0101, "INJECT_HANDLE_CLOSING", Permanent;
    InjectHandleStale = 0x0102, "INJECT_HANDLE_STALE", Permanent;
    CannotPend = 0x0103, "CANNOT_PEND", Permanent;
    DropNoicmp = 0x0104, "DROP_NOICMP", Permanent;
}

/// Codes that are not the filter engine's own, as they come out of its calls: `(status, name, class)`.
///
/// The channel to the engine is RPC. *Did not execute* and *unavailable* codes say that no call reached it; *call failed* says that the
/// answer is missing, which leaves open whether the call was carried out.
pub(crate) const FOREIGN: &[(u32, &str, Class)] = &[
    // NTSTATUS, from the kernel's RPC.
    (0xC000_0008, "STATUS_INVALID_HANDLE", Class::CallersBug),
    (0xC000_000D, "STATUS_INVALID_PARAMETER", Class::CallersBug),
    (0xC000_0017, "STATUS_NO_MEMORY", Class::NothingChanged),
    (0xC000_0022, "STATUS_ACCESS_DENIED", Class::Permanent),
    (0xC000_009A, "STATUS_INSUFFICIENT_RESOURCES", Class::NothingChanged),
    (0xC002_0017, "RPC_NT_SERVER_UNAVAILABLE", Class::Reopen),
    (0xC002_0018, "RPC_NT_SERVER_TOO_BUSY", Class::NothingChanged),
    (0xC002_001B, "RPC_NT_CALL_FAILED", Class::Unknown),
    (0xC002_001C, "RPC_NT_CALL_FAILED_DNE", Class::Reopen),
    // Win32 errors, plain and as HRESULT.
    (5, "ERROR_ACCESS_DENIED", Class::Permanent),
    (6, "ERROR_INVALID_HANDLE", Class::CallersBug),
    (8, "ERROR_NOT_ENOUGH_MEMORY", Class::NothingChanged),
    (14, "ERROR_OUTOFMEMORY", Class::NothingChanged),
    (87, "ERROR_INVALID_PARAMETER", Class::CallersBug),
    (1722, "RPC_S_SERVER_UNAVAILABLE", Class::Reopen),
    (1723, "RPC_S_SERVER_TOO_BUSY", Class::NothingChanged),
    (1726, "RPC_S_CALL_FAILED", Class::Unknown),
    (1727, "RPC_S_CALL_FAILED_DNE", Class::Reopen),
    (1753, "EPT_S_NOT_REGISTERED", Class::Reopen),
    // The RPC_E_ range that the documentation of the engine's calls quotes.
    (0x8001_0001, "RPC_E_CALL_REJECTED", Class::NothingChanged),
    (0x8001_0012, "RPC_E_SERVER_DIED_DNE", Class::Reopen),
    (0x8001_0007, "RPC_E_SERVER_DIED", Class::Unknown),
    (0x8001_0100, "RPC_E_SYS_CALL_FAILED", Class::Unknown),
    (0x8001_0108, "RPC_E_DISCONNECTED", Class::Reopen),
    (0x8001_010A, "RPC_E_SERVERCALL_RETRYLATER", Class::NothingChanged),
];

/// Whether an unlisted status comes from the channel to the engine rather than from the engine.
pub(crate) const fn is_channel(raw: u32) -> bool {
    matches!(raw,
        // RPC_NT_*, in the order of their facilities: runtime and stubs.
        0xC002_0001..=0xC002_FFFF | 0xC003_0001..=0xC003_FFFF
        // RPC_S_* and RPC_X_*.
        | 1700..=1927
        // RPC_E_*.
        | 0x8001_0001..=0x8001_0122)
}
