/* What libbpf and the kernel make of each program of some objects, for comparison: loads one program after the other.
 *
 *   libbpf-load OBJECT...
 *
 * Of the programs only every STEP-th one, when that is in the environment.
 *
 * Writes lines: `object PATH`, then for each program `program NAME RESULT CODE TAG TYPE FUNCTIONS LINES`. RESULT is 0
 * or an errno, CODE a hash of the instructions as they were given to the kernel, with descriptors left out, and their
 * number; the tag is the kernel's own hash. `| ` begins a line of the verifier's log of a program that was refused, `> `
 * one of libbpf's own warnings. For the first program that loads, `map NAME KERNEL_NAME TYPE KEY VALUE ENTRIES FLAGS EXTRA
 * KEY_TYPE VALUE_TYPE` follow.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char verifier_log[16 << 20];
static char warnings[1 << 16];
static size_t warned;

static int keep_warnings(enum libbpf_print_level level, const char *format, va_list arguments)
{
	int length;

	if (level != LIBBPF_WARN || warned + 1 >= sizeof(warnings))
		return 0;
	length = vsnprintf(warnings + warned, sizeof(warnings) - warned, format, arguments);
	if (length > 0)
		warned += length;
	if (warned >= sizeof(warnings))
		warned = sizeof(warnings) - 1;
	return 0;
}

static void print_lines(const char *before, const char *text)
{
	while (*text) {
		size_t length = strcspn(text, "\n");

		printf("%s%.*s\n", before, (int)length, text);
		text += length;
		if (*text)
			text++;
	}
}

/* FNV-1a over the instructions; descriptors of maps and of BTF of modules are 0. */
static void print_code(const struct bpf_program *program)
{
	const struct bpf_insn *code = bpf_program__insns(program);
	size_t count = bpf_program__insn_cnt(program);
	__u32 hash = 2166136261u;

	for (size_t i = 0; i < count; i++) {
		struct bpf_insn insn = code[i];
		unsigned char bytes[sizeof(insn)];

		if (insn.code == 0x18 && (insn.src_reg == 1 || insn.src_reg == 2))
			insn.imm = 0;
		if (insn.code == 0 && i > 0 && code[i - 1].code == 0x18 && code[i - 1].src_reg == 3)
			insn.imm = 0;
		memcpy(bytes, &insn, sizeof(insn));
		for (size_t j = 0; j < sizeof(bytes); j++)
			hash = (hash ^ bytes[j]) * 16777619u;
	}
	printf("%08x/%zu", hash, count);
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
	program = bpf_object__find_program_by_name(object, name);
	verifier_log[0] = 0;
	warned = 0;
	warnings[0] = 0;
	bpf_program__set_log_buf(program, verifier_log, sizeof(verifier_log));
	error = bpf_object__load(object);
	printf("program %s %d ", name, -error);
	print_code(program);
	if (error) {
		printf(" - 0 0 0 0\n");
		print_lines("| ", verifier_log);
		print_lines("> ", warnings);
	} else {
		struct bpf_prog_info info;
		__u32 size = sizeof(info);
		int fd = bpf_program__fd(program);

		memset(&info, 0, sizeof(info));
		if (fd < 0 || bpf_prog_get_info_by_fd(fd, &info, &size)) {
			printf(" ? 0 0 0 0\n");
		} else {
			printf(" ");
			for (int i = 0; i < 8; i++)
				printf("%02x", info.tag[i]);
			printf(" %u %u %u %u\n", info.type, info.nr_func_info, info.nr_line_info,
			       bpf_program__expected_attach_type(program));
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

	libbpf_set_print(keep_warnings);
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
