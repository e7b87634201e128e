//! Which scenario of another project's tests is which of ours.
//!
//! Scenarios are facts; the tests are written anew. `tests/scenarios.rs` looks that every test named here exists. Tests in `crates/…` need no kernel.
//!
//! # Perf rings
//!
//! | project | scenario | ours |
//! |---|---|---|
//! | cilium/ebpf | `TestPerfReader`: payload, then nothing until the deadline | `perf_scenarios.rs`: `a_payload_is_read_and_then_there_is_nothing_until_the_deadline` |
//! | cilium/ebpf | `TestReaderSetDeadline`: past twice, then ahead | `perf_scenarios.rs`: `a_payload_is_read_and_then_there_is_nothing_until_the_deadline` |
//! | cilium/ebpf | `TestReaderSetDeadlinePendingEvents`: pending first; what comes then is not seen before the deadline | `perf_scenarios.rs`: `what_comes_while_the_end_is_on_its_way_waits_for_the_next_read` |
//! | cilium/ebpf | `TestReaderFlushPendingEvents`: the same for a flush | `perf_scenarios.rs`: `what_comes_while_the_end_is_on_its_way_waits_for_the_next_read` |
//! | cilium/ebpf | `TestPerfReaderLostSample` | `perf_scenarios.rs`: `a_lost_sample_is_told_with_the_next_that_fits` |
//! | cilium/ebpf | `TestPerfReaderOverwritable`, `…Empty`: newest to oldest | `perf_scenarios.rs`: `an_overwriting_ring_gives_the_newest_first` |
//! | cilium/ebpf | `TestPerfReaderClose` | `perf_scenarios.rs`: `a_closed_set_gives_nothing_that_is_unread` |
//! | cilium/ebpf | `TestCreatePerfEvent`, `TestPerfEventRing`: sizes | `perf_scenarios.rs`: `sizes_that_are_none_are_refused_as_the_kernel_does` |
//! | cilium/ebpf | `TestPause`: nothing while paused, idempotent, by CPU | `perf_scenarios.rs`: `a_paused_set_gets_nothing_and_goes_on_after` |
//! | cilium/ebpf | `TestPerfReaderWakeupEvents`; that nobody is woken before, which it no longer asks | `perf_wakeup.rs`: `two_events_on_one_cpu_wake` |
//! | cilium/ebpf | its hang, #1419 | `perf_wakeup.rs`: `two_events_on_two_cpus_wake_nobody` |
//! | cilium/ebpf | its remedy, `LockOSThreadToSingleCPU` | `perf_wakeup.rs`: `a_pinned_thread_wakes_after_its_second_event` |
//! | cilium/ebpf | the same where CPU 0 is not allowed | `perf_wakeup.rs`: `a_pinned_thread_gets_its_cpus_back` |
//! | cilium/ebpf | `TestReadWithoutWakeup` | `perf_scenarios.rs`: `samples_written_without_a_wakeup_are_read_all_the_same` |
//! | cilium/ebpf | keys are CPUs although some are offline, #2100 | `crates/perfbuf/tests/set.rs`: `rings_are_named_by_cpu_and_not_by_place` |
//! | cilium/ebpf | `TestReadRecord`: unknown records | `crates/perfbuf/tests/hostile.rs`: `records_of_unknown_kinds_are_moved_over_by_their_size` |
//! | cilium/ebpf | `TestRingBufferReader`: over the end | `crates/perfbuf/tests/oracle.rs`: `what_goes_in_comes_out` |
//! | cilium/ebpf | `TestRingBufferReverseReader`: wrap, only new ones, overwritten while unread | `crates/perfbuf/tests/backward.rs`: `the_newest_come_first_and_only_once` |
//! | cilium/ebpf | samples over 64 KiB, #1633 | `perf_bytes.rs`: `a_sample_longer_than_its_size_can_say` |
//! | aya | `test_for_each_samples`, `…_lost`, `…_wrap` | `crates/perfbuf/tests/oracle.rs`: `what_goes_in_comes_out` |
//! | aya | `test_invalid_page_count` | `perf_scenarios.rs`: `sizes_that_are_none_are_refused_as_the_kernel_does` |
//! | aya | `emit_event` | `perf_scenarios.rs`: `one_event_on_every_cpu_says_where_it_comes_from` |
//! | aya | a record of size 0, on which its reader stays for ever | `crates/perfbuf/tests/hostile.rs`: `sizes_that_cannot_be_are_errors_that_name_the_record` |
//! | libbpf | selftest `perf_buffer`: an event on every CPU says which; nothing before and after | `perf_scenarios.rs`: `one_event_on_every_cpu_says_where_it_comes_from` |
//! | libbpf-rs | `test_object_perf_buffer_raw` | `perf_scenarios.rs`: `one_event_on_every_cpu_says_where_it_comes_from` |
//! | libbpf | a reader below its `wakeup_events` has to consume after a time-out, #438 | `perf_wakeup.rs`: `a_deadline_and_a_flush_give_what_woke_nobody` |
//! | kernel | errors of `bpf_perf_event_output` | `perf_scenarios.rs`: `places_that_are_none_are_refused` |
//!
//! # BPF ring buffers
//!
//! | project | scenario | ours |
//! |---|---|---|
//! | cilium/ebpf | `TestRingbufReader`: one; three with one discarded; five with two; available bytes | `ring_reader.rs`: `records_come_in_order_and_discarded_ones_do_not` |
//! | cilium/ebpf | `TestReaderBlocking`: what was there before the reader, then a wait | `ring_reader.rs`: `a_sleeping_reader_is_woken` |
//! | cilium/ebpf | `TestReaderNoWakeup` | `ring_reader.rs`: `a_wakeup_comes_when_the_consumer_has_caught_up_and_not_before` |
//! | cilium/ebpf | a busy record, on which its reader spins | `ring_reader.rs`: `a_busy_record_stops_the_consumer_until_it_is_committed` |
//! | aya | `ring_buf` of 0, 1, half, all and eight times the capacity; 511 records in 512 × 16 bytes | `ring_reader.rs`: `a_full_ring_drops_and_the_rest_is_whole` |
//! | aya | `ring_buf_epoll_wakeup`: edge-triggered | `ring_wakeup.rs`: `a_million_messages_one_by_one` |
//! | aya | `ring_buf_async_no_drop`: exact order | `ring_wakeup.rs`: `a_million_messages_in_batches` |
//! | aya | `ring_buf_async_with_drops`: seen + dropped = total | `crates/ringbuf/tests/modes.rs`: `every_reservation_is_accounted_for` |
//! | aya | `ring_buf_pinned`: opening again keeps positions | `ring_reader.rs`: `opening_again_keeps_positions` |
//! | libbpf | selftest `ringbuf`: mappings | `ring_reader.rs`: `mappings_allow_a_consumer_and_no_more` |
//! | libbpf | selftest `ringbuf`: a callback's error surfaces, and its record is consumed | `ring_reader.rs`: `a_record_that_stops_the_callback_is_consumed` |
//! | libbpf | selftest `ringbuf_n`: batches of four | `ring_reader.rs`: `a_limit_is_kept_exactly` |
//! | libbpf | selftest `ringbuf_write`: a forged `consumer_pos` | `ring_bytes.rs`: `a_forged_consumer_position_gets_no_overlap` |
//! | libbpf | selftest `ringbuf_overwrite_mode` | `crates/ringbuf/tests/modes.rs`: `an_overwriting_ring_admits_and_answers_as_linux_does` |
//! | libbpf | selftest `user_ringbuf`: misaligned, wrong offset, too large | `ring_user.rs`: `malformed_rings_get_the_kernels_error` |
//! | libbpf | selftest `user_ringbuf`: full, discards, laps | `ring_user.rs`: `a_user_ring_can_be_really_full` |
//! | libbpf-rs | `…_err_callback` | `ring_reader.rs`: `a_record_that_stops_the_callback_is_consumed` |
//!
//! # Waiting
//!
//! Our consumer of a ring buffer does not wait, and opens nothing; `ebpf_linux::Waiter` waits, and what other readers do by themselves is asked of the two together.
//!
//! | project | scenario | ours |
//! |---|---|---|
//! | cilium/ebpf | `TestReaderSetDeadline`: past, twice; `TestReaderNoWakeup`: pending records at the deadline | `crates/linux/tests/waiting.rs`: `a_wait_ends_at_its_time_and_what_woke_nobody_is_there` |
//! | cilium/ebpf | `TestReaderFlushPendingEvents`, `TestReaderBlocking`: who waits is interrupted | `crates/linux/tests/waiting.rs`: `who_waits_for_ever_can_be_told_to_stop` |
//! | cilium/ebpf | `TestPause`, perf rings, by the kernel's switch; flush | `crates/linux/tests/waiting.rs`: `perf_rings_are_flushed_when_who_waits_is_told` |
//! | cilium/ebpf | `TestPoller`, `TestPollerDeadline`, `TestPollerFlush` | `crates/linux/tests/waiting.rs`: `who_waits_for_ever_can_be_told_to_stop` |
//! | libbpf-rs | `test_object_ringbuf_raw`: two rings behind one poll | `crates/linux/tests/waiting.rs`: `several_rings_and_perf_rings_behind_one_wait` |
//! | libbpf | selftest `ringbuf_multi`: rings in an array and in a hash of maps | `crates/linux/tests/waiting.rs`: `rings_in_a_map_of_maps_are_found_by_a_program` |
//! | libbpf | selftest `user_ringbuf`: blocking reservation | `crates/linux/tests/waiting.rs`: `a_full_user_ring_is_waited_for` |
//! | libbpf-rs | `user_ringbuf`, `…_not_enough_space` | `crates/linux/tests/waiting.rs`: `a_full_user_ring_is_waited_for` |
//! | aya | `ring_buf_asyncfd_events`: tokio's `AsyncFd` | `crates/linux/tests/examples.rs`: `an_async_program_is_woken_by_edges_and_misses_nothing` |
//! | libbpf-rs | `test_object_program_autoload`: what is off has no descriptor | `crates/linux/tests/loaded.rs`: `programs_that_are_off_are_nowhere_in_the_kernel` |
//!
//! # Not asked
//!
//! What a closed reader answers when it is read: ours is closed by dropping it, after which there is nothing to ask.
