// Reads the arguments of the probes of usdt-target.c with the functions of libbpf's header.
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>

struct record {
	__u64 cookie;
	__s64 count;
	__s64 args[12];
	__s64 results[12];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} records SEC(".maps");

static __always_inline int note(struct pt_regs *ctx)
{
	struct record *record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);
	if (!record)
		return 0;
	record->cookie = bpf_usdt_cookie(ctx);
	record->count = bpf_usdt_arg_cnt(ctx);
	for (int i = 0; i < 12; i++) {
		long value = 0;
		record->results[i] = bpf_usdt_arg(ctx, i, &value);
		record->args[i] = value;
	}
	bpf_ringbuf_submit(record, 0);
	return 0;
}

SEC("usdt")
int read_one(struct pt_regs *ctx)
{
	return note(ctx);
}

SEC("usdt")
int read_two(struct pt_regs *ctx)
{
	return note(ctx);
}

char _license[] SEC("license") = "GPL";
