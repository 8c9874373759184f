/* Opens and prepares objects with libbpf and prints what it makes of them, one JSON document a line:
 *   libbpf-dump OBJECT...
 * Preparing creates the maps and relocates the programs, but loads none. Each object has a process of its own. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	if (getenv("LIBBPF_DUMP_VERBOSE") && level != LIBBPF_DEBUG)
		return vfprintf(stderr, format, args);
	return 0;
}

static void text(const char *name, const char *value)
{
	printf("\"%s\":\"", name);
	for (; value && *value; value++)
		printf(*value == '"' || *value == '\\' || (unsigned char)*value < 32 ? "\\u%04x" : "%c",
		       (unsigned char)*value);
	printf("\"");
}

static void hex(const char *name, const void *data, size_t size)
{
	printf(",\"%s\":\"", name);
	for (size_t i = 0; i < size; i++)
		printf("%02x", ((const unsigned char *)data)[i]);
	printf("\"");
}

static void maps(struct bpf_object *object)
{
	struct bpf_map *map;
	const char *separator = "";

	printf(",\"maps\":[");
	bpf_object__for_each_map(map, object) {
		struct bpf_map *inner = bpf_map__inner_map(map);
		const char *pin = bpf_map__pin_path(map);
		size_t size = 0;
		void *value = bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS ? NULL : bpf_map__initial_value(map, &size);

		printf("%s{", separator);
		text("name", bpf_map__name(map));
		printf(",\"fd\":%d,\"type\":%d,\"keySize\":%u,\"valueSize\":%u,\"maxEntries\":%u,\"flags\":%u", bpf_map__fd(map),
		       bpf_map__type(map), bpf_map__key_size(map), bpf_map__value_size(map), bpf_map__max_entries(map),
		       bpf_map__map_flags(map));
		printf(",\"numaNode\":%u,\"mapExtra\":\"%llu\",\"keyType\":%u,\"valueType\":%u,\"autocreate\":%d,\"pinned\":%d",
		       bpf_map__numa_node(map), (unsigned long long)bpf_map__map_extra(map), bpf_map__btf_key_type_id(map),
		       bpf_map__btf_value_type_id(map), bpf_map__autocreate(map), pin != NULL);
		if (inner)
			printf(",\"inner\":{\"type\":%d,\"keySize\":%u,\"valueSize\":%u,\"maxEntries\":%u,\"flags\":%u}",
			       bpf_map__type(inner), bpf_map__key_size(inner), bpf_map__value_size(inner),
			       bpf_map__max_entries(inner), bpf_map__map_flags(inner));
		if (value && bpf_map__is_internal(map))
			hex("contents", value, size);
		printf("}");
		separator = ",";
	}
	printf("]");
}

static void programs(struct bpf_object *object, int prepared)
{
	struct bpf_program *program;
	const char *separator = "";

	printf(",\"programs\":[");
	bpf_object__for_each_program(program, object) {
		printf("%s{", separator);
		text("name", bpf_program__name(program));
		printf(",");
		text("section", bpf_program__section_name(program));
		printf(",\"type\":%d,\"attachType\":%d,\"autoload\":%d,\"flags\":%u", bpf_program__type(program),
		       bpf_program__expected_attach_type(program), bpf_program__autoload(program),
		       bpf_program__flags(program));
		if (prepared) {
			hex("instructions", bpf_program__insns(program), 8 * bpf_program__insn_cnt(program));
			hex("functions", bpf_program__func_info(program),
			    sizeof(struct bpf_func_info) * bpf_program__func_info_cnt(program));
			hex("lines", bpf_program__line_info(program),
			    sizeof(struct bpf_line_info) * bpf_program__line_info_cnt(program));
		}
		printf("}");
		separator = ",";
	}
	printf("]");
}

static void types(struct bpf_object *object)
{
	struct btf *btf = bpf_object__btf(object);
	__u32 size;
	const void *data = btf ? btf__raw_data(btf, &size) : NULL;

	if (data)
		hex("btf", data, size);
}

static void dump(const char *path)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "o");
	struct bpf_object *object = bpf_object__open_file(path, &options);
	struct bpf_map *map;
	int error = object ? 0 : -1;

	printf("{");
	text("path", path);
	if (object) {
		struct bpf_program *program;

		/* Nothing may be left behind in the BPF file system; all programs are wanted. */
		bpf_object__for_each_map(map, object) {
			if (bpf_map__pin_path(map) && getenv("LIBBPF_DUMP_PREPARE"))
				bpf_map__set_pin_path(map, NULL);
		}
		if (getenv("LIBBPF_DUMP_PREPARE")) {
			bpf_object__for_each_program(program, object)
				bpf_program__set_autoload(program, true);
			error = bpf_object__prepare(object);
			printf(",\"prepared\":%d", error);
			programs(object, !error);
		} else
			programs(object, 0);
		maps(object);
		types(object);
	} else
		printf(",\"error\":true");
	printf("}\n");
	fflush(stdout);
}

int main(int count, char **paths)
{
	libbpf_set_print(quiet);
	setvbuf(stdout, NULL, _IOFBF, 1 << 20);
	for (int i = 1; i < count; i++) {
		int status;
		pid_t child = fork();

		if (child == 0) {
			dump(paths[i]);
			_exit(0);
		}
		if (child < 0 || waitpid(child, &status, 0) < 0)
			return 1;
		if (!WIFEXITED(status) || WEXITSTATUS(status)) {
			printf("{");
			text("path", paths[i]);
			printf(",\"crashed\":true}\n");
			fflush(stdout);
		}
	}
	return 0;
}
