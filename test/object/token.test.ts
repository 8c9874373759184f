import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { btfLoadAttr, mapCreateAttr, progLoadAttr, tokenCreateAttr } from "../../src/kernel-abi/index.ts";
import { loadObject } from "../../src/object/index.ts";
import {
  errnoNumber,
  FakeKernel,
  isErrno,
  kernelString,
  kernelVersion,
  openBackend,
  type SyscallBackend,
  syscallNumbers,
} from "../../src/syscall/index.ts";
import { fixture } from "../elf/build.ts";
import { failOnLeaks, repository, requires, skip } from "../support/harness.ts";

const test = suite("object/token");
failOnLeaks(test);

const TOKEN_FLAG = 0x10000;
const packetCount = fixture("packet-count.el.o");

/** A fake kernel that has a folder to make tokens of, and notes which tokens it was given. */
function delegating(tokens: () => number | string): { kernel: FakeKernel; backend: SyscallBackend; seen: string[] } {
  const kernel = new FakeKernel();
  const seen: string[] = [];
  kernel.on("BPF_TOKEN_CREATE", (request) => {
    seen.push(`token of ${request.get(tokenCreateAttr, "bpffs_fd")}`);
    return tokens();
  });
  kernel.on("BPF_MAP_CREATE", (request) => {
    const flags = request.get(mapCreateAttr, "map_flags") & TOKEN_FLAG ? "flagged" : "unflagged";
    seen.push(`map ${flags} ${request.get(mapCreateAttr, "map_token_fd")}`);
    return undefined;
  });
  kernel.on("BPF_BTF_LOAD", (request) => {
    const flags = request.get(btfLoadAttr, "btf_flags") & TOKEN_FLAG ? "flagged" : "unflagged";
    seen.push(`btf ${flags} ${request.get(btfLoadAttr, "btf_token_fd")}`);
    return undefined;
  });
  kernel.on("BPF_PROG_LOAD", (request) => {
    const flags = request.get(progLoadAttr, "prog_flags") & TOKEN_FLAG ? "flagged" : "unflagged";
    seen.push(`program ${flags} ${request.get(progLoadAttr, "prog_token_fd")}`);
    return undefined;
  });
  const { openat, close } = syscallNumbers.x64;
  const backend: SyscallBackend = {
    ...kernel.backend,
    syscall(number, ...args) {
      if (number === openat) return 900;
      if (number === close && (args[0] ?? 0) >= 900) {
        seen.push(`close ${args[0]}`);
        return 0;
      }
      return kernel.backend.syscall(number, ...args);
    },
  };
  return { kernel, backend, seen };
}

test("a token's descriptor goes with maps, types, programs and what is asked of the kernel", () => {
  const { backend, seen, kernel } = delegating(() => 901);
  loadObject(packetCount, { backend, token: 77 }).close();
  const kinds = new Set(seen.map((entry) => entry.replace(/ \d+$/, "")));
  assert.equal([...kinds].sort(), ["btf flagged", "map flagged", "program flagged"]);
  assert.ok(
    seen.every((entry) => entry.endsWith(" 77")),
    seen.join(", "),
  );
  assert.equal(kernel.open, []);
});

test("a token is made of a path, and closed once the object is loaded", () => {
  const { backend, seen, kernel } = delegating(() => 901);
  const object = loadObject(packetCount, { backend, token: "/somewhere" });
  assert.is(seen[0], "token of 900");
  assert.is(seen[1], "close 900");
  assert.is(seen.at(-1), "close 901");
  assert.ok(
    seen.slice(2, -1).every((entry) => / flagged 901$/.test(entry)),
    seen.join(", "),
  );
  object.close();
  assert.equal(kernel.open, []);
});

test("a token that was asked for and cannot be made is an error, and nothing was loaded", () => {
  const { backend, seen } = delegating(() => "ENOENT");
  assert.throws(
    () => loadObject(packetCount, { backend, token: "/somewhere" }),
    (error: unknown) =>
      isErrno(error, "ENOENT") && error.command === "BPF_TOKEN_CREATE" && /\/somewhere/.test(error.message),
  );
  assert.equal(seen, ["token of 900", "close 900"]);
});

