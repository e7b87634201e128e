#ifndef EBPF_BLOCKS_H
#define EBPF_BLOCKS_H

/* Generated from the crate's sources: see tests/header.rs. */


#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif


/*
 What a function says: negative is a failure.
 */
enum ebb_answer
#if __STDC_VERSION__ >= 202311L
  : int32_t
#endif // __STDC_VERSION__ >= 202311L
 {
  /*
   Done; of a commit: the consumer need not be woken.
   */
  EBB_ANSWER_DONE = 0,
  /*
   Done, and the consumer is to be woken. Also the answer yes.
   */
  EBB_ANSWER_WAKE = 1,
  /*
   The ring is full: the consumer has not read enough.
   */
  EBB_ANSWER_FULL = -1,
  /*
   An older record is not committed, and holds up the ring.
   */
  EBB_ANSWER_OUTSTANDING = -2,
  /*
   No such record ever fits the ring.
   */
  EBB_ANSWER_TOO_LONG = -3,
  /*
   Sizes or positions are not those of a ring at rest, or there are too few private words.
   */
  EBB_ANSWER_NO_RING = -4,
  /*
   The bytes are not an object file, or not one that is understood; or there is no room for what it holds.
   */
  EBB_ANSWER_NO_OBJECT = -5,
  /*
   There is no such program.
   */
  EBB_ANSWER_NO_PROGRAM = -6,
  /*
   The choice has been made: it cannot be changed.
   */
  EBB_ANSWER_FROZEN = -7,
  /*
   Nothing of the transaction is in the engine; the status says why.
   */
  EBB_ANSWER_NOT_DONE = -8,
  /*
   This thread is inside a transaction of the same session already.
   */
  EBB_ANSWER_NESTED = -9,
  /*
   The answer to the commit was lost: all of it is in the engine, or nothing. Look.
   */
  EBB_ANSWER_UNKNOWN = -10,
};
#if __STDC_VERSION__ >= 202311L
typedef enum ebb_answer ebb_answer;
#else
typedef int32_t ebb_answer;
#endif // __STDC_VERSION__ >= 202311L

/*
 A session, shared by threads. Not to be moved or copied once it is made.
 */
struct ebb_filters {
  uint64_t opaque[80];
};

/*
 The calls of the filter engine, each with `context`. They give the engine's status: 0 is success.
 */
struct ebb_engine_calls {
  /*
   Given to each call.
   */
  void *context;
  /*
   Opens a session.
   */
  uint32_t (*open)(void *context, uint64_t *session);
  /*
   Closes it; what is open in it is undone.
   */
  uint32_t (*close)(void *context, uint64_t session);
  /*
   Begins a transaction.
   */
  uint32_t (*begin)(void *context, uint64_t session, bool read_only);
  /*
   Commits it.
   */
  uint32_t (*commit)(void *context, uint64_t session);
  /*
   Aborts it.
   */
  uint32_t (*abort)(void *context, uint64_t session);
  /*
   Adds an object, and gives what it is deleted by.
   */
  uint32_t (*add)(void *context, uint64_t session, const void *object, uint64_t *id);
  /*
   Deletes one.
   */
  uint32_t (*remove)(void *context, uint64_t session, uint64_t id);
};

/*
 An open transaction, for as long as the work lasts that is given it.
 */
struct ebb_transaction {
  uint8_t opaque[0];
};

/*
 What is done in a transaction. It may be called again when the transaction is lost. 0 commits, anything else aborts.
 */
typedef uint32_t (*ebb_work)(void *argument, struct ebb_transaction *transaction);

/*
 An object file's table: room for 64 programs and 64 maps. Put it in memory of its own, not on the stack.
 */
struct ebb_object {
  uint64_t opaque[1024];
};

/*
 A ring's producing side. Any number of contexts may use it at once; it is not to be moved or copied once it is made.
 */
struct ebb_ring {
  uint64_t opaque[24];
};

