/*
 * Opens an object and relocates all of its programs for the running kernel with libbpf, without loading them: the peer
 * of bench/core.bench.ts. Answers each line `N` with the nanoseconds of N such rounds.
 *
 *   core OBJECT
 */
#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int quiet(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level, (void)format, (void)arguments;
	return 0;
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

int main(int count, char **arguments)
{
	int rounds;

	if (count != 2)
		return 2;
	libbpf_set_print(quiet);
	while (scanf("%d", &rounds) == 1) {
		uint64_t before = now();

		for (int i = 0; i < rounds; i++) {
			struct bpf_object *object = bpf_object__open_file(arguments[1], NULL);

			if (!object || bpf_object__prepare(object)) {
				perror(arguments[1]);
				return 1;
			}
			bpf_object__close(object);
		}
		printf("%llu\n", (unsigned long long)(now() - before));
		fflush(stdout);
	}
	return 0;
}
