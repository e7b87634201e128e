// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
/* An object file, opened in the kernel: which programs there are, and choosing among them. */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "ebpf_blocks.h"
#include "module.h"

#define LONGEST (1 << 20)

static u64 chosen(const struct ebb_object *object, u64 programs)
{
	u64 index, on = 0;

	for (index = 0; index < programs && index < 64; index++)
		if (ebb_object_autoload(object, index) == 1)
			on |= 1ULL << index;
	return on;
}

long ebb_choose(struct ebb_choice *choice)
{
	struct ebb_object *object;
	long failed = -ENOMEM;
	void *bytes;
	u64 index;

	if (choice->length == 0 || choice->length > LONGEST)
		return -EINVAL;
	object = kvmalloc(sizeof(*object), GFP_KERNEL);
	bytes = kvmalloc(choice->length, GFP_KERNEL);
	if (!object || !bytes)
		goto out;
	failed = -EFAULT;
	if (copy_from_user(bytes, (void __user *)(uintptr_t)choice->bytes, choice->length))
		goto out;

	/* Half an object says what is wrong with it. */
	choice->cut = ebb_object_open(object, bytes, choice->length / 2, choice->message, sizeof(choice->message));

	failed = -EINVAL;
	if (ebb_object_open(object, bytes, choice->length, NULL, 0) != EBB_ANSWER_DONE)
		goto out;
	choice->programs = ebb_object_program_count(object);
	choice->on_at_first = chosen(object, choice->programs);
	for (index = 0; index < choice->programs; index++) {
		size_t length;
		const char *name = ebb_object_program_name(object, index, &length);

		ebb_object_set_autoload(object, index, index + 1 == choice->programs);
		pr_info("ebb_ring: program %.*s %s\n", (int)length, name,
			ebb_object_autoload(object, index) ? "is loaded" : "is skipped");
	}
	choice->on_after = chosen(object, choice->programs);
	choice->frozen = ebb_object_freeze(object);
	choice->frozen_again = ebb_object_freeze(object);
	choice->changed_late = ebb_object_set_autoload(object, 0, true);
	failed = 0;
out:
	kvfree(bytes);
	kvfree(object);
	return failed;
}