test("a token is closed when loading fails", () => {
  const { backend, seen, kernel } = delegating(() => 901);
  kernel.on("BPF_PROG_LOAD", () => -errnoNumber("EPERM"));
  assert.throws(() => loadObject(packetCount, { backend, token: "/somewhere" }));
  assert.is(seen.at(-1), "close 901");
  assert.equal(kernel.open, []);
});

test("the environment names a path, and nothing is asked for without need", () => {
  const before = process.env.LIBBPF_BPF_TOKEN_PATH;
  try {
    process.env.LIBBPF_BPF_TOKEN_PATH = "/somewhere";
    const named = delegating(() => 901);
    loadObject(packetCount, { backend: named.backend }).close();
    assert.is(named.seen[0], "token of 900");
    const refused = delegating(() => 901);
    loadObject(packetCount, { backend: refused.backend, token: false }).close();
    assert.ok(refused.seen.every((entry) => !entry.startsWith("token")));
    process.env.LIBBPF_BPF_TOKEN_PATH = "";
    const empty = delegating(() => 901);
    loadObject(packetCount, { backend: empty.backend }).close();
    assert.ok(empty.seen.every((entry) => !entry.startsWith("token")));
  } finally {
    if (before === undefined) delete process.env.LIBBPF_BPF_TOKEN_PATH;
    else process.env.LIBBPF_BPF_TOKEN_PATH = before;
  }
});

const PIDFD_OPEN = 434;
const PIDFD_GETFD = 438;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;

/** Says in this namespace what a file system of another one delegates: only here that is allowed. */
function delegate(child: ChildProcessWithoutNullStreams, context: number): void {
  const backend = openBackend();
  const { close, fsconfig } = syscallNumbers[backend.architecture];
  const process = backend.syscall(PIDFD_OPEN, child.pid!, 0);
  assert.ok(process >= 0, `pidfd_open: ${process}`);
  const own = backend.syscall(PIDFD_GETFD, process, context, 0);
  assert.ok(own >= 0, `pidfd_getfd: ${own}`);
  for (const what of ["cmds", "maps", "progs", "attachs"]) {
    const key = kernelString(`delegate_${what}`);
    const value = kernelString("any");
    const result = backend.syscall(
      fsconfig,
      own,
      FSCONFIG_SET_STRING,
      backend.addressOf(key),
      backend.addressOf(value),
      0,
    );
    assert.is(result, 0, `delegate_${what}`);
  }
  assert.is(backend.syscall(fsconfig, own, FSCONFIG_CMD_CREATE, 0, 0, 0), 0, "the file system is made");
  backend.syscall(close, own);
  backend.syscall(close, process);
}

const version = kernelVersion();
const old = version === undefined || version.major < 6 || (version.major === 6 && version.minor < 9);
const NAME = "in a user namespace, an object is loaded with what a file system delegates";

if (old) skip(test, NAME, "needs Linux 6.9");
else {
  requires(
    test,
    "bpf",
    "sys-admin",
    "tool:unshare",
  )(NAME, async () => {
    const script = join(repository, ".build/test/object/token-child.js");
    const object = join(repository, "test/fixtures/packet-count.el.o");
    const args = ["--user", "--map-root-user", "--mount", process.execPath, script, object];
    const child = spawn("unshare", args, { stdio: ["pipe", "pipe", "pipe"] });
    let problems = "";
    child.stderr.on("data", (data: Buffer) => {
      problems += data.toString();
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const first = await lines.next();
    assert.match(String(first.value), /^\d+$/, problems);
    delegate(child, Number(first.value));
    child.stdin.end("go\n");
    const second = await lines.next();
    if (child.exitCode === null) await once(child, "exit");
    assert.is(child.exitCode, 0, problems);
    const result = JSON.parse(String(second.value)) as Record<string, string>;
    assert.match(result.none!, /EPERM/);
    assert.match(result.automatic_before!, /EPERM/);
    assert.match(result.wrong!, /^Cannot make a BPF token of \/proc\/self\/fd: EINVAL/);
    assert.match(result.environment_empty!, /EPERM/);
    for (const way of ["path", "environment", "automatic"]) assert.is(result[way], "loaded", way);
  });
}

test.run();
