#![allow(clippy::unwrap_used, reason = "a model that goes wrong should panic")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use loom::model::Builder;
use loom::thread;

/// Steps of an execution after which loom gives up: roles that wait for each other forever do not run forever.
const BRANCHES: usize = 50_000;

/// Runs `execution` in every interleaving with at most `preemptions` preemptions, in both orders of spawning.
///
/// # Panics
/// Where an execution does, where loom finds a race or a deadlock, and when the outcomes are not exactly those `expected`.
pub fn explore<V: Debug + Ord + Send + 'static>(
    name: &str,
    preemptions: usize,
    expected: impl IntoIterator<Item = V>,
    execution: impl Fn(Spawning) -> V + Clone + Send + Sync + 'static,
) {
    let bound = bound(preemptions);
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let executions = Arc::new(AtomicUsize::new(0));
    for spawning in [Spawning::FirstToLast, Spawning::LastToFirst] {
        let (seen, executions) = (Arc::clone(&seen), Arc::clone(&executions));
        let execution = execution.clone();
        let mut builder = Builder::new();
        builder.preemption_bound = Some(bound);
        builder.max_branches = BRANCHES;
        builder.check(move || {
            executions.fetch_add(1, Ordering::Relaxed);
            let outcome = execution(spawning);
            seen.lock().unwrap().insert(outcome);
        });
    }
    let (seen, executions) = (seen.lock().unwrap(), executions.load(Ordering::Relaxed));
    println!("model {name}: {executions} executions, preemption bound {bound}, outcomes {seen:?}");
    assert_eq!(*seen, expected.into_iter().collect(), "{name}: other outcomes than expected");
}

/// `LOOM_MAX_PREEMPTIONS` raises a model's bound; below its own, not all outcomes would be seen.
fn bound(least: usize) -> usize {
    std::env::var("LOOM_MAX_PREEMPTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(0).max(least)
}

/// The order in which roles are spawned, which loom explores interleavings from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Spawning {
    /// As they stand in the model.
    FirstToLast,
    /// The other way round.
    LastToFirst,
}

impl Spawning {
    /// Runs each role on a thread of its own, and gives what each gave, as they stand in the model.
    ///
    /// # Panics
    /// Where a role does.
    pub fn run<S: 'static, P: 'static>(self, stage: &loom::sync::Arc<S>, roles: &[fn(&S) -> P]) -> Vec<P> {
        let spawn = |role: &fn(&S) -> P| {
            let (stage, role) = (stage.clone(), *role);
            thread::spawn(move || role(&stage))
        };
        let running: Vec<_> = match self {
            Self::FirstToLast => roles.iter().map(spawn).collect(),
            Self::LastToFirst => {
                let mut running: Vec<_> = roles.iter().rev().map(spawn).collect();
                running.reverse();
                running
            }
        };
        running.into_iter().map(|role| role.join().unwrap()).collect()
    }
}

#[cfg(test)]
mod tests {
    use loom::sync::Arc as LoomArc;
    use loom::sync::atomic::AtomicU8;

    use super::*;

    struct Stage {
        value: AtomicU8,
        flag: AtomicU8,
    }

    /// The flag and the value, if it reads them.
    type Role = fn(&Stage) -> Option<(u8, u8)>;

    fn write(stage: &Stage, order: Ordering) -> Option<(u8, u8)> {
        stage.value.store(1, Ordering::Relaxed);
        stage.flag.store(1, order);
        None
    }

    fn read(stage: &Stage, order: Ordering) -> Option<(u8, u8)> {
        let flag = stage.flag.load(order);
        Some((flag, stage.value.load(Ordering::Relaxed)))
    }

    fn explored(roles: &'static [Role], expected: &[(u8, u8)]) {
        let expected = expected.iter().map(|read| vec![None, Some(*read)]);
        explore("a value and its flag", 2, expected, |spawning| {
            let stage = Stage { value: AtomicU8::new(0), flag: AtomicU8::new(0) };
            spawning.run(&LoomArc::new(stage), roles)
        });
    }

    const ORDERED: &[Role] =
        &[|stage| write(stage, Ordering::Release), |stage| read(stage, Ordering::Acquire)];
    const RELAXED: &[Role] =
        &[|stage| write(stage, Ordering::Relaxed), |stage| read(stage, Ordering::Relaxed)];

    #[test]
    fn all_outcomes_and_no_others_are_seen() {
        explored(ORDERED, &[(0, 0), (0, 1), (1, 1)]);
        explored(RELAXED, &[(0, 0), (0, 1), (1, 0), (1, 1)]);
    }

    #[test]
    #[should_panic(expected = "other outcomes than expected")]
    fn an_outcome_that_nobody_expects_is_a_mistake() {
        explored(RELAXED, &[(0, 0), (0, 1), (1, 1)]);
    }

    #[test]
    #[should_panic(expected = "other outcomes than expected")]
    fn an_outcome_that_is_never_seen_is_a_mistake() {
        explored(ORDERED, &[(0, 0), (0, 1), (1, 0), (1, 1)]);
    }

    #[test]
    fn both_orders_of_spawning_are_explored() {
        let roles: [fn(&()) -> String; 2] = [|()| format!("{:?}", thread::current().id()); 2];
        explore("ids", 0, [false, true], move |spawning| spawning.run(&LoomArc::new(()), &roles).is_sorted());
    }
}
