/* A program with a function that can be replaced, and one that takes its place. */
#include "../fixtures/bpf.h"

struct xdp_md;

__attribute__((noinline)) int choose(int number)
{
	return number + 1;
}

SEC("xdp")
int first(struct xdp_md *context)
{
	return choose(5);
}

SEC("freplace/choose")
int replacement(int number)
{
	return number * 100;
}

char _license[] SEC("license") = "GPL";
