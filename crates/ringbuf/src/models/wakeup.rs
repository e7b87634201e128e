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
    Model {
        name: "wakeup, two producers",
        ring: mirrored(64),
        before: nothing,
        preemptions: 2,
        roles: &[|stage| output(stage, 1), |stage| output(stage, 2), |stage| wait_for(stage, 2)],
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0], &parts[1]], &[&parts[2], &rest]);
            parts[2].clone()
        },
        expected: vec![vec![1, 2], vec![2, 1]],
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
    explore_watermark_of_two(
        "byte watermark of two records, two producers",
        &[
            |stage| output_at(stage, 1, Watermark::Bytes(32)),
            |stage| output_at(stage, 2, Watermark::Bytes(32)),
            wait_for_any,
        ],
    );
}

#[test]
fn a_record_watermark_leaves_nobody_asleep() {
    explore_watermark_of_two(
        "record watermark of two, two producers",
        &[
            |stage| output_at(stage, 1, Watermark::Records(2)),
            |stage| output_at(stage, 2, Watermark::Records(2)),
            wait_for_any,
        ],
    );
}

fn explore_watermark_of_two(name: &'static str, roles: &'static [Role]) {
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
        // One alone is less than the watermark: it is found by a consumer that looks, and wakes none.
        expected: vec![vec![1], vec![2], vec![1, 2], vec![2, 1]],
    }
    .explore();
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
