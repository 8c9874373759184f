/*
 * The peer of maps.bench.ts over libbpf. Reads commands from stdin, answers each with one line: nanoseconds of CPU
 * time, and a sum that must be the same everywhere.
 *
 *   lookup TYPE N     N lookups in a map of 1024 entries (hash, array, percpu_array)
 *   update TYPE N     N updates of it
 *   batch N           reads a hash of N entries with batches of 65536, and adds the fields up
 *   keys N            the same from key to key
 *   ring N            takes N records of 64 bytes out of a ring buffer, through a callback
 */
#include <errno.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct value {
	uint64_t a, b;
	uint32_t c, d;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int cpus;
static uint64_t places[1024];

static enum bpf_map_type type_of(const char *name)
{
	if (!strcmp(name, "hash"))
		return BPF_MAP_TYPE_HASH;
	return strcmp(name, "array") ? BPF_MAP_TYPE_PERCPU_ARRAY : BPF_MAP_TYPE_ARRAY;
}

static int small_map(const char *name)
{
	static int fds[256];
	enum bpf_map_type type = type_of(name);

	if (!fds[type]) {
		fds[type] = bpf_map_create(type, "small", 4, 8, 1024, NULL);
		if (fds[type] < 0)
			die("bpf_map_create");
		for (uint32_t k = 0; k < 1024; k++) {
			for (int i = 0; i < cpus; i++)
				places[i] = k * 3ull;
			if (bpf_map_update_elem(fds[type], &k, places, BPF_ANY))
				die("bpf_map_update_elem");
		}
	}
	return fds[type];
}

static void element(const char *word, const char *name, long count)
{
	int fd = small_map(name);
	uint64_t sum = 0, before = now();

	for (long i = 0; i < count; i++) {
		uint32_t key = i & 1023;

		if (word[0] == 'l') {
			if (bpf_map_lookup_elem(fd, &key, places))
				die("bpf_map_lookup_elem");
		} else {
			places[0] = key * 3ull;
			if (bpf_map_update_elem(fd, &key, places, BPF_ANY))
				die("bpf_map_update_elem");
		}
		sum += places[0];
	}
	printf("%llu %llu\n", (unsigned long long)(now() - before), (unsigned long long)sum);
}

static int big_map(long count)
{
	static int fd;
	static long had;
	uint32_t *keys;
	struct value *values;
	uint32_t n = count;

	if (had == count)
		return fd;
	fd = bpf_map_create(BPF_MAP_TYPE_HASH, "big", 4, sizeof(struct value), count, NULL);
	keys = malloc(count * sizeof(*keys));
	values = malloc(count * sizeof(*values));
	if (fd < 0 || !keys || !values)
		die("bpf_map_create");
	for (long i = 0; i < count; i++) {
		keys[i] = i;
		values[i] = (struct value){ i, 2ull * i, i & 0xff, 7 };
	}
	if (bpf_map_update_batch(fd, keys, values, &n, NULL))
		die("bpf_map_update_batch");
	free(keys);
	free(values);
	had = count;
	return fd;
}

#define BATCH 65536

static void read_batches(long count)
{
	static uint32_t keys[BATCH];
	static struct value values[BATCH];
	int fd = big_map(count), error = 0;
	uint32_t token = 0, n;
	uint64_t sum = 0, before = now();
	void *in = NULL;

	while (!error) {
		n = BATCH;
		error = bpf_map_lookup_batch(fd, in, &token, keys, values, &n, NULL);
		if (error && error != -ENOENT)
			die("bpf_map_lookup_batch");
		for (uint32_t i = 0; i < n; i++)
			sum += keys[i] + values[i].a + values[i].b + values[i].c + values[i].d;
		in = &token;
	}
	printf("%llu %llu\n", (unsigned long long)(now() - before), (unsigned long long)sum);
}

static void read_keys(long count)
{
	int fd = big_map(count);
	uint32_t key, next;
	struct value v;
	uint64_t sum = 0, before = now();
	void *from = NULL;

	while (!bpf_map_get_next_key(fd, from, &next)) {
		key = next;
		from = &key;
		if (bpf_map_lookup_elem(fd, &key, &v))
			continue;
		sum += key + v.a + v.b + v.c + v.d;
	}
	printf("%llu %llu\n", (unsigned long long)(now() - before), (unsigned long long)sum);
}

#define INSN(c, d, s, o, i) ((struct bpf_insn){ .code = c, .dst_reg = d, .src_reg = s, .off = o, .imm = i })

static uint64_t ring_sum;

static int take(void *ctx, void *data, size_t size)
{
	uint64_t *fields = data;

	(void)ctx;
	(void)size;
	for (int i = 0; i < 8; i++)
		ring_sum += fields[i] > 0;
	return 0;
}

static void read_ring(long count)
{
	static struct ring_buffer *ring;
	static int program;
	LIBBPF_OPTS(bpf_test_run_opts, run);
	char data[64] = { 0 };
	uint64_t before;
	int got;

	if (!ring) {
		int map = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "ring", 0, 0, 64 << 20, NULL);
		struct bpf_insn code[32];
		int n = 0;

		code[n++] = INSN(0x85, 0, 0, 0, BPF_FUNC_ktime_get_ns);
		for (int at = -64; at < 0; at += 8)
			code[n++] = INSN(0x7b, 10, 0, at, 0);
		code[n++] = INSN(0x18, 1, BPF_PSEUDO_MAP_FD, 0, map);
		code[n++] = INSN(0, 0, 0, 0, 0);
		code[n++] = INSN(0xbf, 2, 10, 0, 0);
		code[n++] = INSN(0x07, 2, 0, 0, -64);
		code[n++] = INSN(0xb7, 3, 0, 0, 64);
		code[n++] = INSN(0xb7, 4, 0, 0, 0);
		code[n++] = INSN(0x85, 0, 0, 0, BPF_FUNC_ringbuf_output);
		code[n++] = INSN(0xb7, 0, 0, 0, 0);
		code[n++] = INSN(0x95, 0, 0, 0, 0);
		program = bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "producer", "GPL", code, n, NULL);
		ring = ring_buffer__new(map, take, NULL, NULL);
		if (program < 0 || !ring)
			die("ring_buffer__new");
	}
	run.data_in = data;
	run.data_size_in = sizeof(data);
	run.repeat = count;
	if (bpf_prog_test_run_opts(program, &run))
		die("bpf_prog_test_run_opts");
	ring_sum = 0;
	before = now();
	got = ring_buffer__consume(ring);
	if (got != count) {
		fprintf(stderr, "consumed %d of %ld records\n", got, count);
		exit(1);
	}
	printf("%llu %llu\n", (unsigned long long)(now() - before), (unsigned long long)ring_sum);
}

int main(void)
{
	char line[128], word[32], type[32];
	long count;

	setvbuf(stdout, NULL, _IOLBF, 0);
	cpus = libbpf_num_possible_cpus();
	if (cpus > 1024)
		return 1;
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "%31s %31s %ld", word, type, &count) == 3)
			element(word, type, count);
		else if (sscanf(line, "%31s %ld", word, &count) != 2)
			return 1;
		else if (!strcmp(word, "batch"))
			read_batches(count);
		else if (!strcmp(word, "keys"))
			read_keys(count);
		else
			read_ring(count);
	}
	return 0;
}
