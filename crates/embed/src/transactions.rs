//! `wfp-txn`.

use core::hint::black_box;
use core::ptr::drop_in_place;

use wfp_txn::*;

use crate::laws;
use crate::outside::{Lock, Outside};

laws! {
    "wfp-txn":
    Code::from_low_word,
    Code::name,
    Code::low_word,
    Code::status,
    SessionOptions::new,
    SessionOptions::with_lifetime,
    SessionOptions::with_begin_timeout,
    EngineError::new,
    EngineError::class,
    OperationError::status,
    Error::<u32>::is_unknown,
    Error::<u32>::status,
    Grouped::<Outside, Outside, Lock>::new,
    Grouped::<Outside, Outside, Lock>::engine,
    Config::new,
    Config::with_session,
    Config::with_policy,
    Policy::new,
    Policy::once,
    Policy::with_attempts,
    Policy::with_time,
    Policy::with_delays,
    Retrying::<Outside, Outside, Lock>::new,
    Retrying::<Outside, Outside, Lock>::engine,
    Sessions::<Outside, Outside, Lock, 2>::new,
    Sessions::<Outside, Outside, Lock, 2>::engine,
    Serialized::<Outside, Outside, Lock>::new,
    Serialized::<Outside, Outside, Lock>::engine,
    Status::new,
    Status::raw,
    Status::code,
    Status::prefix,
    Status::class,
    Prefix::high_word,
    Transaction::<Outside>::begin,
    Transaction::<Outside>::access,
    Transaction::<Outside>::is_first,
    Transaction::<Outside>::add,
    Transaction::<Outside>::delete,
    Transaction::<Outside>::remove,
    Transaction::<Outside>::contains,
    Transaction::<Outside>::commit,
    Transaction::<Outside>::abort,
}

laws! {
    "wfp-txn":
    "Transaction::read" => read,
    "Transaction::write" => write,
    "Transaction::drop" => drop_in_place::<Transaction<'static, Outside>>,
    "Serialized::transact" => transact::<Serialized<Outside, Outside, Lock>>,
    "Sessions::transact" => transact::<Sessions<Outside, Outside, Lock, 2>>,
    "Grouped::transact" => transact::<Grouped<Outside, Outside, Lock>>,
    "Retrying::transact" => transact::<Retrying<Outside, Outside, Lock>>,
    "Serialized::drop" => drop_in_place::<Serialized<Outside, Outside, Lock>>,
    "Sessions::drop" => drop_in_place::<Sessions<Outside, Outside, Lock, 2>>,
    "Grouped::drop" => drop_in_place::<Grouped<Outside, Outside, Lock>>,
    "Retrying::drop" => drop_in_place::<Retrying<Outside, Outside, Lock>>,
}

fn read(transaction: &mut Transaction<'_, Outside>) -> Result<u64, OperationError> {
    transaction.read(|engine, session| engine.add(session, &[]))
}

fn write(transaction: &mut Transaction<'_, Outside>) -> Result<u64, OperationError> {
    transaction.write(|engine, session| engine.add(session, &[]))
}

/// A filter for each of two address families.
fn transact<S: Strategy<Engine = Outside>>(strategy: &S) -> Result<[u64; 2], Error<OperationError>> {
    strategy.transact(Access::ReadWrite, |transaction| {
        let first = transaction.add(black_box(&[4]))?;
        Ok([first, transaction.add(black_box(&[6]))?])
    })
}
