/* What libbpf and the kernel make of each program of some objects, for comparison: loads one program after the other.
 *
 *   libbpf-load OBJECT...
 *
 * Of the programs only every STEP-th one, when that is in the environment.
 *
 * Writes lines: `object PATH`, then for each program `program NAME RESULT TAG TYPE FUNCTIONS LINES`, RESULT being 0 or
 * an errno; the tag is the kernel's hash of the instructions, descriptors of maps left out. For the first program that
 * loads, `map NAME KERNEL_NAME TYPE KEY VALUE ENTRIES FLAGS EXTRA KEY_TYPE VALUE_TYPE` follow.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int silent(enum libbpf_print_level level, const char *format, va_list arguments)
{
	if (getenv("VERBOSE"))
		vfprintf(stderr, format, arguments);
	(void)level;
	return 0;
}

static void describe_maps(struct bpf_object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object) {
		struct bpf_map_info info;
		__u32 size = sizeof(info);
		int fd = bpf_map__fd(map);

		memset(&info, 0, sizeof(info));
		if (!bpf_map__autocreate(map) || fd < 0 || bpf_map_get_info_by_fd(fd, &info, &size))
			continue;
		printf("map %s %s %u %u %u %u %u %llu %u %u\n", bpf_map__name(map), info.name, info.type, info.key_size,
		       info.value_size, info.max_entries, info.map_flags, (unsigned long long)info.map_extra,
		       info.btf_key_type_id, info.btf_value_type_id);
	}
}

static int load_one(const char *path, const char *name, int described)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_program *program;
	int error;

	if (!object)
		return described;
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, !strcmp(bpf_program__name(program), name));
	error = bpf_object__load(object);
	if (error) {
		printf("program %s %d - 0 0 0\n", name, -error);
	} else {
		struct bpf_prog_info info;
		__u32 size = sizeof(info);
		int fd;

		memset(&info, 0, sizeof(info));
		fd = bpf_program__fd(bpf_object__find_program_by_name(object, name));
		if (fd < 0 || bpf_prog_get_info_by_fd(fd, &info, &size)) {
			printf("program %s -1 - 0 0 0\n", name);
		} else {
			printf("program %s 0 ", name);
			for (int i = 0; i < 8; i++)
				printf("%02x", info.tag[i]);
			printf(" %u %u %u\n", info.type, info.nr_func_info, info.nr_line_info);
			if (!described)
				describe_maps(object);
			described = 1;
		}
	}
	bpf_object__close(object);
	return described;
}

int main(int count, char **arguments)
{
	int step = getenv("STEP") ? atoi(getenv("STEP")) : 1;
	int number = 0;

	libbpf_set_print(silent);
	for (int i = 1; i < count; i++) {
		struct bpf_object *object = bpf_object__open_file(arguments[i], NULL);
		struct bpf_program *program;
		int described = 0;

		printf("object %s\n", arguments[i]);
		if (!object)
			continue;
		bpf_object__for_each_program(program, object)
			if (number++ % step == 0)
				described = load_one(arguments[i], bpf_program__name(program), described);
		bpf_object__close(object);
		fflush(stdout);
	}
	return 0;
}