/*
 Where a ring stands. Everything must stay there as long as the ring is used.
 */
struct ebb_ring_memory {
  /*
   Begins with `consumer_pos`.
   */
  void *consumer_page;
  /*
   Begins with `producer_pos`, `pending_pos` and `overwrite_pos`.
   */
  void *producer_page;
  /*
   `size` bytes, mapped twice in a row if `mirrored`.
   */
  void *data;
  /*
   A power of two.
   */
  size_t size;
  /*
   Bytes of a page.
   */
  size_t page_size;
  /*
   So many words as `ebb_ring_private_words` says, all zero, where no consumer can write.
   */
  size_t *private_words;
  /*
   How many they are.
   */
  size_t private_length;
  /*
   Whether the data is mapped twice in a row.
   */
  bool mirrored;
  /*
   Whether records count their pages from the data, as eBPF for Windows does, or from Linux's ring.
   */
  bool pages_from_data;
  /*
   How long a producer makes way for another one, in spin-loop hints. 0 if producers interrupt each other on one CPU.
   */
  uint32_t spins;
};

/*
 A record between reserve and commit.
 */
struct ebb_reservation {
  uint64_t opaque[10];
};

/*
 What became of every reservation.
 */
struct ebb_tally {
  /*
   Reservations made.
   */
  size_t reserved;
  /*
   Of these, submitted.
   */
  size_t submitted;
  /*
   Of these, discarded.
   */
  size_t discarded;
  /*
   Refused because the consumer had not read enough.
   */
  size_t full;
  /*
   Refused because an older record was not committed.
   */
  size_t outstanding;
  /*
   Refused because no such record ever fits.
   */
  size_t too_long;
};

/*
 Makes a session, which is opened when it is first needed.

 # Safety
 `filters` has room, `calls` can be read, and its functions may be called from any thread until `ebb_filters_destroy`.
 */
void ebb_filters_init(struct ebb_filters *filters,
                      const struct ebb_engine_calls *calls);

/*
 Carries out a transaction: waits for those who came before, and tries again what passes. `Done`, or why not, with the status that says so in `status`.

 # Safety
 `filters` is made, `status` has room, and `work` may be called with `argument`.
 */
int32_t ebb_filters_transact(const struct ebb_filters *filters,
                             bool read_only,
                             ebb_work work,
                             void *argument,
                             uint32_t *status);

/*
 Closes the session.

 # Safety
 `filters` is made, nobody uses it, and afterwards it is gone.
 */
void ebb_filters_destroy(struct ebb_filters *filters);

/*
 Adds an object. The engine's status; 1 when the transaction has ended, or was read-only.

 # Safety
 Within the work that was given the transaction; `object` is what the engine's `add` takes, `id` has room.
 */
uint32_t ebb_transaction_add(struct ebb_transaction *transaction, const void *object, uint64_t *id);

/*
 Deletes an object. The engine's status; 1 when the transaction has ended, or was read-only.

 # Safety
 Within the work that was given the transaction.
 */
uint32_t ebb_transaction_delete(struct ebb_transaction *transaction, uint64_t id);

/*
 Opens an object file. The bytes must stay where they are, unchanged, as long as the table is used.

 What is wrong with an object is written into `message` as text that ends with a zero byte, cut to `message_length` bytes. `message` may be null.

 # Safety
 `object` has room, `data` is valid for reads of `length` bytes, `message` for writes of `message_length`.
 */
int32_t ebb_object_open(struct ebb_object *object,
                        const void *data,
                        size_t length,
                        char *message,
                        size_t message_length);

/*
 How many programs there are, subprograms not counted.

 # Safety
 `object` is open.
 */
size_t ebb_object_program_count(const struct ebb_object *object);

/*
 The name of a program, `*length` bytes that no zero byte follows; null when there is no such program.

 # Safety
 `object` is open, `length` has room.
 */
