// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
/*
 * A ring in kernel memory that a process maps as it would one of bpf(2), written from five contexts at once: two threads,
 * a timer (softirq), a high resolution timer (hard interrupt) and NMIs. None of them waits for another: there is no lock.
 */
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <asm/apic.h>
#include <asm/nmi.h>

#include "ebpf_blocks.h"
#include "module.h"

#define DATA_PAGES 64
#define META_PAGES 2
#define VIEW_PAGES (META_PAGES + 2 * DATA_PAGES)

/* What one producer does in one go, at most. */
#define TIMER_BATCH 600
#define HRTIMER_BATCH 20
#define HRTIMER_PERIOD_NS 200000
#define NMI_BATCH 20

struct producer {
	u64 next;
	u64 target;
	u64 loses;
	/* Written by this producer alone. */
	u64 inside;
};

static struct {
	struct page *pages[META_PAGES + DATA_PAGES];
	void *view;
	size_t *words;
	struct ebb_ring ring;
	wait_queue_head_t readers;
	struct irq_work wake;
	atomic64_t asked, wakeups, misplaced;
	/* CPU 0's thread is between reserve and commit. */
	bool inside;
	struct producer producers[EBB_CONTEXTS];
	struct task_struct *threads[2], *sender;
	struct timer_list timer;
	struct hrtimer hrtimer;
	atomic_t nmi_sent;
	struct mutex lock;
	bool running;
} it;

static bool is_context(enum ebb_context context)
{
	switch (context) {
	case EBB_PROCESS_0:
	case EBB_PROCESS_1:
		return in_task();
	case EBB_SOFTIRQ:
		return in_serving_softirq() && !in_hardirq();
	case EBB_HARDIRQ:
		return in_hardirq() && !in_nmi();
	default:
		return in_nmi();
	}
}

/* One record, and its wakeup. False if the ring is full. */
static bool produce(enum ebb_context context)
{
	struct producer *producer = &it.producers[context];
	struct ebb_record head = { .producer = context };
	struct ebb_reservation reservation;
	u64 sequence = producer->next;
	s32 answer;
	void *payload;

	if (!is_context(context))
		atomic64_inc(&it.misplaced);
	if (context != EBB_PROCESS_0 && context != EBB_PROCESS_1 && READ_ONCE(it.inside))
		producer->inside++;
	if (context == EBB_PROCESS_0)
		WRITE_ONCE(it.inside, true);
	barrier();

	head.length = sizeof(head) + 8 * (sequence % 13);
	head.sequence = sequence;
	payload = ebb_ring_reserve(&it.ring, head.length, &reservation, &answer);
	if (payload) {
		memset(payload, (u8)sequence, head.length);
		memcpy(payload, &head, sizeof(head));
		answer = ebb_reservation_submit(&reservation, 0);
	}
	/* Some reservations are given up again. That there is no space for one of these matters to nobody. */
	if (answer >= 0 && sequence % 32 == 0) {
		s32 refused;

		if (ebb_ring_reserve(&it.ring, 8, &reservation, &refused))
			answer |= ebb_reservation_discard(&reservation, 0);
	}

	barrier();
	if (context == EBB_PROCESS_0)
		WRITE_ONCE(it.inside, false);
	if (answer < 0)
		return false;
	if (answer == EBB_ANSWER_WAKE) {
		atomic64_inc(&it.asked);
		/* Linux wakes its ring's readers so too: it may be done from an NMI. */
		irq_work_queue(&it.wake);
	}
	producer->next = sequence + 1 == producer->loses ? sequence + 2 : sequence + 1;
	return true;
}

static bool is_done(enum ebb_context context)
{
	return it.producers[context].next >= it.producers[context].target;
}

/* Produces until there is no more to do, no more space, or enough for now. */
static void produce_some(enum ebb_context context, unsigned int count)
{
	while (count-- && !is_done(context) && produce(context))
		;
}

static void wake_readers(struct irq_work *work)
{
	atomic64_inc(&it.wakeups);
	wake_up_all(&it.readers);
}

static int in_process(void *data)
{
	enum ebb_context context = (uintptr_t)data;

	if (context == EBB_PROCESS_0)
		hrtimer_start(&it.hrtimer, ns_to_ktime(HRTIMER_PERIOD_NS), HRTIMER_MODE_REL_PINNED_HARD);
	while (!kthread_should_stop()) {
		if (is_done(context))
			schedule_timeout_interruptible(1);
		else if (!produce(context))
			cond_resched();
	}
	return 0;
}

static void in_softirq_timer(struct timer_list *timer)
{
	produce_some(EBB_SOFTIRQ, TIMER_BATCH);
	if (!is_done(EBB_SOFTIRQ))
		mod_timer(timer, jiffies + 1);
}

