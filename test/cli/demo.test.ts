import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encode, link } from "../../src/asm/index.ts";
import { execEvent, execProgram } from "../../src/cli/exec-program.ts";
import { requires } from "../support/harness.ts";

const test = suite("the rawbpf command");
const kernel = requires(test, "bpf", "sys-admin", "koffi");

const MAIN = "dist/cli/main.js";

function run(
  args: readonly string[],
  env: Record<string, string> = {},
): { out: string; err: string; status: number | null } {
  const child = spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8", env: { ...process.env, ...env } });
  return { out: child.stdout, err: child.stderr, status: child.status };
}

test("--version, --help, and what is neither", () => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  assert.equal(run(["--version"]), { out: `${version}\n`, err: "", status: 0 });
  const help = run(["--help"]);
  assert.is(help.status, 0);
  assert.match(help.out, /^Usage: rawbpf COMMAND/);
  assert.match(help.out, /\n {2}demo {4}show every process/);
  const none = run([]);
  assert.is(none.status, 2);
  assert.is(none.out, "");
  assert.is(none.err, help.out);
  assert.equal(run(["doctro"]), {
    out: "",
    err: 'rawbpf: There is no command "doctro"; did you mean "doctor"?\nTry: rawbpf --help\n',
    status: 2,
  });
  for (const args of [
    ["demo", "--duration", "x"],
    ["demo", "--nonsense"],
    ["doctor", "extra"],
  ]) {
    const wrong = run(args);
    assert.is(wrong.status, 2, args.join(" "));
    assert.is(wrong.out, "");
  }
  for (const command of ["demo", "doctor"]) {
    const text = run([command, "--help"]);
    assert.is(text.status, 0);
    assert.match(text.out, /Examples:/);
  }
});

kernel("demo shows the processes that start, and leaves nothing behind", () => {
  const mounts = readFileSync("/proc/self/mounts", "utf8");
  const { out, err, status } = run(["demo", "--duration", "2"]);
  assert.is(err, "");
  assert.is(status, 0);
  assert.match(out, /\br6 = r1\n/, "the disassembly");
  assert.match(out, /call bpf_ringbuf_reserve/);
  // The demo's own children: `true` has this process's child as its parent.
  const line = /^(\d\d:\d\d:\d\d\.\d{3}) +(\d+) +(\d+) +(\d+) +true +(\S*\/true)$/m.exec(out);
  assert.ok(line !== null, out);
  assert.is(Number(line![4]), process.getuid!());
  assert.match(out, /\n\d+ events, \d+ lost, \d+ different programs\n/);
  assert.is(readFileSync("/proc/self/mounts", "utf8"), mounts);
});

