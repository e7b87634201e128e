//! Producers that overwrite, under a reader.

use super::*;

#[test]
fn a_reader_that_is_lapped_gives_no_torn_record() {
    Model {
        name: "overwriting ring that holds two records, three produced, a reader",
        ring: mirrored(64).overwriting(),
        before: nothing,
        preemptions: 3,
        roles: &[
            |stage| {
                let mut producer = ExclusiveProducer::new(stage.memory.clone()).unwrap();
                (1..=3)
                    .filter(|value| producer.output(&[*value; 16], SubmitFlags::NO_WAKEUP).is_ok())
                    .collect()
            },
            |stage| read_overwriting(stage, 2),
        ],
        judge: |(parts, _)| {
            assert_eq!(parts[0], [1, 2, 3], "an overwriting ring refuses nothing");
            parts[1].clone()
        },
        // The third one overwrites the first; nothing overwrites the second.
        expected: vec![vec![], vec![1], vec![1, 2], vec![2], vec![2, 3]],
    }
    .explore();
}

#[test]
fn overwrite_pos_is_never_seen_ahead_of_producer_pos() {
    Model {
        name: "overwriting ring, a long record overwrites the one right before it, a reader",
        ring: mirrored(64).overwriting(),
        before: nothing,
        preemptions: 3,
        roles: &[
            |stage| {
                let mut producer = ExclusiveProducer::new(stage.memory.clone()).unwrap();
                let outputs = [(1, 16), (2, 40)];
                let went_in = outputs.map(|(value, length)| {
                    let payload = [value; 40];
                    producer.output(&payload[..length], SubmitFlags::NO_WAKEUP).is_ok()
                });
                assert_eq!(went_in, [true; 2]);
                vec![1, 2]
            },
            |stage| read_overwriting(stage, 2),
        ],
        judge: |(parts, _)| parts[1].clone(),
        expected: vec![vec![], vec![1], vec![2], vec![1, 2]],
    }
    .explore();
}

#[test]
fn two_producers_overwrite_under_a_reader() {
    Model {
        name: "overwriting ring that holds two records, two producers, a reader",
        ring: mirrored(64).overwriting(),
        before: |stage| {
            for value in [8, 9] {
                let _ = stage.producer.output(&[value; 16], SubmitFlags::NO_WAKEUP).unwrap();
            }
        },
        preemptions: 1,
        roles: &[
            |stage| output_pair(stage, 1),
            |stage| output_pair(stage, 2),
            |stage| read_overwriting(stage, 1),
        ],
        judge: |(parts, _)| parts[2].clone(),
        // None when both old ones are gone and the first new one is busy.
        expected: vec![vec![], vec![8], vec![9], vec![1], vec![2]],
    }
    .explore();
}

/// Up to `limit` records of an overwriting ring; panics when one is torn.
fn read_overwriting(stage: &Stage, limit: usize) -> Vec<u8> {
    let mut reader = OverwriteReader::new(stage.memory.clone()).unwrap();
    let mut values = vec![];
    while values.len() < limit {
        let mut bytes = [0; 16];
        match reader.next_record(&mut bytes) {
            Ok(copied) => {
                assert!(copied.payload_len >= bytes.len());
                assert_eq!(bytes, [bytes[0]; 16], "torn");
                values.push(bytes[0]);
            }
            Err(Stopped::Empty | Stopped::Busy) => break,
            Err(stopped) => panic!("the reader found {stopped}"),
        }
    }
    values
}

/// A record of 24 bytes, whose payload spans two slots, so that it can be torn.
fn output_pair(stage: &Stage, value: u8) -> Vec<u8> {
    stage.producer.output(&[value; 16], SubmitFlags::NO_WAKEUP).map_or(vec![], |_| vec![value])
}
