/* A scheduler that leaves everything to the kernel's defaults, and counts the tasks that it got. */
#include "../fixtures/bpf.h"

struct task_struct;

struct sched_ext_ops {
	void (*enable)(struct task_struct *task);
	char name[128];
};

__u64 enabled;

SEC("struct_ops/enable")
void enable(__u64 *context)
{
	__sync_fetch_and_add(&enabled, 1);
}

SEC(".struct_ops.link")
struct sched_ext_ops scheduler = {
	.enable = (void *)enable,
	.name = "rawbpf",
};

char _license[] SEC("license") = "GPL";