kernel("demo shows the right parent", async () => {
  const child = spawn(process.execPath, [MAIN, "demo", "--duration", "2"], { stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  child.stdout.on("data", (data) => {
    out += data;
  });
  await new Promise((resolve) => child.on("exit", resolve));
  const parents = [...out.matchAll(/^\S+ +\d+ +(\d+) +\d+ +(?:true|echo|uname) /gm)].map((match) => Number(match[1]));
  assert.ok(parents.length >= 2, out);
  assert.ok(parents.includes(child.pid!), `${child.pid} among ${parents.join(", ")}`);
});

kernel("--trace-syscalls prints the raw calls on stderr", () => {
  const { err, status } = run(["demo", "--duration", "1", "--trace-syscalls"]);
  assert.is(status, 0);
  for (const call of [
    /^bpf\(BPF_MAP_CREATE, \{map_type=ringbuf, max_entries=262144, map_name=events\}\) = \d+ </m,
    /^bpf\(BPF_PROG_LOAD, \{prog_type=tracepoint, insn_cnt=\d+, /m,
    /^perf_event_open\(attr=\{type=2, config=\d+, /m,
    /^bpf\(BPF_LINK_CREATE, \{prog_fd=\d+, target_fd=\d+, attach_type=perf_event\}\) = \d+ </m,
    /^ioctl\(fd=\d+, request=PERF_EVENT_IOC_ENABLE, /m,
    /^mmap\(/m,
  ]) {
    assert.match(err, call);
  }
});

kernel("Ctrl-C ends the demo with a summary and exit code 130", async () => {
  const child = spawn(process.execPath, [MAIN, "demo", "--duration", "0"], { stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  await new Promise<void>((resolve) => {
    child.stdout.on("data", (data) => {
      out += data;
      if (/ true +\S*\/true\n/.test(out)) resolve();
    });
  });
  const ended = new Promise<number | null>((resolve) => child.on("exit", (code) => resolve(code)));
  child.kill("SIGINT");
  assert.is(await ended, 130);
  assert.match(out, /\n\d+ events, \d+ lost, \d+ different programs\n/);
});

requires(
  test,
  "root",
  "tool:setpriv",
)("without privileges the demo says in one line what is missing", () => {
  const child = spawnSync("setpriv", ["--bounding-set=-all", "--inh-caps=-all", process.execPath, MAIN, "demo"], {
    encoding: "utf8",
  });
  assert.is(child.status, 1);
  assert.is(child.stdout, "");
  assert.is(child.stderr, "rawbpf: the demo needs CAP_BPF and CAP_PERFMON: run it as root\n");
});

requires(test, "linux")("doctor tells what is there, as text and as JSON", () => {
  const json = run(["doctor", "--json"]);
  const report = JSON.parse(json.out) as { ok: boolean; findings: { name: string; verdict: string; value: string }[] };
  assert.is(json.status, report.ok ? 0 : 1);
  const release = readFileSync("/proc/sys/kernel/osrelease", "utf8").trim();
  const byName = new Map(report.findings.map((finding) => [finding.name, finding]));
  assert.is(byName.get("kernel")?.value, release);
  for (const name of [
    "architecture",
    "FFI adapter",
    "bpf()",
    "kernel BTF",
    "CAP_BPF",
    "CAP_PERFMON",
    "lockdown",
    "tracefs",
  ]) {
    assert.ok(byName.has(name), name);
  }
  const text = run(["doctor"]);
  assert.is(text.out.split("\n").filter((line) => /^(ok|note|MISSING) /.test(line)).length, report.findings.length);
  assert.not.match(text.out, "\x1b", "no colours in a pipe");
});

requires(
  test,
  "root",
  "tool:setpriv",
)("doctor names the remedy for what is missing, and fails", () => {
  const child = spawnSync("setpriv", ["--bounding-set=-all", "--inh-caps=-all", process.execPath, MAIN, "doctor"], {
    encoding: "utf8",
  });
  assert.is(child.status, 1);
  assert.match(child.stdout, /MISSING {2}CAP_BPF: not there \(maps and programs\)\n +-> run as root/);
  assert.match(child.stdout, /MISSING {2}bpf\(\): .*EPERM.*\n +-> needs CAP_BPF/);
});

test("without an FFI adapter the error names the remedy", () => {
  const { out, status } = run(["doctor"], { RAWBPF_FFI: "bun:ffi" });
  assert.is(status, 1);
  assert.match(out, /MISSING {2}FFI adapter/);
});

test("the demo's program does not depend on where the kernel has its fields", () => {
  const map = { fd: 9 };
  const at = (filenameOffset: number, task: { realParent: number; tgid: number } | undefined): Uint8Array =>
    encode(link(execProgram({ filenameOffset, task }, map, map)));
  const code = at(8, { realParent: 1000, tgid: 900 });
  assert.not.equal(code, at(12, { realParent: 1000, tgid: 900 }));
  assert.is(code.length - at(8, undefined).length, 8 * (14 - 2), "without BTF the parent is left out");
  assert.is(execEvent.size, 200);
  assert.equal(execEvent.offsets, { pid: 0, ppid: 4, uid: 8, hasParent: 12, time: 16, comm: 24, filename: 40 });
});

test.run();
