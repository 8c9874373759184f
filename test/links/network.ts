import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import * as assert from "uvu/assert";
import type { AttachType } from "../../src/kernel-abi/index.ts";
import { openTarget } from "../../src/links/targets.ts";
import { call, keepAlive, kernelBuffer } from "../../src/syscall/call.ts";
import { errnoName, Fd, mountDetached, openBackend, type SyscallNumbers } from "../../src/syscall/index.ts";
import { toolPath } from "../support/harness.ts";

const CLONE_NEWNET = 0x40000000;
const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0x80000;

/** Makes a system call, which must succeed. */
export function system(name: keyof SyscallNumbers, ...args: number[]): number {
  const result = call(openBackend(), name, args, () => ({}));
  if (result < 0) throw new Error(`${name}: ${errnoName(result)}`);
  return result;
}

/**
 * Runs something in a network namespace that nobody else has. It ends with the last one who uses it, so that nothing has
 * to be removed, however the test ends.
 */
export function inNewNetwork<T>(run: () => T): T {
  const before = openTarget(openBackend(), "/proc/thread-self/ns/net", "network namespace");
  const back = (): void => {
    system("setns", before.number, CLONE_NEWNET);
    before.close();
  };
  let waits = false;
  try {
    system("unshare", CLONE_NEWNET);
    const result = run();
    if (result instanceof Promise) {
      waits = true;
      return result.finally(back) as T;
    }
    return result;
  } finally {
    if (!waits) back();
  }
}

/** Runs a tool in this thread's network namespace; it must succeed. */
export function tool(name: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(toolPath(name) ?? name, args, { encoding: "utf8" });
  assert.is(status, 0, `${name} ${args.join(" ")}: ${stderr}${error?.message ?? ""}`);
  return stdout;
}

/** What a tool prints: the tests look into it, and fail where it is of another shape. */
// biome-ignore lint/suspicious/noExplicitAny: the shape is the tool's
export type Json = any;

/** Runs a tool with `-j`, and reads what it prints. */
export function jsonOf(name: string, ...args: string[]): Json {
  const text = tool(name, "-j", ...args);
  return text.trim() === "" ? [] : JSON.parse(text);
}

