//! Publishers that were lapped: the slot they look at belongs to a later record than the one they came for.

use super::*;

/// The filler before a record is read as soon as it is published, and its space may be claimed again before its producer has published the record.
#[test]
fn a_mark_of_the_next_lap_is_not_taken_for_the_fillers() {
    Model {
        name: "flat ring, a filler is published by somebody else, read, and its slot marked again",
        ring: Geometry::new(64, 8, Mapping::Flat, PageOffset::FromRing).unwrap(),
        before: |stage| {
            for payload in [&[8; 8][..], &[9; 16]] {
                let _ = stage.producer.output(payload, SubmitFlags::NO_WAKEUP).unwrap();
            }
            assert_eq!(read(&stage.memory, usize::MAX), [8, 9]);
        },
        preemptions: 2,
        roles: &[
            |stage| {
                let first = output_empty(stage);
                let seen = read(&stage.memory, usize::MAX);
                let produced = [first, output(stage, 3), output_empty(stage)].concat();
                [&produced[..], &[SEEN], &seen].concat()
            },
            // Does not fit behind the other's first record: 16 bytes of filler and 32 of its own.
            |stage| stage.producer.output(&[2; 24], SubmitFlags::NO_WAKEUP).map_or(vec![], |_| vec![2]),
        ],
        judge: |(parts, rest)| {
            let (produced, seen) =
                parts[0].split_at(parts[0].iter().position(|value| *value == SEEN).unwrap());
            assert_nothing_lost(&[produced, &parts[1]], &[&seen[1..], &rest]);
            (produced.to_vec(), parts[1].clone(), seen[1..].to_vec())
        },
        expected: vec![
            (vec![], vec![2], vec![]),
            (vec![0, 0], vec![2], vec![0]),
            (vec![0, 3, 0], vec![], vec![0]),
            (vec![0, 3, 0], vec![2], vec![0]),
            (vec![0, 3, 0], vec![2], vec![0, 2]),
            (vec![3, 0], vec![2], vec![]),
            (vec![3, 0], vec![2], vec![2]),
        ],
    }
    .explore();
}

/// A producer that was stopped before it looked for the record behind its own takes the mark of a record a lap later. That one's producer has left, and whoever
/// publishes the record before it finds no mark, or the one that was given back.
#[test]
fn a_mark_of_the_next_lap_is_given_back() {
    Model {
        name: "a producer looks for the record behind its own a lap late, another leaves its mark there, a third comes for that",
        ring: mirrored(32),
        before: |stage| {
            assert_eq!([output_empty(stage), output(stage, 1)].concat(), [0, 1]);
            assert_eq!(read(&stage.memory, usize::MAX), [0, 1]);
            stage.claimed = vec![stage.producer.claim(8).unwrap()];
        },
        preemptions: 3,
        roles: &[
            |stage| {
                // The record behind its own: at a multiple of the ring's size before where the third role's record ends.
                stage.producer.publish_marked(8usize.wrapping_sub(32));
                vec![]
            },
            output_empty,
            |stage| output_claimed(stage, 0, 2),
        ],
        judge: |(_, rest)| rest,
        expected: vec![vec![2, 0]],
    }
    .explore();
}

/// Stands between what a role produced and what it read.
const SEEN: u8 = 0xff;

/// The shortest record there is, a header alone, which reads as 0.
fn output_empty(stage: &Stage) -> Vec<u8> {
    stage.producer.output(&[], SubmitFlags::NO_WAKEUP).map_or(vec![], |_| vec![0])
}
