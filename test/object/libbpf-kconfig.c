/* What libbpf makes of kernel configuration, for comparison.
 *
 *   libbpf-kconfig OBJECT < TEXTS
 *
 * Reads texts of configuration, each ended by a NUL, and prepares the object with each of them. Writes a line for each:
 * `error ERRNO`, or the bytes of the map with the configuration in hex.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int silent(enum libbpf_print_level level, const char *format, va_list arguments)
{
	if (getenv("VERBOSE") && level == LIBBPF_WARN)
		vfprintf(stderr, format, arguments);
	return 0;
}

static void prepare(const char *path, const char *text)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .kconfig = text);
	struct bpf_object *object = bpf_object__open_file(path, &options);
	struct bpf_program *program;
	struct bpf_map *map;
	int error;

	if (!object) {
		printf("error %d\n", errno);
		return;
	}
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, false);
	error = bpf_object__prepare(object);
	if (error) {
		printf("error %d\n", -error);
	} else {
		bpf_object__for_each_map(map, object) {
			size_t size = 0;
			const unsigned char *bytes = bpf_map__initial_value(map, &size);

			if (!strstr(bpf_map__name(map), ".kconfig"))
				continue;
			for (size_t i = 0; bytes && i < size; i++)
				printf("%02x", bytes[i]);
			printf("\n");
		}
	}
	bpf_object__close(object);
}

int main(int count, char **arguments)
{
	static char texts[1 << 20];
	size_t length = fread(texts, 1, sizeof(texts) - 1, stdin);

	libbpf_set_print(silent);
	if (count < 2)
		return 2;
	for (char *text = texts; text < texts + length; text += strlen(text) + 1)
		prepare(arguments[1], text);
	return 0;
}
