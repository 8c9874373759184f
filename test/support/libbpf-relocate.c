/* What libbpf makes of each program of an object: its instructions after relocation.
 *
 *   libbpf-relocate OBJECT [BTF]
 *
 * For each program, on its own, so that one which libbpf refuses does not hide the others: a line `program NAME`, then
 * lines `log TEXT` with what libbpf says, then `code HEX` or `error NUMBER`. BTF is a file that stands for the types of
 * the kernel.
 */
#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int print(enum libbpf_print_level level, const char *format, va_list arguments)
{
	char text[4096];
	(void)level;
	vsnprintf(text, sizeof(text), format, arguments);
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (strstr(line, "relo #"))
			printf("log %s\n", line);
	return 0;
}

static struct bpf_object *open_object(const char *path, const char *btf)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = btf);
	struct bpf_object *object = bpf_object__open_file(path, &options);
	if (!object) {
		perror(path);
		exit(1);
	}
	return object;
}

int main(int count, char **arguments)
{
	const char *btf = count > 2 ? arguments[2] : NULL;
	struct bpf_program *program;
	struct bpf_object *all;

	libbpf_set_print(print);
	all = open_object(arguments[1], btf);
	bpf_object__for_each_program(program, all) {
		const char *name = bpf_program__name(program);
		struct bpf_object *object = open_object(arguments[1], btf);
		struct bpf_program *each;
		int error;

		printf("program %s\n", name);
		bpf_object__for_each_program(each, object)
			bpf_program__set_autoload(each, !strcmp(bpf_program__name(each), name));
		error = bpf_object__prepare(object);
		if (error) {
			printf("error %d\n", error);
		} else {
			const unsigned char *code;
			size_t bytes;

			each = bpf_object__find_program_by_name(object, name);
			code = (const unsigned char *)bpf_program__insns(each);
			bytes = 8 * bpf_program__insn_cnt(each);
			printf("code ");
			for (size_t i = 0; i < bytes; i++)
				printf("%02x", code[i]);
			printf("\n");
		}
		bpf_object__close(object);
	}
	bpf_object__close(all);
	return 0;
}
