/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0 */
/* What the module and the program in the guest say to each other; guest.rs has the same structures. */
#ifndef EBB_MODULE_H
#define EBB_MODULE_H

#include <linux/types.h>
#include <linux/ioctl.h>

/* Who produces. */
enum ebb_context {
	EBB_PROCESS_0, /* a thread on CPU 0, where all the interrupts are too */
	EBB_PROCESS_1, /* a thread on CPU 1 */
	EBB_SOFTIRQ, /* a timer */
	EBB_HARDIRQ, /* a high resolution timer */
	EBB_NMI, /* sent from CPU 1 */
	EBB_CONTEXTS,
};

/* The start of each record; the rest of it is bytes of the low byte of `sequence`. */
struct ebb_record {
	__u32 producer;
	__u32 length;
	__u64 sequence;
};

struct ebb_run {
	__u64 records[EBB_CONTEXTS];
	/* The producer that leaves out one record, or a number that none has. */
	__u64 loser;
};

struct ebb_stats {
	/* Commits that asked for a wakeup, and wakeups made: several may be asked before one is made. */
	__u64 asked;
	__u64 wakeups;
	/* Records produced while CPU 0's thread was between reserve and commit, by who produced them. */
	__u64 inside[EBB_CONTEXTS];
	/* Calls in a context that was not the one meant. Must be 0. */
	__u64 misplaced;
	__u64 reserved;
	__u64 submitted;
	__u64 discarded;
	__u64 full;
	__u64 outstanding;
	__u64 unread;
};

struct ebb_transactions {
	__u64 threads;
	__u64 each;
	/* Begins that the engine refused because the session was in a transaction: by themselves, and serialized. */
	__u64 refused_alone;
	__u64 refused_serialized;
	/* Serialized: transactions that were not done, and objects that are in the engine. */
	__u64 failed;
	__u64 objects;
	/* Whether a transaction inside one of the same thread was refused, instead of waiting for itself. */
	__u64 nested_refused;
};

struct ebb_choice {
	__u64 bytes;
	__u64 length;
	__u64 programs;
	/* Bit i: program i is loaded, at first and after all but the last were switched off. */
	__u64 on_at_first;
	__u64 on_after;
	/* Answers of: the first freeze, the second, a change afterwards, opening the bytes cut in half. */
	__s64 frozen;
	__s64 frozen_again;
	__s64 changed_late;
	__s64 cut;
	char message[128];
};

#define EBB_IOC_RUN _IOW('b', 1, struct ebb_run)
#define EBB_IOC_STATS _IOR('b', 2, struct ebb_stats)
#define EBB_IOC_TRANSACTIONS _IOWR('b', 3, struct ebb_transactions)
#define EBB_IOC_CHOOSE _IOWR('b', 4, struct ebb_choice)

#ifdef __KERNEL__
long ebb_run_transactions(struct ebb_transactions *transactions);
long ebb_choose(struct ebb_choice *choice);
#endif

#endif
