/*
 * What libbpf does with objects: the peer of bench/object.bench.ts. Arguments are paths of objects. Answers each line
 *
 *   open I N      nanoseconds of opening object I, N times
 *   prepare I N   of opening and relocating it, with what belongs to that: the kernel's types and its maps are made
 *   load I N      of opening and loading it
 *
 * or `failed`.
 */
#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int quiet(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level, (void)format, (void)arguments;
	return 0;
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int once(const char *path, const char *word)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	int failed = 0;

	if (!object)
		return 1;
	if (!strcmp(word, "prepare"))
		failed = bpf_object__prepare(object);
	else if (!strcmp(word, "load"))
		failed = bpf_object__load(object);
	bpf_object__close(object);
	return failed;
}

int main(int count, char **arguments)
{
	char word[16];
	int index, rounds;

	libbpf_set_print(quiet);
	while (scanf("%15s %d %d", word, &index, &rounds) == 3) {
		uint64_t before = now();
		int failed = index + 1 >= count;

		for (int i = 0; i < rounds && !failed; i++)
			failed = once(arguments[index + 1], word);
		if (failed)
			printf("failed\n");
		else
			printf("%llu\n", (unsigned long long)(now() - before));
		fflush(stdout);
	}
	return 0;
}
