// A program with USDT probes, written as <sys/sdt.h> writes them: its arguments lie in registers, in memory and in the code.
#include <stdint.h>
#include <stdlib.h>

unsigned short one_semaphore __attribute__((section(".probes"), used));

#define NOTE(provider, name, semaphore, args) \
	"990: nop\n" \
	".pushsection .note.stapsdt,\"?\",\"note\"\n" \
	".balign 4\n" \
	".4byte 992f-991f, 994f-993f, 3\n" \
	"991: .asciz \"stapsdt\"\n" \
	"992: .balign 4\n" \
	"993: .8byte 990b, _.stapsdt.base, " semaphore "\n" \
	".asciz \"" provider "\"\n" \
	".asciz \"" name "\"\n" \
	".asciz \"" args "\"\n" \
	"994: .balign 4\n" \
	".popsection\n" \
	".ifndef _.stapsdt.base\n" \
	".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
	".weak _.stapsdt.base\n" \
	".hidden _.stapsdt.base\n" \
	"_.stapsdt.base: .space 1\n" \
	".size _.stapsdt.base, 1\n" \
	".popsection\n" \
	".endif\n"

struct words {
	int8_t a;
	int16_t b;
	uint32_t c;
	int64_t d;
};

static int64_t table[8] = {10, -11, 12, -13, 14, -15, 16, -17};

__attribute__((noinline)) static void one(int n, struct words *w)
{
	// Registers, memory at a displacement, indexed memory, constants; sizes and signs of all kinds.
	__asm__ volatile(
		NOTE("test", "one", "one_semaphore",
		     "-4@%%edi 1@(%%rsi) -1@(%%rsi) -2@2(%%rsi) 4@4(%%rsi) -8@8(%%rsi) -4@$-7 8@$99 8@(%%rdx,%%rcx,8) -8@8(%%rdx,%%rcx,8)")
		:
		: "D"(n), "S"(w), "d"(table), "c"((int64_t)2)
		: "memory");
}

__attribute__((noinline)) static void two(int n)
{
	// Two places of one probe, with arguments in different places.
	__asm__ volatile(NOTE("test", "two", "0", "-4@%%edi") : : "D"(n));
	__asm__ volatile(NOTE("test", "two", "0", "-4@%%ebx") : : "b"(n + 100));
	__asm__ volatile(NOTE("test", "none", "0", "") : :);
}

int main(int argc, char **argv)
{
	struct words w = {-5, -300, 0x89abcdef, -(1ll << 40)};
	int rounds = argc > 1 ? atoi(argv[1]) : 1;
	for (int n = 0; n < rounds; n++) {
		one(n - 3, &w);
		two(n);
	}
	// What the counter of the probe was while it ran.
	return one_semaphore;
}
