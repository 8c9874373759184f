import { existsSync, readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { BpfError } from "../../src/errors.ts";
import {
  FakeKernel,
  findTracefs,
  mountDetached,
  openBackend,
  openTracefs,
  parseTracepointFormat,
  readTracepointFormat,
} from "../../src/syscall/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("tracefs");
failOnLeaks(test);
const kernel = requires(test, "root", "sys-admin", "koffi");

// Written by hand after the forms that fields take in the kernel's own files.
const FORMAT = `name: example
ID: 42
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;
\tfield:char comm[16];\toffset:12;\tsize:16;\tsigned:0;
\tfield:const char * name;\toffset:32;\tsize:8;\tsigned:0;
\tfield:unsigned long args[6];\toffset:40;\tsize:48;\tsigned:0;
\tfield:struct sock *sk;\toffset:88;\tsize:8;

print fmt: "filename=%s; pid=%d", __get_str(filename), REC->pid
`;

test("reads the fields of a format file", () => {
  const format = parseTracepointFormat(FORMAT, "group");
  assert.is(format.id, 42);
  assert.is(format.name, "example");
  assert.is(format.group, "group");
  assert.is(format.printFormat, '"filename=%s; pid=%d", __get_str(filename), REC->pid');
  assert.equal(format.fields, [
    { name: "common_type", type: "unsigned short", offset: 0, size: 2, signed: false },
    { name: "common_pid", type: "int", offset: 4, size: 4, signed: true },
    { name: "filename", type: "__data_loc char[]", offset: 8, size: 4, signed: false },
    { name: "comm", type: "char[16]", offset: 12, size: 16, signed: false },
    { name: "name", type: "const char *", offset: 32, size: 8, signed: false },
    { name: "args", type: "unsigned long[6]", offset: 40, size: 48, signed: false },
    { name: "sk", type: "struct sock *", offset: 88, size: 8, signed: false },
  ]);
});

test("text of another kind is an error", () => {
  for (const text of ["", "name: x\n", "ID: 1\n", "<html>"]) {
    assert.throws(() => parseTracepointFormat(text, "g"), /Cannot read the format of a tracepoint in "g"/);
  }
});

kernel("every tracepoint of this kernel can be read, and its fields do not overlap", () => {
  using tracefs = openTracefs(openBackend());
  let count = 0;
  for (const line of readFileSync(`${tracefs.path}/available_events`, "utf8").trim().split("\n")) {
    const [group, name] = line.split(":") as [string, string];
    if (!existsSync(`${tracefs.path}/events/${group}/${name}/format`)) continue;
    const format = readTracepointFormat(tracefs, group, name);
    assert.is(format.name, name);
    const declared =
      readFileSync(`${tracefs.path}/events/${group}/${name}/format`, "utf8").split("\tfield:").length - 1;
    assert.is(format.fields.length, declared, line);
    let end = 0;
    for (const field of format.fields) {
      assert.ok(field.offset >= end, `${line}: ${field.name} overlaps`);
      end = field.offset + field.size;
    }
    count++;
  }
  console.log(`NOTE ${count} tracepoints read`);
  assert.ok(count > 100);
});

kernel("where tracefs is not mounted, a private instance is read, and nothing stays mounted", () => {
  const before = readFileSync("/proc/self/mounts", "utf8");
  const tracefs = openTracefs(openBackend());
  assert.is(tracefs.detached, findTracefs() === undefined);
  assert.ok(readTracepointFormat(tracefs, "sched", "sched_process_exec").id > 0);
  tracefs.close();
  tracefs.close();
  assert.is(readFileSync("/proc/self/mounts", "utf8"), before);
  if (tracefs.detached) assert.not(existsSync(`${tracefs.path}/events`));
});

kernel("an unknown tracepoint is an error that knows a better name", () => {
  using tracefs = openTracefs(openBackend());
  const message = (group: string, name: string): string => {
    try {
      readTracepointFormat(tracefs, group, name);
    } catch (error) {
      assert.is((error as BpfError).code, "ERR_TRACEFS");
      return (error as Error).message;
    }
    throw new Error("Nothing was thrown");
  };
  assert.is(
    message("sched", "sched_proces_exec"),
    "This kernel has no tracepoint sched:sched_proces_exec\nHint: did you mean sched:sched_process_exec?",
  );
  assert.is(
    message("shced", "sched_switch"),
    "This kernel has no tracepoint shced:sched_switch\nHint: did you mean sched:sched_switch?",
  );
  assert.is(message("zzzz", "qqqq"), "This kernel has no tracepoint zzzz:qqqq");
  assert.is(message("../..", "x"), '"../.." is no name of a tracepoint');
});

kernel("a file system the kernel lacks is an error, and nothing is left open", () => {
  assert.throws(() => mountDetached(openBackend(), "no_such_fs"), /Cannot reach no_such_fs without a mount: ENODEV/);
});

test("without tracefs and without the right to it, the error says what to do", () => {
  if (findTracefs() !== undefined) return assert.ok(true);
  const kernel = new FakeKernel();
  assert.throws(
    () => openTracefs(kernel.backend),
    /Cannot read tracefs: it is not mounted\nHint: mount it as root: mount -t tracefs tracefs \/sys\/kernel\/tracing/,
  );
});

test.run();
