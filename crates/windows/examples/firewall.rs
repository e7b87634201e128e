//! A service that blocks connections to a list of ports, for as long as it runs.
//!
//! Its session is dynamic: when the service ends, however it ends, its filters go. When the engine's service restarts they go too, and the next
//! transaction finds a new session and adds everything again. Several threads add and remove ports at once; whoever waits shares a commit.
//!
//! Needs Windows and an administrator: `cargo run -p ebpf-windows --example firewall --features std`.

#[cfg(windows)]
#[expect(clippy::print_stdout, reason = "an example")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let firewall = firewall::Firewall::new();
    std::thread::scope(|scope| {
        for port in [7u16, 9, 13, 19] {
            let firewall = &firewall;
            scope.spawn(move || match firewall.block(port) {
                Ok(()) => println!("port {port} is blocked"),
                Err(error) => println!("port {port}: {error}"),
            });
        }
    });
    println!("press Enter to end");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

#[cfg(not(windows))]
fn main() {
    eprintln!("skipped: the filtering platform is Windows'");
}

#[cfg(windows)]
mod firewall {
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};

    use ebpf_windows::{Id, Object, StdHost, UserMode, Wfp};
    use wfp_txn::{
        Access, Config, Error, Grouped, Lifetime, OperationError, SessionOptions, Strategy, Transaction,
    };
    use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::*;
    use windows_sys::core::{GUID, PWSTR};

    const SUBLAYER: GUID = GUID::from_u128(0x6d1d_49ae_3f8f_4b52_9a39_2b0f_5a8e_10c7);

    type Engine = Wfp<UserMode>;

    pub(crate) struct Firewall {
        filters: Grouped<Engine, StdHost, parking_lot::RawMutex>,
        /// What should be blocked, whatever becomes of the session.
        ports: Mutex<BTreeSet<u16>>,
    }

    impl Firewall {
        pub(crate) fn new() -> Self {
            let session = SessionOptions::new().with_lifetime(Lifetime::Dynamic);
            let filters = Grouped::new(Engine::new(), StdHost::new(), Config::new().with_session(session));
            Self { filters, ports: Mutex::default() }
        }

        pub(crate) fn block(&self, port: u16) -> Result<(), Error<OperationError>> {
            self.ports.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
            self.filters.transact(Access::ReadWrite, |transaction| {
                if transaction.contains(&Id::Sublayer(SUBLAYER))? {
                    return add_filter(transaction, port);
                }
                // A new session, which starts empty: everything that should be there, once.
                add_sublayer(transaction)?;
                let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner).clone();
                ports.into_iter().try_for_each(|port| add_filter(transaction, port))
            })
        }
    }

    fn add_sublayer(transaction: &mut Transaction<'_, Engine>) -> Result<(), OperationError> {
        let mut name = wide("ebpf-blocks example");
        let sublayer = FWPM_SUBLAYER0 {
            subLayerKey: SUBLAYER,
            displayData: FWPM_DISPLAY_DATA0 { name: name.as_mut_ptr(), description: PWSTR::default() },
            weight: 0x100,
            ..FWPM_SUBLAYER0::default()
        };
        // SAFETY: the name outlives the call, the other pointers are null.
        transaction.add(unsafe { Object::sublayer(&sublayer) }).map(drop)
    }

    fn add_filter(transaction: &mut Transaction<'_, Engine>, port: u16) -> Result<(), OperationError> {
        let mut name = wide("ebpf-blocks example: a port");
        let mut condition = FWPM_FILTER_CONDITION0 {
            fieldKey: FWPM_CONDITION_IP_REMOTE_PORT,
            matchType: FWP_MATCH_EQUAL,
            conditionValue: FWP_CONDITION_VALUE0 {
                r#type: FWP_UINT16,
                Anonymous: FWP_CONDITION_VALUE0_0 { uint16: port },
            },
        };
        for layer in [FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWPM_LAYER_ALE_AUTH_CONNECT_V6] {
            let filter = FWPM_FILTER0 {
                displayData: FWPM_DISPLAY_DATA0 { name: name.as_mut_ptr(), description: PWSTR::default() },
                layerKey: layer,
                subLayerKey: SUBLAYER,
                numFilterConditions: 1,
                filterCondition: &mut condition,
                action: FWPM_ACTION0 { r#type: FWP_ACTION_BLOCK, ..FWPM_ACTION0::default() },
                ..FWPM_FILTER0::default()
            };
            // SAFETY: the name and the condition outlive the call, the other pointers are null.
            transaction.add(unsafe { Object::filter(&filter) })?;
        }
        Ok(())
    }

    fn wide(text: &str) -> Vec<u16> {
        text.encode_utf16().chain([0]).collect()
    }
}
