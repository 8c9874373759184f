/* What libbpf reads from the names of sections:
 *   libbpf-sections name < NAMES
 * prints for each line `ERROR TYPE ATTACH_TYPE ATTACH_ERROR ATTACH_TYPE`, as the functions that take a name answer;
 *   libbpf-sections load OBJECT...
 * opens each object and loads its program, save that the kernel is not asked: prints
 * `TYPE ATTACH_TYPE AUTOLOAD ERROR LOADED_TYPE LOADED_ATTACH_TYPE FLAGS HAS_BTF_ID`.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static char loaded[100];

/* Takes the place of libc's: every system call that libbpf makes comes by here. */
long syscall(long number, ...)
{
	long a[6];
	va_list list;
	long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (number == __NR_bpf && a[0] == BPF_PROG_LOAD) {
		const union bpf_attr *attr = (const union bpf_attr *)a[1];

		if (!strcmp(attr->prog_name, "wanted")) {
			snprintf(loaded, sizeof(loaded), "%u %u %u %d", attr->prog_type, attr->expected_attach_type,
				 attr->prog_flags, attr->attach_btf_id != 0);
			return open("/dev/null", O_RDONLY | O_CLOEXEC);
		}
	}
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	if (getenv("LIBBPF_VERBOSE") && level != LIBBPF_DEBUG)
		return vfprintf(stderr, format, args);
	return 0;
}

static void names(void)
{
	char line[1000];

	while (fgets(line, sizeof(line), stdin)) {
		enum bpf_prog_type type = 0;
		enum bpf_attach_type expected = 0, attach = 0;
		int error, attach_error;

		line[strcspn(line, "\n")] = 0;
		error = libbpf_prog_type_by_name(line, &type, &expected);
		attach_error = libbpf_attach_type_by_name(line, &attach);
		printf("%d %d %d %d %d\n", error, error ? 0 : type, error ? 0 : expected, attach_error,
		       attach_error ? 0 : attach);
	}
}

static void load(const char *path)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_program *program = object ? bpf_object__next_program(object, NULL) : NULL;
	int error, automatic;

	if (!program) {
		printf("unreadable\n");
		bpf_object__close(object);
		return;
	}
	automatic = bpf_program__autoload(program);
	printf("%d %d %d", bpf_program__type(program), bpf_program__expected_attach_type(program), automatic);
	bpf_program__set_autoload(program, true);
	strcpy(loaded, "-");
	error = bpf_object__load(object);
	printf(" %d %s\n", error, loaded);
	bpf_object__close(object);
}

int main(int count, char **arguments)
{
	libbpf_set_print(quiet);
	if (count > 1 && !strcmp(arguments[1], "name"))
		names();
	for (int i = 2; i < count; i++)
		load(arguments[i]);
	return 0;
}
