//! The stress run, for a moment: the shared handle fails and says with what, the others do not.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod tool;

use tool::ran;

fn stress(strategy: &str, others: &[&str]) -> (i32, serde_json::Value) {
    let arguments = ["wfp", "stress", "--json", "--threads", "8", "--seconds", "1", "--strategy", strategy];
    let ran = ran(&[&arguments, others].concat());
    (ran.status, ran.of_kind("stress").pop().expect("a report"))
}

#[test]
fn a_shared_handle_fails_with_the_code_of_the_story() {
    let (status, report) = stress("shared", &["--attach-detach-delay", "0"]);
    assert_eq!(status, 1);
    assert_eq!(report["passed"], false);
    assert_eq!(report["first_failure"]["status"], "0xC022000E");
    assert!(report["attach_failures"].as_u64() > Some(0), "{report}");
}

#[test]
fn the_strategies_do_not_fail_while_the_engine_restarts() {
    for strategy in ["serialized", "sessions", "grouped", "retry"] {
        let (status, report) = stress(strategy, &["--restart"]);
        assert_eq!(status, 0, "{report}");
        assert!(report["restarts"].as_u64() > Some(0) && report["attached"].as_u64() > Some(0), "{report}");
        for none in ["attach_failures", "detach_failures", "torn", "leaked_filters", "stuck_threads"] {
            assert_eq!(report[none], 0, "{strategy}: {none}");
        }
    }
}

#[test]
fn a_restart_leaves_time_to_attach() {
    let ran = ran(&["wfp", "stress", "--restart", "--restart-delay", "19"]);
    assert_eq!(ran.status, 2, "{}", ran.stderr);
}
