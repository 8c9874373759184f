/* Opens BTF and finds a struct: FILE NAME. Prints nanoseconds to open, nanoseconds to find, resident growth in bytes. */
#include <bpf/btf.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static long resident(void)
{
	long size = 0, pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (file) {
		if (fscanf(file, "%ld %ld", &size, &pages) != 2)
			pages = 0;
		fclose(file);
	}
	return pages * sysconf(_SC_PAGESIZE);
}

int main(int argc, char **argv)
{
	long before = resident();
	long long start = now(), opened, found;
	struct btf *btf = btf__parse(argv[1], NULL);

	if (argc < 3 || !btf)
		return 1;
	opened = now();
	if (btf__find_by_name_kind(btf, argv[2], BTF_KIND_STRUCT) <= 0)
		return 2;
	found = now();
	printf("%lld %lld %ld\n", opened - start, found - opened, resident() - before);
	return 0;
}
