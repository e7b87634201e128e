//! A consumer that sleeps is woken by whoever gives it something to read.

use super::*;

#[test]
fn a_sleeping_consumer_is_woken_by_one_producer() {
    Model {
        name: "wakeup, one exclusive producer",
        ring: mirrored(64),
        before: nothing,
        preemptions: 3,
        roles: &[
            |stage| {
                let mut producer = ExclusiveProducer::new(stage.memory.clone()).unwrap();
                let given_up = producer.reserve(8).unwrap().discard(SubmitFlags::empty());
                ring(stage, given_up);
                let mut kept = producer.reserve(8).unwrap();
                kept.write(0, &[1; 8]).unwrap();
                ring(stage, kept.submit(SubmitFlags::empty()));
                vec![1]
            },
            |stage| wait_for(stage, 1),
        ],
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0]], &[&parts[1], &rest]);
            rest.len()
        },
        expected: vec![0],
    }
    .explore();
}

/// `output` of an exclusive producer publishes a record that is committed already: its wakeup rests on a fence of its own.
#[test]
fn a_sleeping_consumer_is_woken_by_an_exclusive_output() {
    Model {
        name: "wakeup, outputs of one exclusive producer",
        ring: mirrored(64),
        before: nothing,
        preemptions: 3,
        roles: &[
            |stage| {
                let mut producer = ExclusiveProducer::new(stage.memory.clone()).unwrap();
                for value in [1, 2] {
                    ring(stage, producer.output(&[value; 8], SubmitFlags::empty()).unwrap());
                }
                vec![1, 2]
            },
            |stage| wait_for(stage, 2),
        ],
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0]], &[&parts[1], &rest]);
            rest.len()
        },
        expected: vec![0],
    }
    .explore();
}

#[test]
fn a_sleeping_consumer_is_woken_by_two_producers() {
    of_two(
        "wakeup, two producers",
        &[|stage| output(stage, 1), |stage| output(stage, 2), |stage| wait_for(stage, 2)],
        vec![vec![1, 2], vec![2, 1]],
    )
    .explore();
}

/// Who publishes an output for another producer while its own record is busy owes no wakeup for it; who has output its own does.
#[test]
fn a_sleeping_consumer_is_woken_by_a_reservation_and_an_output() {
    of_two(
        "wakeup, one producer reserves, another outputs",
        &[|stage| output_at(stage, 1, Watermark::None), |stage| output(stage, 2), |stage| wait_for(stage, 2)],
        vec![vec![1, 2], vec![2, 1]],
    )
    .explore();
}

/// The second one may find its own mark in time, take it, and publish the third one's record as well.
#[test]
fn a_sleeping_consumer_is_woken_by_who_publishes_out_of_turn() {
    Model {
        name: "wakeup, two producers that have claimed space, a third that has left its mark behind them",
        ring: mirrored(64),
        before: |stage| {
            stage.claimed = (0..3).map(|_| stage.producer.claim(8).unwrap()).collect();
            assert_eq!(output_claimed(stage, 2, 3), [3]);
        },
        preemptions: 2,
        roles: &[
            |stage| output_claimed(stage, 0, 1),
            |stage| output_claimed(stage, 1, 2),
            |stage| wait_for(stage, 3),
        ],
        judge: |(parts, rest)| {
            assert_eq!(rest, []);
            parts[2].clone()
        },
        expected: vec![vec![1, 2, 3]],
    }
    .explore();
}

#[test]
fn a_dropped_reservation_leaves_its_wakeup_to_the_next_commit() {
    Model {
        name: "wakeup owed by a drop",
        ring: mirrored(64),
        before: nothing,
        preemptions: 3,
        roles: &[
            |stage| {
                drop(stage.producer.reserve(8).unwrap());
                output(stage, 1)
            },
            |stage| wait_for(stage, 1),
        ],
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0]], &[&parts[1], &rest]);
            rest.len()
        },
        expected: vec![0],
    }
    .explore();
}

#[test]
fn a_byte_watermark_leaves_nobody_asleep() {
    watermark_of_two(
        "byte watermark of two records, two producers",
        &[
            |stage| output_at(stage, 1, Watermark::Bytes(32)),
            |stage| output_at(stage, 2, Watermark::Bytes(32)),
            wait_for_any,
        ],
    )
    .explore();
}

#[test]
fn a_byte_watermark_of_outputs_leaves_nobody_asleep() {
    watermark_of_two("byte watermark of two records, two producers that output", OUTPUTS)
        .explore_at(Watermark::Bytes(32));
}

#[test]
fn a_record_watermark_leaves_nobody_asleep() {
    watermark_of_two(
        "record watermark of two, two producers",
        &[
            |stage| output_at(stage, 1, Watermark::Records(2)),
            |stage| output_at(stage, 2, Watermark::Records(2)),
            wait_for_any,
        ],
    )
    .explore();
}

#[test]
fn a_record_watermark_of_outputs_leaves_nobody_asleep() {
    watermark_of_two("record watermark of two, two producers that output", OUTPUTS)
        .explore_at(Watermark::Records(2));
}

/// The consumer may read the first record and go to sleep before its producer publishes the other two, whose own wakeups came too early to find anything.
#[test]
fn a_watermark_that_others_filled_leaves_nobody_asleep() {
    for (name, watermark) in [
        ("byte watermark, one producer publishes what two others have left", Watermark::Bytes(32)),
        ("record watermark, one producer publishes what two others have left", Watermark::Records(2)),
    ] {
        Model {
            name,
            ring: mirrored(64),
            before: |stage| {
                stage.claimed = (0..3).map(|_| stage.producer.claim(8).unwrap()).collect();
                assert_eq!([output_claimed(stage, 1, 2), output_claimed(stage, 2, 3)].concat(), [2, 3]);
            },
            preemptions: 3,
            // Having read two, it may sleep: what is left is less than either watermark.
            roles: &[|stage| output_claimed(stage, 0, 1), |stage| wait_for(stage, 2)],
            judge: |(parts, rest)| (parts[1].clone(), rest),
            expected: vec![(vec![1, 2], vec![3])],
        }
        .explore_at(watermark);
    }
}

const OUTPUTS: &[Role] = &[|stage| output(stage, 1), |stage| output(stage, 2), wait_for_any];

fn watermark_of_two(name: &'static str, roles: &'static [Role]) -> Model<Vec<u8>> {
    // One alone is less than the watermark: it is found by a consumer that looks, and wakes none.
    of_two(name, roles, vec![vec![1], vec![2], vec![1, 2], vec![2, 1]])
}

/// Two producers with a record each, and a consumer, the third role, which may get what is `expected`.
fn of_two(name: &'static str, roles: &'static [Role], expected: Vec<Vec<u8>>) -> Model<Vec<u8>> {
    Model {
        name,
        ring: mirrored(64),
        before: nothing,
        preemptions: 2,
        roles,
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0], &parts[1]], &[&parts[2], &rest]);
            parts[2].clone()
        },
        expected,
    }
}

fn output_at(stage: &Stage, value: u8, watermark: Watermark) -> Vec<u8> {
    let mut reservation = stage.producer.reserve_at(8, watermark).unwrap();
    reservation.write(0, &[value; 8]).unwrap();
    ring(stage, reservation.submit(SubmitFlags::empty()));
    vec![value]
}

/// All that can be read once there is anything; sleeps as long as there is nothing.
fn wait_for_any(stage: &Stage) -> Vec<u8> {
    loop {
        let values = read(&stage.memory, usize::MAX);
        if !values.is_empty() {
            return values;
        }
        stage.bell.wait();
    }
}