static enum hrtimer_restart in_hard_timer(struct hrtimer *timer)
{
	produce_some(EBB_HARDIRQ, HRTIMER_BATCH);
	if (is_done(EBB_HARDIRQ))
		return HRTIMER_NORESTART;
	hrtimer_forward_now(timer, ns_to_ktime(HRTIMER_PERIOD_NS));
	return HRTIMER_RESTART;
}

static int in_nmi_handler(unsigned int reason, struct pt_regs *regs)
{
	if (!atomic_read(&it.nmi_sent))
		return NMI_DONE;
	produce_some(EBB_NMI, NMI_BATCH);
	atomic_set(&it.nmi_sent, 0);
	return NMI_HANDLED;
}

static int send_nmis(void *unused)
{
	while (!kthread_should_stop()) {
		/* One after the other: two that are pending are one, and the second would be nobody's. */
		if (!is_done(EBB_NMI) && !atomic_xchg(&it.nmi_sent, 1))
			apic->send_IPI_mask(cpumask_of(0), NMI_VECTOR);
		usleep_range(100, 200);
	}
	return 0;
}

static struct task_struct *start_on(unsigned int cpu, int (*body)(void *), void *data, const char *name)
{
	struct task_struct *thread = kthread_create_on_cpu(body, data, cpu, name);

	if (!IS_ERR(thread))
		wake_up_process(thread);
	return thread;
}

static void stop_thread(struct task_struct **thread)
{
	if (!IS_ERR_OR_NULL(*thread))
		kthread_stop(*thread);
	*thread = NULL;
}

static void stop(void)
{
	stop_thread(&it.sender);
	stop_thread(&it.threads[0]);
	stop_thread(&it.threads[1]);
	hrtimer_cancel(&it.hrtimer);
	del_timer_sync(&it.timer);
	irq_work_sync(&it.wake);
	it.running = false;
}

static long run(const struct ebb_run __user *user)
{
	struct ebb_run asked;
	unsigned int context;

	if (copy_from_user(&asked, user, sizeof(asked)))
		return -EFAULT;
	if (num_online_cpus() < 2)
		return -ENODEV;
	stop();
	for (context = 0; context < EBB_CONTEXTS; context++) {
		struct producer *producer = &it.producers[context];

		memset(producer, 0, sizeof(*producer));
		producer->target = asked.records[context];
		producer->loses = asked.loser == context ? producer->target / 2 : U64_MAX;
	}
	it.running = true;
	it.threads[0] = start_on(0, in_process, (void *)EBB_PROCESS_0, "ebb/%u");
	it.threads[1] = start_on(1, in_process, (void *)EBB_PROCESS_1, "ebb/%u");
	it.sender = start_on(1, send_nmis, NULL, "ebb_nmi/%u");
	it.timer.expires = jiffies + 1;
	add_timer_on(&it.timer, 0);
	if (IS_ERR(it.threads[0]) || IS_ERR(it.threads[1]) || IS_ERR(it.sender)) {
		stop();
		return -ENOMEM;
	}
	return 0;
}

static long stats(struct ebb_stats __user *user)
{
	struct ebb_stats said = {
		.asked = atomic64_read(&it.asked),
		.wakeups = atomic64_read(&it.wakeups),
		.misplaced = atomic64_read(&it.misplaced),
		.unread = ebb_ring_query(&it.ring),
	};
	struct ebb_tally tally;
	unsigned int context;

	for (context = 0; context < EBB_CONTEXTS; context++)
		said.inside[context] = READ_ONCE(it.producers[context].inside);
	ebb_ring_tally(&it.ring, &tally);
	said.reserved = tally.reserved;
	said.submitted = tally.submitted;
	said.discarded = tally.discarded;
	said.full = tally.full;
	said.outstanding = tally.outstanding;
	return copy_to_user(user, &said, sizeof(said)) ? -EFAULT : 0;
}

static long transactions(struct ebb_transactions __user *user)
{
	struct ebb_transactions asked;
	long failed;

	if (copy_from_user(&asked, user, sizeof(asked)))
		return -EFAULT;
	failed = ebb_run_transactions(&asked);
	if (!failed && copy_to_user(user, &asked, sizeof(asked)))
		return -EFAULT;
	return failed;
}

static long choose(struct ebb_choice __user *user)
{
	struct ebb_choice asked;
	long failed;

	if (copy_from_user(&asked, user, sizeof(asked)))
		return -EFAULT;
	failed = ebb_choose(&asked);
	if (!failed && copy_to_user(user, &asked, sizeof(asked)))
		return -EFAULT;
	return failed;
}

