//! Makes every call of the engine that [`Wfp`] knows, in an order that `wine/fwpuclnt.c` writes down: see `cargo xtask windows`.
//!
//! **What runs it is not Windows.** It shows that arguments arrive where they should, and in which order calls are made when the engine fails as told.

#[cfg(not(windows))]
fn main() {
    eprintln!("skipped: made for Windows");
}

#[cfg(windows)]
#[expect(clippy::unwrap_used, reason = "what goes wrong should show")]
fn main() {
    use ebpf_windows::{Id, Object, StdHost, UserMode, Wfp};
    use wfp_txn::{Access, Config, Error, OperationError, Serialized, SessionOptions, Strategy, Transaction};
    use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::*;
    use windows_sys::core::GUID;

    type Work<'a, 'b> = &'a mut Transaction<'b, Wfp<UserMode>>;

    let key = GUID::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    let session = SessionOptions::new()
        .with_lifetime(wfp_txn::Lifetime::Dynamic)
        .with_begin_timeout(std::time::Duration::from_millis(1234));
    let config = Config::new().with_session(session);
    let strategy =
        Serialized::<_, _, parking_lot::RawMutex>::new(Wfp::<UserMode>::new(), StdHost::new(), config);

    let provider = FWPM_PROVIDER0 { providerKey: key, ..FWPM_PROVIDER0::default() };
    let sublayer = FWPM_SUBLAYER0 { subLayerKey: key, weight: 7, ..FWPM_SUBLAYER0::default() };
    let callout = FWPM_CALLOUT0 { calloutKey: key, ..FWPM_CALLOUT0::default() };
    let filter = FWPM_FILTER0 { subLayerKey: key, ..FWPM_FILTER0::default() };
    let add = |transaction: Work<'_, '_>| -> Result<Id, OperationError> {
        // SAFETY: every pointer in it is null.
        transaction.add(unsafe { Object::provider(&provider) })?;
        // SAFETY: as above.
        transaction.add(unsafe { Object::sublayer(&sublayer) })?;
        // SAFETY: as above.
        transaction.add(unsafe { Object::callout(&callout) })?;
        // SAFETY: as above.
        transaction.add(unsafe { Object::filter(&filter) })
    };
    // The stand-in ends the session at the first filter: all of it is done again.
    let id = strategy.transact(Access::ReadWrite, add).unwrap();
    assert!(matches!(id, Id::Filter(0x1122_3344_5566_7788)), "{id:?}");

    let there: Result<[bool; 4], Error<OperationError>> =
        strategy.transact(Access::ReadOnly, |transaction| {
            Ok([
                transaction.contains(&Id::Provider(key))?,
                transaction.contains(&Id::Sublayer(key))?,
                transaction.contains(&Id::Callout(key))?,
                transaction.contains(&id)?,
            ])
        });
    // The stand-in knows no callout.
    assert_eq!(there, Ok([true, true, false, true]));

    let removed: Result<[bool; 4], Error<OperationError>> =
        strategy.transact(Access::ReadWrite, |transaction| {
            Ok([
                transaction.remove(&id)?,
                transaction.remove(&Id::Callout(key))?,
                transaction.remove(&Id::Sublayer(key))?,
                transaction.remove(&Id::Provider(key))?,
            ])
        });
    assert_eq!(removed, Ok([true, false, true, true]));

    let refused = strategy.transact(Access::ReadWrite, |_| Err::<(), _>("no"));
    assert_eq!(refused, Err(Error::Refused("no")));
    // The stand-in loses the answer to the next commit. Had nothing been modified, it would be done again.
    let unknown: Result<bool, Error<OperationError>> =
        strategy.transact(Access::ReadWrite, |transaction| transaction.remove(&Id::Provider(key)));
    assert_eq!(unknown.unwrap_err().status().map(|status| status.raw()), Some(1726));
}
