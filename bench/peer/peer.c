/*
 * The peer of the benchmarks: the same work as the TypeScript side, in plain C over the raw system calls.
 * Reads commands from stdin, answers each with one line. All times in nanoseconds.
 *
 *   lookup hash|array N   CPU time of N lookups
 *   consume N             CPU time of consuming N records of 64 bytes through a callback
 *   latency N             wake-up latencies of N single records, as "p50 p99"
 *   produce N             (descriptor 3 is a program) runs it N times at random gaps of 1 to 5 ms
 *   idle MILLISECONDS     CPU time of waiting on an empty ring buffer that long
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int bpf(int cmd, union bpf_attr *attr, unsigned size)
{
	return syscall(SYS_bpf, cmd, attr, size);
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int map_create(unsigned type, unsigned key, unsigned value, unsigned entries)
{
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = key;
	attr.value_size = value;
	attr.max_entries = entries;
	fd = bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
	if (fd < 0)
		die("BPF_MAP_CREATE");
	return fd;
}

static int lookup(int fd, const void *key, void *value)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = fd;
	attr.key = (uintptr_t)key;
	attr.value = (uintptr_t)value;
	return bpf(BPF_MAP_LOOKUP_ELEM, &attr, 32);
}

static void run_lookup(const char *type, long count)
{
	static int fds[2];
	int which = strcmp(type, "array") == 0;
	uint64_t value = 0, sum = 0, before;

	if (!fds[which]) {
		fds[which] = map_create(which ? BPF_MAP_TYPE_ARRAY : BPF_MAP_TYPE_HASH, 4, 8, 1024);
		for (uint32_t k = 0; k < 1024; k++) {
			union bpf_attr attr;

			memset(&attr, 0, sizeof(attr));
			value = k * 3ull;
			attr.map_fd = fds[which];
			attr.key = (uintptr_t)&k;
			attr.value = (uintptr_t)&value;
			if (bpf(BPF_MAP_UPDATE_ELEM, &attr, 32))
				die("BPF_MAP_UPDATE_ELEM");
		}
	}
	before = now(CLOCK_PROCESS_CPUTIME_ID);
	for (long i = 0; i < count; i++) {
		uint32_t key = i & 1023;

		if (lookup(fds[which], &key, &value))
			die("BPF_MAP_LOOKUP_ELEM");
		sum += value;
	}
	printf("%llu %llu\n", (unsigned long long)(now(CLOCK_PROCESS_CPUTIME_ID) - before), (unsigned long long)sum);
}

#define INSN(c, d, s, o, i) ((struct bpf_insn){ .code = c, .dst_reg = d, .src_reg = s, .off = o, .imm = i })

/* Fills 64 bytes of stack with the time, and outputs them to the ring buffer. */
static int load_producer(int ring)
{
	struct bpf_insn code[32];
	union bpf_attr attr;
	int n = 0, fd;

	code[n++] = INSN(0x85, 0, 0, 0, BPF_FUNC_ktime_get_ns);
	for (int at = -64; at < 0; at += 8)
		code[n++] = INSN(0x7b, 10, 0, at, 0);
	code[n++] = INSN(0x18, 1, BPF_PSEUDO_MAP_FD, 0, ring);
	code[n++] = INSN(0, 0, 0, 0, 0);
	code[n++] = INSN(0xbf, 2, 10, 0, 0);
	code[n++] = INSN(0x07, 2, 0, 0, -64);
	code[n++] = INSN(0xb7, 3, 0, 0, 64);
	code[n++] = INSN(0xb7, 4, 0, 0, 0);
	code[n++] = INSN(0x85, 0, 0, 0, BPF_FUNC_ringbuf_output);
	code[n++] = INSN(0xb7, 0, 0, 0, 0);
	code[n++] = INSN(0x95, 0, 0, 0, 0);
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attr.insns = (uintptr_t)code;
	attr.insn_cnt = n;
	attr.license = (uintptr_t)"GPL";
	fd = bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		die("BPF_PROG_LOAD");
	return fd;
}

static void run_program(int fd, unsigned repeat)
{
	union bpf_attr attr;
	char data[64] = { 0 };

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = fd;
	attr.test.data_in = (uintptr_t)data;
	attr.test.data_size_in = sizeof(data);
	attr.test.repeat = repeat;
	if (bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr)))
		die("BPF_PROG_TEST_RUN");
}

struct ring {
	int map;
	unsigned long mask;
	unsigned long *consumer, *producer;
	char *data;
};

static struct ring ring_open(unsigned size)
{
	struct ring r = { .map = map_create(BPF_MAP_TYPE_RINGBUF, 0, 0, size), .mask = size - 1 };
	char *memory;

