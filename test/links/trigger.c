/*
 * Goes into a cgroup and does three times what programs of one attach type are run for:
 *
 *   trigger CGROUP ATTACH-TYPE
 *
 * What it prepares for that may run programs of other types, but none of this one.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TIMES 3

struct address {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_un local;
	};
	socklen_t length;
};

static int must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

/* The loopback address and a free port; of Unix sockets a free abstract name. */
static struct address any_address(int family)
{
	struct address name = { .any.sa_family = family };

	if (family == AF_INET) {
		name.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		name.length = sizeof name.v4;
	} else if (family == AF_INET6) {
		name.v6.sin6_addr = in6addr_loopback;
		name.length = sizeof name.v6;
	} else {
		name.length = sizeof(sa_family_t);
	}
	return name;
}

static int open_socket(int family, int type)
{
	return must(socket(family, type | SOCK_CLOEXEC, 0), "socket");
}

static struct address name_of(int fd)
{
	struct address name = { .length = sizeof(struct sockaddr_un) };

	must(getsockname(fd, &name.any, &name.length), "getsockname");
	return name;
}

static int bound_socket(int family, int type)
{
	struct address name = any_address(family);
	int fd = open_socket(family, type);

	must(bind(fd, &name.any, name.length), "bind");
	return fd;
}

static void make_sockets(int family)
{
	for (int i = 0; i < TIMES; i++)
		close(open_socket(family, SOCK_DGRAM));
}

static void bind_sockets(int family)
{
	for (int i = 0; i < TIMES; i++)
		close(bound_socket(family, SOCK_DGRAM));
}

static void connect_sockets(int family)
{
	int server = bound_socket(family, SOCK_DGRAM);
	struct address to = name_of(server);

	for (int i = 0; i < TIMES; i++) {
		int client = open_socket(family, SOCK_DGRAM);

		must(connect(client, &to.any, to.length), "connect");
		close(client);
	}
}

/* Sends datagrams, and asks who sent them. */
static void send_datagrams(int family)
{
	int server = bound_socket(family, SOCK_DGRAM), client = bound_socket(family, SOCK_DGRAM);
	struct address to = name_of(server);
	char data[4];

	for (int i = 0; i < TIMES; i++) {
		struct address from = { .length = sizeof(struct sockaddr_un) };

		must(sendto(client, "x", 1, 0, &to.any, to.length), "sendto");
		must(recvfrom(server, data, sizeof data, 0, &from.any, &from.length), "recvfrom");
	}
}

static void ask_for_peers(int family)
{
	int server = bound_socket(family, SOCK_DGRAM), client = open_socket(family, SOCK_DGRAM);
	struct address to = name_of(server);

	must(connect(client, &to.any, to.length), "connect");
	for (int i = 0; i < TIMES; i++) {
		struct address peer = { .length = sizeof(struct sockaddr_un) };

		must(getpeername(client, &peer.any, &peer.length), "getpeername");
	}
}

static void ask_for_names(int family)
{
	int fd = bound_socket(family, SOCK_DGRAM);

	for (int i = 0; i < TIMES; i++)
		name_of(fd);
}

static void get_options(int family)
{
	int fd = open_socket(family, SOCK_DGRAM), value;
	socklen_t length = sizeof value;

	for (int i = 0; i < TIMES; i++)
		must(getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, &length), "getsockopt");
}

static void set_options(int family)
{
	int fd = open_socket(family, SOCK_DGRAM), value = 1;

	for (int i = 0; i < TIMES; i++)
		must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, sizeof value), "setsockopt");
}

static void open_streams(int family)
{
	int server = bound_socket(family, SOCK_STREAM);
	struct address to = name_of(server);

	must(listen(server, TIMES), "listen");
	for (int i = 0; i < TIMES; i++) {
		int client = open_socket(family, SOCK_STREAM);

		must(connect(client, &to.any, to.length), "connect");
		close(must(accept(server, NULL, NULL), "accept"));
		close(client);
	}
}

static void read_setting(int family)
{
	char text[64];

	(void)family;
	for (int i = 0; i < TIMES; i++) {
		int fd = must(open("/proc/sys/kernel/ostype", O_RDONLY), "open");

		must(read(fd, text, sizeof text), "read");
		close(fd);
	}
}

static void open_device(int family)
{
	(void)family;
	for (int i = 0; i < TIMES; i++)
		close(must(open("/dev/null", O_RDONLY), "open"));
}

static const struct {
	const char *attach_type;
	void (*act)(int family);
	int family;
} kinds[] = {
	{ "cgroup_inet_ingress", send_datagrams, AF_INET },
	{ "cgroup_inet_egress", send_datagrams, AF_INET },
	{ "cgroup_inet_sock_create", make_sockets, AF_INET },
	{ "cgroup_inet_sock_release", make_sockets, AF_INET },
	{ "cgroup_inet4_post_bind", bind_sockets, AF_INET },
	{ "cgroup_inet6_post_bind", bind_sockets, AF_INET6 },
	{ "cgroup_inet4_bind", bind_sockets, AF_INET },
	{ "cgroup_inet6_bind", bind_sockets, AF_INET6 },
	{ "cgroup_inet4_connect", connect_sockets, AF_INET },
	{ "cgroup_inet6_connect", connect_sockets, AF_INET6 },
	{ "cgroup_unix_connect", connect_sockets, AF_UNIX },
	{ "cgroup_udp4_sendmsg", send_datagrams, AF_INET },
	{ "cgroup_udp6_sendmsg", send_datagrams, AF_INET6 },
	{ "cgroup_unix_sendmsg", send_datagrams, AF_UNIX },
	{ "cgroup_udp4_recvmsg", send_datagrams, AF_INET },
	{ "cgroup_udp6_recvmsg", send_datagrams, AF_INET6 },
	{ "cgroup_unix_recvmsg", send_datagrams, AF_UNIX },
	{ "cgroup_inet4_getpeername", ask_for_peers, AF_INET },
	{ "cgroup_inet6_getpeername", ask_for_peers, AF_INET6 },
	{ "cgroup_unix_getpeername", ask_for_peers, AF_UNIX },
	{ "cgroup_inet4_getsockname", ask_for_names, AF_INET },
	{ "cgroup_inet6_getsockname", ask_for_names, AF_INET6 },
	{ "cgroup_unix_getsockname", ask_for_names, AF_UNIX },
	{ "cgroup_getsockopt", get_options, AF_INET },
	{ "cgroup_setsockopt", set_options, AF_INET },
	{ "cgroup_device", open_device, AF_UNSPEC },
	{ "cgroup_sysctl", read_setting, AF_UNSPEC },
	{ "cgroup_sock_ops", open_streams, AF_INET },
	/* The hook socket_create. */
	{ "lsm_cgroup", make_sockets, AF_INET },
};

static void enter(const char *cgroup)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof path, "%s/cgroup.procs", cgroup);
	fd = must(open(path, O_WRONLY), path);
	must(write(fd, "0", 1), path);
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc == 3) {
		for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
			if (strcmp(kinds[i].attach_type, argv[2]) != 0)
				continue;
			enter(argv[1]);
			kinds[i].act(kinds[i].family);
			return 0;
		}
	}
	fprintf(stderr, "usage: trigger CGROUP ATTACH-TYPE\n");
	return 2;
}