static long device_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	void __user *user = (void __user *)argument;
	long result;

	if (mutex_lock_interruptible(&it.lock))
		return -EINTR;
	switch (command) {
	case EBB_IOC_RUN:
		result = run(user);
		break;
	case EBB_IOC_STATS:
		result = stats(user);
		break;
	case EBB_IOC_TRANSACTIONS:
		result = transactions(user);
		break;
	case EBB_IOC_CHOOSE:
		result = choose(user);
		break;
	default:
		result = -ENOTTY;
	}
	mutex_unlock(&it.lock);
	return result;
}

/* As Linux maps a ring of its own: the consumer's page may be written, the rest is read only. */
static int device_mmap(struct file *file, struct vm_area_struct *vma)
{
	if (vma->vm_flags & VM_WRITE) {
		if (vma->vm_pgoff != 0 || vma->vm_end - vma->vm_start != PAGE_SIZE)
			return -EPERM;
	} else {
		vma->vm_flags &= ~VM_MAYWRITE;
	}
	return remap_vmalloc_range(vma, it.view, vma->vm_pgoff);
}

static __poll_t device_poll(struct file *file, struct poll_table_struct *table)
{
	poll_wait(file, &it.readers, table);
	return ebb_ring_query(&it.ring) ? EPOLLIN | EPOLLRDNORM : 0;
}

static int device_release(struct inode *inode, struct file *file)
{
	mutex_lock(&it.lock);
	stop();
	mutex_unlock(&it.lock);
	return 0;
}

static const struct file_operations device_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = device_ioctl,
	.mmap = device_mmap,
	.poll = device_poll,
	.release = device_release,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "ebb_ring",
	.fops = &device_operations,
};

static void free_memory(void)
{
	unsigned int page;

	vunmap(it.view);
	kvfree(it.words);
	for (page = 0; page < ARRAY_SIZE(it.pages); page++)
		if (it.pages[page])
			__free_page(it.pages[page]);
}

/* Consumer's page, producer's page, data, and the data again behind itself: a record may run over the end. */
static int allocate_memory(void)
{
	struct ebb_ring_memory memory = {
		.size = DATA_PAGES * PAGE_SIZE,
		.page_size = PAGE_SIZE,
		.mirrored = true,
	};
	struct page **view;
	unsigned int page;

	for (page = 0; page < ARRAY_SIZE(it.pages); page++) {
		it.pages[page] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!it.pages[page])
			return -ENOMEM;
	}
	view = kmalloc_array(VIEW_PAGES, sizeof(*view), GFP_KERNEL);
	if (!view)
		return -ENOMEM;
	memcpy(view, it.pages, sizeof(it.pages));
	memcpy(view + ARRAY_SIZE(it.pages), it.pages + META_PAGES, DATA_PAGES * sizeof(*view));
	it.view = vmap(view, VIEW_PAGES, VM_MAP | VM_USERMAP, PAGE_KERNEL);
	kfree(view);
	memory.private_length = ebb_ring_private_words(memory.size);
	it.words = kvcalloc(memory.private_length, sizeof(*it.words), GFP_KERNEL);
	if (!it.view || !it.words)
		return -ENOMEM;
	memory.consumer_page = it.view;
	memory.producer_page = it.view + PAGE_SIZE;
	memory.data = it.view + META_PAGES * PAGE_SIZE;
	memory.private_words = it.words;
	return ebb_ring_init(&it.ring, &memory) == EBB_ANSWER_DONE ? 0 : -EINVAL;
}

static int __init ebb_init(void)
{
	int failed;

	mutex_init(&it.lock);
	init_waitqueue_head(&it.readers);
	init_irq_work(&it.wake, wake_readers);
	timer_setup(&it.timer, in_softirq_timer, TIMER_PINNED);
	hrtimer_init(&it.hrtimer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	it.hrtimer.function = in_hard_timer;

	failed = allocate_memory();
	if (failed)
		goto memory;
	failed = register_nmi_handler(NMI_LOCAL, in_nmi_handler, 0, "ebb");
	if (failed)
		goto memory;
	failed = misc_register(&device);
	if (failed)
		goto nmi;
	return 0;
nmi:
	unregister_nmi_handler(NMI_LOCAL, "ebb");
memory:
	free_memory();
	return failed;
}

static void __exit ebb_exit(void)
{
	misc_deregister(&device);
	stop();
	unregister_nmi_handler(NMI_LOCAL, "ebb");
	free_memory();
}

module_init(ebb_init);
module_exit(ebb_exit);
MODULE_DESCRIPTION("ebpf-blocks in a kernel: a ring, an object file, transactions");
MODULE_LICENSE("Dual MIT/GPL");