	r.consumer = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, r.map, 0);
	memory = mmap(NULL, 4096 + 2ul * size, PROT_READ, MAP_SHARED, r.map, 4096);
	if (r.consumer == MAP_FAILED || memory == MAP_FAILED)
		die("mmap");
	r.producer = (unsigned long *)memory;
	r.data = memory + 4096;
	return r;
}

typedef int (*sample_fn)(void *ctx, void *data, size_t size);

/* As the usual library does it: the callback by pointer, the position given back after each record. */
__attribute__((noinline)) static long ring_consume(struct ring *r, sample_fn callback, void *ctx)
{
	unsigned long position = __atomic_load_n(r->consumer, __ATOMIC_ACQUIRE), end;
	long count = 0;

	end = __atomic_load_n(r->producer, __ATOMIC_ACQUIRE);
	while (position < end) {
		uint32_t *header = (uint32_t *)(r->data + (position & r->mask));
		uint32_t length = __atomic_load_n(header, __ATOMIC_ACQUIRE);

		if (length & BPF_RINGBUF_BUSY_BIT)
			break;
		position += ((length & ~(3u << 30)) + 8 + 7) & ~7ul;
		if (!(length & BPF_RINGBUF_DISCARD_BIT)) {
			callback(ctx, header + 2, length);
			count++;
		}
		__atomic_store_n(r->consumer, position, __ATOMIC_RELEASE);
	}
	return count;
}

static int sum_fields(void *ctx, void *data, size_t size)
{
	uint64_t *fields = data, *sum = ctx;

	(void)size;
	*sum += (uint32_t)fields[0] + (uint32_t)fields[3] + (uint32_t)fields[7];
	return 0;
}

static void run_consume(long count)
{
	static struct ring ring;
	static int program;
	uint64_t sum = 0, before, cpu;
	long got;

	if (!program) {
		ring = ring_open(64 << 20);
		program = load_producer(ring.map);
	}
	run_program(program, count);
	before = now(CLOCK_PROCESS_CPUTIME_ID);
	got = ring_consume(&ring, sum_fields, &sum);
	cpu = now(CLOCK_PROCESS_CPUTIME_ID) - before;
	if (got != count) {
		fprintf(stderr, "consumed %ld of %ld records\n", got, count);
		exit(1);
	}
	printf("%llu %llu\n", (unsigned long long)cpu, (unsigned long long)sum);
}

static void produce(int program, long count)
{
	unsigned seed = getpid();

	for (long i = 0; i < count; i++) {
		usleep(1000 + rand_r(&seed) % 4000);
		run_program(program, 1);
	}
}

struct latencies {
	uint64_t *values;
	long count;
};

static int take_latency(void *ctx, void *data, size_t size)
{
	struct latencies *l = ctx;

	(void)size;
	l->values[l->count++] = now(CLOCK_MONOTONIC) - *(uint64_t *)data;
	return 0;
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void run_latency(long count)
{
	struct ring ring = ring_open(1 << 20);
	struct latencies l = { malloc(count * sizeof(uint64_t)), 0 };
	struct epoll_event event = { .events = EPOLLIN };
	int program = load_producer(ring.map), epoll = epoll_create1(0);
	pid_t child;

	epoll_ctl(epoll, EPOLL_CTL_ADD, ring.map, &event);
	child = fork();
	if (child == 0) {
		produce(program, count);
		_exit(0);
	}
	while (l.count < count) {
		if (epoll_wait(epoll, &event, 1, -1) > 0)
			ring_consume(&ring, take_latency, &l);
	}
	waitpid(child, NULL, 0);
	qsort(l.values, count, sizeof(uint64_t), ascending);
	printf("%llu %llu\n", (unsigned long long)l.values[count / 2], (unsigned long long)l.values[count * 99 / 100]);
	free(l.values);
	close(epoll);
	close(program);
	close(ring.map);
}

static void run_idle(long milliseconds)
{
	struct ring ring = ring_open(4096);
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(0);
	uint64_t before = now(CLOCK_PROCESS_CPUTIME_ID);

	epoll_ctl(epoll, EPOLL_CTL_ADD, ring.map, &event);
	epoll_wait(epoll, &event, 1, milliseconds);
	printf("%llu\n", (unsigned long long)(now(CLOCK_PROCESS_CPUTIME_ID) - before));
	close(epoll);
	close(ring.map);
}

int main(void)
{
	char line[128], word[32];
	long n;

	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "lookup %31s %ld", word, &n) == 2)
			run_lookup(word, n);
		else if (sscanf(line, "consume %ld", &n) == 1)
			run_consume(n);
		else if (sscanf(line, "latency %ld", &n) == 1)
			run_latency(n);
		else if (sscanf(line, "produce %ld", &n) == 1)
			produce(3, n), puts("done");
		else if (sscanf(line, "idle %ld", &n) == 1)
			run_idle(n);
		else
			return 2;
		fflush(stdout);
	}
	return 0;
}
