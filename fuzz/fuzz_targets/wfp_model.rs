//! Threads, transactions, failures and the schedule all out of the input: under each strategy, what is in the engine at the end is what the
//! transactions reported as done make of it in some order, nothing else is there, and nobody is stuck.
//!
//! Input: strategy (1 byte), dynamic sessions (bit 0) and restarts (bits 1 and 2) (1 byte), failures (1 byte, up to 5), choices (1 byte); three bytes for each
//! failure: call and effect, status, calls that go well before; a byte for each choice of who runs next; then a byte for each step: what (3 bits), thread
//! (2 bits), key (3 bits).
#![no_main]

use libfuzzer_sys::fuzz_target;
use wfp_txn::model::Fault;
use wfp_txn::{Access, Call, Code, Lifetime, Prefix, Status};

// What the property test checks, on the same threads in virtual time.
#[path = "../../crates/wfp-txn/tests/support/mod.rs"]
mod support;

use support::serial::{Action, Case, NAMES, Plan, check, honest};

const THREADS: usize = 4;
/// Longer cases find nothing that shorter ones do not, and take their time.
const PLANS: usize = 4;
const ACTIONS: usize = 6;

fuzz_target!(|input: &[u8]| {
    let Some((&[strategy, kind, faults, choices], rest)) = input.split_first_chunk() else { return };
    let (faults, rest) = rest.split_at(usize::from(faults % 6).saturating_mul(3).min(rest.len() / 3 * 3));
    let (choices, steps) = rest.split_at(usize::from(choices).min(rest.len()));
    let case = Case {
        choices: choices.to_vec(),
        seed: choices.iter().fold(0, |seed: u64, byte| seed.rotate_left(5) ^ u64::from(*byte)),
        lifetime: if kind & 1 == 0 { Lifetime::Static } else { Lifetime::Dynamic },
        threads: threads(steps),
        faults: faults.as_chunks().0.iter().filter_map(fault).collect(),
        restarts: usize::from(kind >> 1) % 3,
    };
    let name = NAMES[usize::from(strategy) % NAMES.len()];
    if let Err(wrong) = check(name, &case) {
        panic!("{name}: {wrong}: {case:?}");
    }
});

fn fault(&[call, status, skip]: &[u8; 3]) -> Option<Fault> {
    const CALLS: [Call; 8] =
        [Call::Open, Call::Close, Call::Begin, Call::Commit, Call::Abort, Call::Add, Call::Delete, Call::Read];
    const CHANNEL: [u32; 6] = [0xC002_0017, 0xC002_0018, 0xC002_001B, 0xC002_001C, 0xC000_009A, 0xC000_0001];
    let status = match usize::from(status).checked_sub(CHANNEL.len()) {
        None => Status::new(CHANNEL[usize::from(status)]),
        Some(code) => Code::ALL[code % Code::ALL.len()].status(Prefix::Kernel),
    };
    honest(CALLS[usize::from(call % 8)], status, u32::from(skip % 12), call >> 3 & 3)
}

fn threads(steps: &[u8]) -> Vec<Vec<Plan>> {
    let mut threads = vec![vec![]; THREADS];
    for step in steps {
        let plans: &mut Vec<Plan> = &mut threads[usize::from(step >> 3 & 3)];
        let key = u64::from(step & 3);
        let action = match step >> 5 {
            0 | 1 => {
                let access = if step >> 5 == 0 { Access::ReadWrite } else { Access::ReadOnly };
                if plans.len() < PLANS {
                    plans.push(Plan { access, actions: vec![] });
                }
                continue;
            }
            2 => Action::Add(key),
            3 => Action::Remove(key),
            4 => Action::Toggle(key),
            5 => Action::Look(key),
            6 => Action::Refuse,
            _ => Action::Panic,
        };
        let Some(plan) = plans.last_mut() else { continue };
        let writes = matches!(action, Action::Add(_) | Action::Remove(_) | Action::Toggle(_));
        if plan.actions.len() < ACTIONS && (plan.access == Access::ReadWrite || !writes) {
            plan.actions.push(action);
        }
    }
    threads.retain(|plans| !plans.is_empty());
    threads
}