/** Two interfaces, of which each gets what leaves the other: `v0` has 10.77.0.1, `v1` is 10.77.0.2 without knowing. */
export function makeVeth(): void {
  writeFileSync("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
  tool("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1");
  tool("ip", "link", "set", "lo", "up");
  tool("ip", "link", "set", "v0", "up");
  tool("ip", "link", "set", "v1", "up");
  tool("ip", "address", "add", "10.77.0.1/24", "dev", "v0");
  const mac = jsonOf("ip", "link", "show", "v1")[0].address;
  tool("ip", "neigh", "add", "10.77.0.2", "lladdr", mac, "dev", "v0");
}

function address(host: string, port: number): Uint8Array {
  const bytes = kernelBuffer(16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_INET, true);
  view.setUint16(2, port);
  host.split(".").forEach((part, i) => {
    bytes[4 + i] = Number(part);
  });
  return bytes;
}

/** A socket for UDP. */
export function udpSocket(): Fd {
  return new Fd(openBackend(), system("socket", AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "UDP socket");
}

/** Binds a socket. */
export function bindTo(socket: Fd, host: string, port: number): void {
  const bytes = address(host, port);
  system("bind", socket.number, openBackend().addressOf(bytes), bytes.length);
  keepAlive(bytes);
}

/** Sends one small packet. @returns errno name when it was refused */
export function sendUdp(socket: Fd, host: string, port: number): string | undefined {
  const backend = openBackend();
  const bytes = address(host, port);
  const data = kernelBuffer(8);
  const args = [socket.number, backend.addressOf(data), data.length, 0, backend.addressOf(bytes), bytes.length];
  const result = call(backend, "sendto", args, () => ({}));
  keepAlive([bytes, data]);
  return result < 0 ? errnoName(result) : undefined;
}

/** Sends packets to a host. */
export function sendPackets(count: number, host = "10.77.0.2", port = 9): void {
  const socket = udpSocket();
  try {
    for (let i = 0; i < count; i++) assert.is(sendUdp(socket, host, port), undefined);
  } finally {
    socket.close();
  }
}

/** Takes what has arrived at a socket. @returns number of packets */
export function receiveAll(socket: Fd): number {
  const backend = openBackend();
  const room = kernelBuffer(64);
  for (let count = 0; ; count++) {
    const MSG_DONTWAIT = 0x40;
    const args = [socket.number, backend.addressOf(room), room.length, MSG_DONTWAIT, 0, 0];
    if (call(backend, "recvfrom", args, () => ({})) < 0) return count;
  }
}

/** Runs something with a cgroup of its own, which is removed afterwards. */
export function withCgroup(run: (path: string, root: string) => void): void {
  const mount = mountDetached(openBackend(), "cgroup2");
  try {
    // Tools that look into it are other processes.
    const root = `/proc/${process.pid}/fd/${mount.number}`;
    const path = `${root}/rawbpf-test-${process.pid}`;
    mkdirSync(path);
    try {
      run(path, root);
    } finally {
      rmdirSync(path);
    }
  } finally {
    mount.close();
  }
}

/** Runs something while this process is in a cgroup. */
export function inside(path: string, root: string, run: () => void): void {
  const before = /^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1] ?? "/";
  writeFileSync(`${path}/cgroup.procs`, String(process.pid));
  try {
    run();
  } finally {
    writeFileSync(`${root}${before}/cgroup.procs`, String(process.pid));
  }
}

/** How many times `trigger` does it. */
export const TRIGGERED = 3n;

/**
 * Runs the program `trigger` (trigger.c) in a cgroup: it makes programs of one attach type run {@link TRIGGERED} times,
 * or, where a connection has several events, more.
 */
export function triggerIn(cgroup: string, trigger: string, attachType: AttachType): void {
  const { status, stderr, error } = spawnSync(trigger, [cgroup, attachType], { encoding: "utf8" });
  assert.is(status, 0, `${attachType}: ${stderr}${error?.message ?? ""}`);
}

/** Sees that a program was run once for each thing that `trigger` did. */
export function assertTriggered(count: bigint, attachType: AttachType): void {
  if (attachType === "cgroup_sock_ops") assert.ok(count >= TRIGGERED * 3n, `${attachType}: ${count}`);
  else assert.is(count, TRIGGERED, attachType);
}

/** Sends Ethernet frames with IPv4 packets from an interface, past the routes: to its peer, whose address is unknown. */
export function sendFrames(count: number, from: string, to: string, destination = "10.77.0.2"): void {
  const backend = openBackend();
  const [AF_PACKET, SOCK_RAW, ETH_P_IP] = [17, 3, 0x0800];
  const interfaces: Json[] = jsonOf("ip", "link", "show");
  const named = (name: string): Json => interfaces.find(({ ifname }) => ifname === name);
  const hardware = (name: string): number[] =>
    named(name)
      .address.split(":")
      .map((byte: string) => Number.parseInt(byte, 16));
  const frame = kernelBuffer(14 + 20 + 8 + 18);
  frame.set([...hardware(to), ...hardware(from), ETH_P_IP >> 8, ETH_P_IP & 0xff]);
  const UDP = 17;
  // From no address of ours, or it would be refused.
  frame.set([0x45, 0, 0, frame.length - 14, 0, 0, 0, 0, 64, UDP, 0, 0, 10, 99, 0, 1], 14);
  frame.set(destination.split(".").map(Number), 30);
  frame.set([0, 7, 0, 9, 0, frame.length - 34], 34);
  const view = new DataView(frame.buffer, frame.byteOffset);
  let sum = 0;
  for (let at = 14; at < 34; at += 2) sum += view.getUint16(at);
  view.setUint16(24, ~(sum + (sum >> 16)) & 0xffff);
  const address = kernelBuffer(20);
  const fields = new DataView(address.buffer, address.byteOffset);
  fields.setUint16(0, AF_PACKET, true);
  fields.setUint16(2, ETH_P_IP);
  fields.setInt32(4, named(from).ifindex, true);
  const socket = new Fd(backend, system("socket", AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), "packet socket");
  const [data, name] = [backend.addressOf(frame), backend.addressOf(address)];
  try {
    for (let i = 0; i < count; i++) system("sendto", socket.number, data, frame.length, 0, name, address.length);
  } finally {
    socket.close();
    keepAlive([frame, address]);
  }
}

/** Numbers of the system calls that only tests make. */
const SOCKET_CALLS = {
  x64: { connect: 42, listen: 50, getsockname: 51, accept4: 288 },
  arm64: { connect: 203, listen: 201, getsockname: 204, accept4: 242 },
} as const;

function socketCall(name: keyof (typeof SOCKET_CALLS)["x64"], ...args: number[]): number {
  const backend = openBackend();
  const number = SOCKET_CALLS[backend.architecture][name];
  const result = backend.syscall(number, ...(args as [number, number, number]));
  if (result < 0) throw new Error(`${name}: ${errnoName(result)}`);
  return result;
}

/** A TCP connection over loopback that this thread has both ends of. Neither waits longer than 5 s for data. */
export function tcpPair(): { readonly client: Fd; readonly server: Fd } {
  const backend = openBackend();
  const [SOCK_STREAM, SOL_SOCKET, SO_RCVTIMEO] = [1, 1, 20];
  const open = (): Fd => new Fd(backend, system("socket", AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "TCP socket");
  const listener = open();
  const client = open();
  const name = address("127.0.0.1", 0);
  const length = kernelBuffer(4);
  length[0] = name.length;
  const timeout = kernelBuffer(16);
  timeout[0] = 5;
  try {
    const at = backend.addressOf(name);
    system("bind", listener.number, at, name.length);
    socketCall("listen", listener.number, 1);
    socketCall("getsockname", listener.number, at, backend.addressOf(length));
    socketCall("connect", client.number, at, name.length);
    const server = new Fd(backend, socketCall("accept4", listener.number, 0, 0, SOCK_CLOEXEC), "TCP socket");
    for (const { number } of [client, server]) {
      system("setsockopt", number, SOL_SOCKET, SO_RCVTIMEO, backend.addressOf(timeout), timeout.length);
    }
    return { client, server };
  } finally {
    listener.close();
    keepAlive([name, length, timeout]);
  }
}

/** Sends bytes over a connection, and waits for them at its other end. */
export function talk(from: Fd, to: Fd, length: number): void {
  const backend = openBackend();
  const data = kernelBuffer(length);
  const where = backend.addressOf(data);
  assert.is(system("sendto", from.number, where, length, 0, 0, 0), length);
  for (let had = 0; had < length; ) had += system("recvfrom", to.number, where, length, 0, 0, 0);
  keepAlive(data);
}
