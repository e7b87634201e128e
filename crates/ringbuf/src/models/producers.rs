//! Producers beside one another and a consumer: nothing is lost, doubled or torn.

use super::*;

#[test]
fn one_producer_laps_the_ring() {
    Model {
        name: "one exclusive producer, three records through a ring that holds one",
        ring: mirrored(32),
        before: nothing,
        preemptions: 6,
        roles: &[
            |stage| {
                let mut producer = ExclusiveProducer::new(stage.memory.clone()).unwrap();
                (1..=3)
                    .filter(|value| producer.output(&[*value; 8], SubmitFlags::NO_WAKEUP).is_ok())
                    .collect()
            },
            |stage| read(&stage.memory, 2),
        ],
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0]], &[&parts[1], &rest]);
            (parts[0].clone(), parts[1].len())
        },
        // The second and third record go in when the one before was read in time.
        expected: vec![
            (vec![1], 0),
            (vec![1], 1),
            (vec![1, 2], 1),
            (vec![1, 2], 2),
            (vec![1, 3], 1),
            (vec![1, 3], 2),
            (vec![1, 2, 3], 2),
        ],
    }
    .explore();
}

#[test]
fn two_producers_and_a_consumer() {
    Model {
        name: "two producers, one record each",
        ring: mirrored(64),
        before: nothing,
        preemptions: 2,
        roles: &[|stage| output(stage, 1), |stage| output(stage, 2), |stage| read(&stage.memory, 2)],
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0], &parts[1]], &[&parts[2], &rest]);
            (parts[2].clone(), rest)
        },
        // Both orders, and the consumer saw none, one or both.
        expected: vec![
            (vec![], vec![1, 2]),
            (vec![], vec![2, 1]),
            (vec![1], vec![2]),
            (vec![2], vec![1]),
            (vec![1, 2], vec![]),
            (vec![2, 1], vec![]),
        ],
    }
    .explore();
}

#[test]
fn two_producers_lap_the_ring() {
    Model {
        name: "two producers, two records and one, a ring that holds one",
        ring: mirrored(32),
        before: nothing,
        preemptions: 2,
        roles: &[
            |stage| [output(stage, 1), output(stage, 2)].concat(),
            |stage| output(stage, 3),
            |stage| read(&stage.memory, 1),
        ],
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0], &parts[1]], &[&parts[2], &rest]);
            [&parts[2][..], &rest].concat()
        },
        // Whoever is first fills the ring; one more goes in when the consumer read that in time.
        expected: vec![vec![1], vec![3], vec![1, 2], vec![1, 3], vec![3, 1], vec![3, 2]],
    }
    .explore();
}

#[test]
fn a_flat_ring_skips_its_end() {
    Model {
        name: "flat ring, filler before the third record, sleeping consumer",
        ring: Geometry::new(64, 8, Mapping::Flat, PageOffset::FromRing).unwrap(),
        before: nothing,
        preemptions: 2,
        roles: &[
            |stage| {
                let mut done = vec![];
                for value in 1..=3 {
                    // 24 payload bytes take 32: two fill the ring up to its last 8 usable bytes once the first 16 are gone.
                    let length = if value == 1 { 8 } else { 24 };
                    if let Ok(mut reservation) = stage.producer.reserve(length) {
                        reservation.write(0, &[value; 8]).unwrap();
                        ring(stage, reservation.submit(SubmitFlags::empty()));
                        done.push(value);
                    }
                }
                done
            },
            |stage| wait_for(stage, 2),
        ],
        judge: |(parts, rest)| {
            assert!(parts[0].starts_with(&[1, 2]));
            assert_eq!([&parts[1][..], &rest].concat(), parts[0]);
            parts[0].len()
        },
        expected: vec![2, 3],
    }
    .explore();
}

#[test]
fn three_producers() {
    Model {
        name: "three producers, one record each",
        ring: mirrored(64),
        before: nothing,
        preemptions: 1,
        roles: &[|stage| output(stage, 1), |stage| output(stage, 2), |stage| output(stage, 3)],
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0], &parts[1], &parts[2]], &[&rest]);
            rest
        },
        expected: vec![
            vec![1, 2, 3],
            vec![1, 3, 2],
            vec![2, 1, 3],
            vec![2, 3, 1],
            vec![3, 1, 2],
            vec![3, 2, 1],
        ],
    }
    .explore();
}

#[test]
fn a_batch_gives_space_back_after_each_record_or_at_the_end() {
    Model {
        name: "one producer, a consumer that drains",
        ring: mirrored(32),
        before: nothing,
        preemptions: 5,
        roles: &[
            |stage| [output(stage, 1), output(stage, 2)].concat(),
            |stage| {
                let mut consumer = Consumer::new(stage.memory.clone()).unwrap().with_release(0);
                let mut values = vec![];
                let drained = consumer.drain(2, |payload| {
                    let mut bytes = [0; 8];
                    payload.copy_to(&mut bytes);
                    values.push(bytes[0]);
                    ControlFlow::Continue(())
                });
                assert_eq!(drained.records, values.len());
                assert!(matches!(drained.stopped, Stopped::Empty | Stopped::Busy | Stopped::Limit));
                values
            },
        ],
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0]], &[&parts[1], &rest]);
            (parts[0].clone(), parts[1].len())
        },
        expected: vec![(vec![1], 0), (vec![1], 1), (vec![1, 2], 1)],
    }
    .explore();
}

#[test]
fn an_estimate_is_never_negative() {
    Model {
        name: "query beside a producer and a consumer",
        ring: mirrored(64),
        before: nothing,
        preemptions: 3,
        roles: &[
            |stage| output(stage, 1),
            |stage| read(&stage.memory, 1),
            |stage| vec![u8::try_from(stage.producer.query(Query::AvailableData)).unwrap()],
        ],
        judge: |(parts, _)| parts[2][0],
        expected: vec![0, 16],
    }
    .explore();
}
