//! Models of the strategies: their real code, every interleaving within a bound, on a small engine that checks that it is used in order.
//!
//! Loom skips interleavings silently in known ways, so each model says which outcomes must be seen, all of them and no others, over both orders of spawning, and
//! no role runs on the creating thread. The strategies share nothing but what lies under their lock and the engine's session, so what a model can
//! miss is a step of the protocol, not an ordering: the environment variable `WFP_TXN_MUTANT` names a step of `src/mutant.rs` that is left out, and for each
//! some model turns red. `cargo xtask loom wfp-txn` and `cargo xtask mutants wfp-txn` run them.
#![cfg(loom)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod support;

mod models {
    use std::fmt::Debug;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use ebpf_loom_harness::{Spawning, explore};
    use wfp_txn::{
        Access, Config, Error, Grouped, Policy, Retrying, Serialized, Sessions, Strategy, Transaction,
    };

    use super::support::modelled::{Bells, Raw, Small};

    type Work<'a> = &'a Small;

    /// What one thread does, and what it says became of it.
    type Role<S> = fn(&S) -> char;

    struct Model<S: 'static> {
        name: &'static str,
        preemptions: usize,
        new: fn(&'static Small) -> S,
        roles: &'static [Role<S>],
        /// What the roles said, and what the engine holds: committed values in order, a `|` after each commit.
        expected: &'static [&'static str],
    }

    impl<S: Send + Sync + 'static> Model<S> {
        fn explore(&self) {
            let (new, roles) = (self.new, self.roles);
            let expected = self.expected.iter().map(|outcome| (*outcome).to_owned());
            explore(self.name, self.preemptions, expected, move |spawning| run(new, roles, spawning));
        }
    }

    fn run<S: Send + Sync + 'static>(
        new: fn(&'static Small) -> S,
        roles: &'static [Role<S>],
        spawning: Spawning,
    ) -> String {
        // Given back below: loom wants everything of an execution gone at its end.
        let engine = Box::into_raw(Box::new(Small::new()));
        // SAFETY: from a box, which lives until the end of this function, after all threads and the strategy.
        let shared: &'static Small = unsafe { &*engine };
        let strategy = loom::sync::Arc::new(new(shared));
        let said: String = spawning.run(&strategy, roles).into_iter().collect();
        drop(strategy);
        let outcome = format!("{said} {}", shared.at_the_end());
        // SAFETY: nobody else has it any more.
        drop(unsafe { Box::from_raw(engine) });
        outcome
    }

    fn config() -> Config {
        Config::new().with_policy(Policy::new().with_attempts(3))
    }

    fn said<T, X: Debug>(result: Result<T, Error<X>>) -> char {
        match result {
            Ok(_) => '+',
            Err(Error::Nested) => 'n',
            Err(Error::Refused(_)) => '-',
            Err(Error::GivenUp { .. }) => 'g',
            Err(Error::Unknown { .. }) => '?',
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Adds one value.
    fn put<S: Strategy<Engine = Work<'static>>>(strategy: &S, value: u8) -> char {
        said(strategy.transact(Access::ReadWrite, |transaction| transaction.add(value)))
    }

    /// Adds a value and panics.
    fn panics<S: Strategy<Engine = Work<'static>>>(strategy: &S) -> char {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            strategy.transact(Access::ReadWrite, |transaction: &mut Transaction<'_, _>| -> Result<(), ()> {
                transaction.add(9).unwrap();
                resume_unwind(Box::new("told to"))
            })
        }));
        if panicked.is_err() { 'p' } else { '+' }
    }

    /// Adds a value and gives up.
    fn refuses<S: Strategy<Engine = Work<'static>>>(strategy: &S) -> char {
        said(strategy.transact(Access::ReadWrite, |transaction| {
            transaction.add(8).unwrap();
            Err::<(), ()>(())
        }))
    }

    /// Is inside already when it comes a second time.
    fn nests<S: Strategy<Engine = Work<'static>>>(strategy: &S) -> char {
        let mut inner = ' ';
        let outer = strategy.transact(Access::ReadWrite, |transaction| {
            inner = put(strategy, 7);
            transaction.add(1)
        });
        assert_eq!(said(outer), '+');
        inner
    }

    type Line = Serialized<Work<'static>, Bells, Raw>;
    type Pool = Sessions<Work<'static>, Bells, Raw, 2>;
    type Group = Grouped<Work<'static>, Bells, Raw>;
    type Shared = Retrying<Work<'static>, Bells, Raw>;

    fn line(engine: &'static Small) -> Line {
        Serialized::new(engine, Bells, config())
    }

    fn pool(engine: &'static Small) -> Pool {
        Sessions::new(engine, Bells, config())
    }

    fn group(engine: &'static Small) -> Group {
        Grouped::new(engine, Bells, config())
    }

    fn shared(engine: &'static Small) -> Shared {
        Retrying::new(engine, Bells, config().with_policy(Policy::new().with_attempts(2)))
    }

    #[test]
    fn serialized_lets_one_in_at_a_time() {
        let roles: &[Role<Line>] = &[|line| put(line, 1), |line| put(line, 2)];
        Model {
            name: "serialized: two writers",
            preemptions: 3,
            new: line,
            roles,
            expected: &["++ 1|2|", "++ 2|1|"],
        }
        .explore();
    }

    #[test]
    fn serialized_hands_over_to_the_next_in_line() {
        let roles: &[Role<Line>] = &[|line| put(line, 1), |line| put(line, 2), |line| put(line, 3)];
        let expected = &["+++ 1|2|3|", "+++ 1|3|2|", "+++ 2|1|3|", "+++ 2|3|1|", "+++ 3|1|2|", "+++ 3|2|1|"];
        Model { name: "serialized: three writers", preemptions: 2, new: line, roles, expected }.explore();
    }

    /// A thread that comes after another has taken its ticket is served after it: `a` rings only once it is waiting in line.
    #[test]
    fn serialized_serves_in_the_order_of_arrival() {
        // One thread holds the line until the second has come, then the third comes; the engine's log says who was served first.
        let roles: &[Role<Line>] = &[
            |line| {
                said(line.transact(Access::ReadWrite, |transaction| {
                    let engine: &Small = line.engine();
                    engine.flag_up(0);
                    engine.wait_for_flag(1);
                    transaction.add(1)
                }))
            },
            |line| {
                let engine: &Small = line.engine();
                engine.wait_for_flag(0);
                // The next time this thread looks at a bell it is in line.
                Bells::tell_when_waiting(engine, 1);
                put(line, 2)
            },
            |line| {
                line.engine().wait_for_flag(1);
                put(line, 3)
            },
        ];
        Model {
            name: "serialized: order of arrival",
            preemptions: 2,
            new: line,
            roles,
            expected: &["+++ 1|2|3|"],
        }
        .explore();
    }

    #[test]
    fn serialized_survives_a_panic() {
        let roles: &[Role<Line>] = &[|line| panics(line), |line| put(line, 2)];
        Model { name: "serialized: a panic", preemptions: 3, new: line, roles, expected: &["p+ 2|"] }
            .explore();
    }

    #[test]
    fn serialized_refuses_nested_use() {
        let roles: &[Role<Line>] = &[|line| nests(line), |line| put(line, 2)];
        Model {
            name: "serialized: nested",
            preemptions: 2,
            new: line,
            roles,
            expected: &["n+ 1|2|", "n+ 2|1|"],
        }
        .explore();
    }

    /// Two sessions, three threads: one waits for whichever is free first. Read-only, so that the engine lets two in.
    #[test]
    fn sessions_are_never_shared_and_all_get_one() {
        fn look(pool: &Pool) -> char {
            said(pool.transact(Access::ReadOnly, |transaction| transaction.contains(&1)))
        }
        let roles: &[Role<Pool>] = &[look, look, look];
        Model { name: "sessions: exhausted", preemptions: 2, new: pool, roles, expected: &["+++ "] }
            .explore();
    }

    /// Two sessions become free while two threads wait, one of which has had a session before: the first to be woken wakes the other, on whom it
    /// then waits.
    #[test]
    fn sessions_that_become_free_at_once_are_both_used() {
        fn look(pool: &Pool) -> char {
            said(pool.transact(Access::ReadOnly, |transaction| transaction.contains(&1)))
        }
        fn meet(pool: &Pool) -> char {
            said(pool.transact(Access::ReadOnly, |transaction| {
                pool.engine().meet();
                transaction.contains(&1)
            }))
        }
        let again: Role<Pool> = |pool| {
            look(pool);
            meet(pool)
        };
        let roles: &'static [Role<Pool>] = Box::leak(Box::new([look as Role<Pool>, again, meet]));
        Model { name: "sessions: both free", preemptions: 2, new: pool, roles, expected: &["+++ "] }
            .explore();
    }

    #[test]
    fn sessions_refuse_nested_use() {
        let roles: &[Role<Pool>] = &[|pool| nests(pool)];
        Model { name: "sessions: nested", preemptions: 2, new: pool, roles, expected: &["n 1|"] }.explore();
    }

    #[test]
    fn grouped_writers_share_a_commit_or_not() {
        let roles: &[Role<Group>] = &[|group| put(group, 1), |group| put(group, 2)];
        let expected = &["++ 1|2|", "++ 2|1|", "++ 12|", "++ 21|"];
        Model { name: "grouped: two writers", preemptions: 3, new: group, roles, expected }.explore();
    }

    #[test]
    fn grouped_writers_are_all_told() {
        let roles: &[Role<Group>] = &[|group| put(group, 1), |group| put(group, 2), |group| put(group, 3)];
        let expected: &[&str] = &[
            "+++ 123|",
            "+++ 132|",
            "+++ 213|",
            "+++ 231|",
            "+++ 312|",
            "+++ 321|",
            "+++ 12|3|",
            "+++ 13|2|",
            "+++ 21|3|",
            "+++ 23|1|",
            "+++ 31|2|",
            "+++ 32|1|",
            "+++ 1|23|",
            "+++ 1|32|",
            "+++ 2|13|",
            "+++ 2|31|",
            "+++ 3|12|",
            "+++ 3|21|",
            "+++ 1|2|3|",
            "+++ 1|3|2|",
            "+++ 2|1|3|",
            "+++ 2|3|1|",
            "+++ 3|1|2|",
            "+++ 3|2|1|",
        ];
        Model { name: "grouped: three writers", preemptions: 2, new: group, roles, expected }.explore();
    }

    /// The member that fails is undone, the others are not, wherever in the line it stands.
    #[test]
    fn grouped_members_fail_alone() {
        let roles: &[Role<Group>] = &[|group| put(group, 1), |group| refuses(group), |group| put(group, 3)];
        let expected = &["+-+ 13|", "+-+ 31|", "+-+ 1|3|", "+-+ 3|1|"];
        Model { name: "grouped: a member fails", preemptions: 2, new: group, roles, expected }.explore();
    }

    /// The leader, or any other member, dies in the middle.
    #[test]
    fn grouped_members_survive_a_panic() {
        let roles: &[Role<Group>] = &[|group| put(group, 1), |group| panics(group), |group| put(group, 3)];
        let expected = &["+p+ 13|", "+p+ 31|", "+p+ 1|3|", "+p+ 3|1|"];
        Model { name: "grouped: a member panics", preemptions: 2, new: group, roles, expected }.explore();
    }

    /// A thread that has not been told yet, while others go once round the line.
    #[test]
    fn grouped_members_keep_their_places() {
        let roles: &[Role<Group>] = &[
            |group| put(group, 1),
            |group| {
                [2, 3, 4, 5]
                    .map(|value| put(group, value))
                    .into_iter()
                    .find(|said| *said != '+')
                    .unwrap_or('+')
            },
        ];
        let expected = &[
            "++ 1|2|3|4|5|",
            "++ 12|3|4|5|",
            "++ 21|3|4|5|",
            "++ 2|1|3|4|5|",
            "++ 2|13|4|5|",
            "++ 2|31|4|5|",
            "++ 2|3|1|4|5|",
            "++ 2|3|14|5|",
            "++ 2|3|41|5|",
            "++ 2|3|4|1|5|",
            "++ 2|3|4|15|",
            "++ 2|3|4|51|",
            "++ 2|3|4|5|1|",
        ];
        Model { name: "grouped: round the line", preemptions: 2, new: group, roles, expected }.explore();
    }

    #[test]
    fn grouped_refuses_nested_use() {
        let roles: &[Role<Group>] = &[|group| nests(group), |group| put(group, 2)];
        let expected = &["n+ 1|2|", "n+ 2|1|", "n+ 12|", "n+ 21|"];
        Model { name: "grouped: nested", preemptions: 2, new: group, roles, expected }.explore();
    }

    /// The engine loses the session at the first commit: everybody's work is done again, once.
    #[test]
    fn grouped_members_are_replayed_when_the_commit_is_lost() {
        fn new(engine: &'static Small) -> Group {
            engine.lose_first_commit();
            group(engine)
        }
        let roles: &[Role<Group>] = &[|group| put(group, 1), |group| put(group, 2)];
        let expected = &["++ 1|2|", "++ 2|1|", "++ 12|", "++ 21|"];
        Model { name: "grouped: a lost commit", preemptions: 2, new, roles, expected }.explore();
    }

    /// On a shared handle a thread may find another's transaction, and be given up after two attempts; the handle is closed once, by the last.
    #[test]
    fn retrying_closes_a_lost_session_when_nobody_uses_it() {
        fn new(engine: &'static Small) -> Shared {
            engine.lose_first_commit();
            shared(engine)
        }
        let roles: &[Role<Shared>] = &[|shared| put(shared, 1), |shared| put(shared, 2)];
        let expected = &["++ 1|2|", "++ 2|1|", "+g 1|", "g+ 2|"];
        Model { name: "retrying: a lost session", preemptions: 2, new, roles, expected }.explore();
    }
}
