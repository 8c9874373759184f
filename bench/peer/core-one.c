/*
 * Relocates one program of an object for the running kernel with libbpf, which reads the kernel's types for it: the
 * peer of bench/core.bench.ts. Prints nanoseconds, the opening of the object left out.
 *
 *   core-one OBJECT PROGRAM BTF
 *
 * BTF is what the other peers are told to read; libbpf knows where it is.
 */
#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int quiet(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level, (void)format, (void)arguments;
	return 0;
}

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int count, char **arguments)
{
	struct bpf_object *object;
	struct bpf_program *program;
	long long before;

	if (count != 4)
		return 2;
	libbpf_set_print(quiet);
	object = bpf_object__open_file(arguments[1], NULL);
	if (!object)
		return 1;
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, !strcmp(bpf_program__name(program), arguments[2]));
	before = now();
	if (bpf_object__prepare(object)) {
		perror(arguments[1]);
		return 1;
	}
	printf("%lld\n", now() - before);
	return 0;
}
