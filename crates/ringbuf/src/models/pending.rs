//! `pending_pos`: what keeps producers apart when `consumer_pos` lies, and what it may be moved past.

use super::*;

/// A consumer that claims to be where it is not must not let two producers into the same bytes: loom reports the race if it does.
#[test]
fn pending_pos_keeps_producers_apart_under_a_lying_consumer() {
    Model {
        name: "two producers whose records overlap in the next lap, lying consumer",
        ring: mirrored(64),
        before: |stage| lie(stage, 40),
        preemptions: 3,
        roles: &[|stage| output_long(stage, 1), |stage| output_long(stage, 2)],
        judge: |(parts, _)| (parts[0].len(), parts[1].len()),
        // Not both refused; both go in when one is committed before the other comes.
        expected: vec![(1, 1), (1, 0), (0, 1)],
    }
    .explore();
}

#[test]
fn pending_pos_is_good_for_those_who_did_not_advance_it() {
    Model {
        name: "one producer advances pending_pos for another, lying consumer",
        ring: mirrored(64),
        before: |stage| lie(stage, 40),
        preemptions: 2,
        roles: &[
            |stage| output_long(stage, 1),
            // As long as the ring: advances `pending_pos`, then is refused.
            |stage| stage.producer.reserve(56).map_or(vec![], |_| vec![9]),
            |stage| output_long(stage, 2),
        ],
        judge: |(parts, _)| {
            assert_eq!(parts[1].len(), 0);
            (parts[0].len(), parts[2].len())
        },
        expected: vec![(1, 1), (1, 0), (0, 1)],
    }
    .explore();
}

#[test]
fn pending_pos_vouches_for_payloads_where_a_header_goes_next() {
    Model {
        name: "a header in the next lap where a payload was, pending_pos advanced by somebody else, lying consumer",
        ring: mirrored(64),
        before: |stage| lie(stage, 40),
        preemptions: 2,
        roles: &[
            |stage| output_long(stage, 1),
            |stage| {
                let second = stage.producer.output(&[2; 24], SubmitFlags::NO_WAKEUP);
                // As long as the ring: advances `pending_pos`, then is refused.
                assert!(stage.producer.reserve(56).is_err());
                second.map_or(vec![], |_| vec![2])
            },
            // Behind the other two, its header is at byte 8 of the next lap: in the first one's payload.
            |stage| stage.producer.output(&[3; 8], SubmitFlags::NO_WAKEUP).map_or(vec![], |_| vec![3]),
        ],
        judge: |(parts, _)| (parts[0].len(), parts[1].len(), parts[2].len()),
        // The shorter ones do not reach where the consumer claims to be, so they go in behind the first one only.
        expected: vec![(1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)],
    }
    .explore();
}

/// The walk over committed records reads headers of this lap only.
#[test]
fn pending_pos_does_not_trust_the_header_of_the_lap_before() {
    Model {
        name: "pending_pos walks where a shorter record stood a lap ago",
        ring: mirrored(64),
        before: |stage| {
            for payload in [&[7; 8][..], &[7; 40]] {
                let _ = stage.producer.output(payload, SubmitFlags::NO_WAKEUP).unwrap();
                assert_eq!(read(&stage.memory, usize::MAX).len(), 1);
            }
        },
        preemptions: 3,
        roles: &[
            |stage| {
                let mut reservation = stage.producer.reserve(24).unwrap();
                reservation.write(0, &[1; 24]).unwrap();
                ring(stage, reservation.submit(SubmitFlags::empty()));
                vec![1]
            },
            |stage| {
                let _ = stage.producer.reserve(56);
                let pending = stage.memory.pending_position().load(sites::QUERY);
                vec![u8::try_from(pending).unwrap()]
            },
        ],
        // The record starts at 0 (a lap after the start) and ends at 32.
        judge: |(parts, _)| parts[1][0],
        expected: vec![0, 32],
    }
    .explore();
}

/// Puts `consumer_pos` where the consumer never was.
fn lie(stage: &Stage, ahead: usize) {
    let position = stage.memory.consumer_position();
    position.store(position.load(sites::SETUP).wrapping_add(ahead), sites::SETUP);
}

/// A record of 40 bytes.
fn output_long(stage: &Stage, value: u8) -> Vec<u8> {
    stage.producer.output(&[value; 32], SubmitFlags::NO_WAKEUP).map_or(vec![], |_| vec![value])
}