const char *ebb_object_program_name(const struct ebb_object *object, size_t index, size_t *length);

/*
 Whether a program is to be loaded: 1 or 0.

 # Safety
 `object` is open.
 */
int32_t ebb_object_autoload(const struct ebb_object *object, size_t index);

/*
 Says whether a program is to be loaded. Any thread may.

 # Safety
 `object` is open.
 */
int32_t ebb_object_set_autoload(const struct ebb_object *object, size_t index, bool autoload);

/*
 Makes the choice final: the one who is told `Done` loads.

 # Safety
 `object` is open.
 */
int32_t ebb_object_freeze(const struct ebb_object *object);

/*
 A new mutex, unlocked. It may sleep, it must not fail.
 */
extern void *ebb_os_mutex_new(void);

/*
 Frees a mutex, which is unlocked.
 */
extern void ebb_os_mutex_free(void *mutex);

/*
 Locks a mutex; sleeps until it can.
 */
extern void ebb_os_mutex_lock(void *mutex);

/*
 Locks a mutex if nobody else has it.
 */
extern bool ebb_os_mutex_try_lock(void *mutex);

/*
 Unlocks a mutex, which this thread has locked.
 */
extern void ebb_os_mutex_unlock(void *mutex);

/*
 Nanoseconds since some moment. Never goes back.
 */
extern uint64_t ebb_os_now(void);

/*
 Sleeps for so many nanoseconds.
 */
extern void ebb_os_sleep(uint64_t nanoseconds);

/*
 A number that no other living thread has.
 */
extern uint64_t ebb_os_thread(void);

/*
 Sleeps until `*word` differs from `seen`, or the clock shows `until` (nanoseconds). May return early. Must not miss an
 `ebb_os_wake` for the word that comes after it has looked.
 */
extern void ebb_os_wait(const uint32_t *word,
                        uint32_t seen,
                        uint64_t until);

/*
 Wakes everybody who sleeps on the word, which has been changed before.
 */
extern void ebb_os_wake(const uint32_t *word);

/*
 Private words that a ring of `size` bytes needs.
 */
size_t ebb_ring_private_words(size_t size);

/*
 Makes a ring, which goes on where its positions stand.

 # Safety
 `memory` says the truth, `ring` has room, and nobody else produces into this memory.
 */
int32_t ebb_ring_init(struct ebb_ring *ring, const struct ebb_ring_memory *memory);

/*
 Copies a payload into a record of its own and submits it. Says whether to wake the consumer.

 # Safety
 `ring` is made, and `payload` is valid for reads of `length` bytes.
 */
int32_t ebb_ring_output(const struct ebb_ring *ring, const void *payload, size_t length, uint64_t flags);

/*
 Reserves a record and gives its payload, which the caller writes; null, with the reason in `answer`, when there is no space.

 # Safety
 `ring` is made and outlives the reservation; `reservation` and `answer` have room. What is reserved is committed once.
 */
void *ebb_ring_reserve(const struct ebb_ring *ring,
                       size_t length,
                       struct ebb_reservation *reservation,
                       int32_t *answer);

/*
 Makes a record readable. Says whether to wake the consumer.

 # Safety
 The reservation was made and not committed; afterwards it is gone.
 */
int32_t ebb_reservation_submit(struct ebb_reservation *reservation, uint64_t flags);

/*
 Gives a record up. Says whether to wake the consumer.

 # Safety
 As `ebb_reservation_submit`.
 */
int32_t ebb_reservation_discard(struct ebb_reservation *reservation, uint64_t flags);

/*
 Bytes that are not read yet.

 # Safety
 `ring` is made.
 */
size_t ebb_ring_query(const struct ebb_ring *ring);

/*
 What became of every reservation.

 # Safety
 `ring` is made, `tally` has room.
 */
void ebb_ring_tally(const struct ebb_ring *ring, struct ebb_tally *tally);

#endif  /* EBPF_BLOCKS_H */
