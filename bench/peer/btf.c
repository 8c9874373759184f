/* Opens BTF and finds a struct: FILE NAME. Prints nanoseconds to open and to find, and by how many bytes it grew at most. */
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

/* The most memory since the start: it only grows. */
static long peak(void)
{
	char line[256];
	long kilobytes = 0;
	FILE *file = fopen("/proc/self/status", "r");

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "VmHWM: %ld", &kilobytes) == 1)
			break;
	}
	if (file)
		fclose(file);
	return kilobytes * 1024;
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
	printf("%lld %lld %ld\n", opened - start, found - opened, peak() - before);
	return 0;
}
