import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, mov, r0 } from "../../src/asm/index.ts";
import { type BpfError, NotSupportedError } from "../../src/errors.ts";
import { type AttachType, AttachType as attachTypes, linkCreateAttr } from "../../src/kernel-abi/index.ts";
import { attachFreplace, attachTracing, attachTracingMulti } from "../../src/links/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import {
  FakeKernel,
  kernelOlderThan,
  loadKernelBtf,
  type SyscallTrace,
  type Tracefs,
  traceSyscalls,
} from "../../src/syscall/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";
import { counter, counting } from "./counter.ts";

const test = suite("tracing links");
failOnLeaks(test);
const kernel = requires(test, "bpf", "sys-admin", "koffi");

kernel("a program for a tracepoint's BTF runs while it is attached", () => {
  const btf = loadKernelBtf();
  const { id } = btf.typeByName("btf_trace_sched_process_exec", "typedef");
  using map = counter();
  using program = loadProgram({
    type: "tracing",
    expectedAttachType: "trace_raw_tp",
    attachBtfId: id,
    instructions: counting(map),
    license: "GPL",
    name: "counter",
  });
  {
    using link = attachTracing(program);
    const info = link.info();
    assert.is(info.type, "raw_tracepoint");
    assert.is(link.type, "raw_tracepoint");
    spawnSync("true");
  }
  const counted = map.get(0)!;
  assert.ok(counted >= 1n);
  spawnSync("true");
  assert.is(map.get(0), counted);
});

function onFake(
  fake: FakeKernel,
  spec: { readonly type: "tracing" | "lsm" | "ext"; readonly attachType?: AttachType },
  attach: (program: Program) => { close(): void },
): SyscallTrace[] {
  const { backend } = fake;
  const { type, attachType } = spec;
  const instructions = [mov(r0, 0), exit()];
  using program = loadProgram({ type, instructions, name: "p", expectedAttachType: attachType }, { backend });
  const calls: SyscallTrace[] = [];
  using _tracer = traceSyscalls((traced) => calls.push(traced));
  attach(program).close();
  return calls;
}

const names = (calls: readonly SyscallTrace[]): string[] => calls.map((traced) => traced.command ?? traced.syscall);

test("functions are attached to by a link; what is older than those, by the older call", () => {
  for (const attachType of ["trace_fentry", "trace_fexit", "modify_return", "lsm_mac", "trace_raw_tp"] as const) {
    const type = attachType === "lsm_mac" ? "lsm" : "tracing";
    const fake = new FakeKernel();
    const calls = onFake(fake, { type, attachType }, (program) => attachTracing(program, { cookie: 9n }));
    assert.equal(names(calls), ["BPF_LINK_CREATE", "close"]);
    assert.is(calls[0]!.arguments.attach_type, attachType);
    assert.is(calls[0]!.arguments["tracing.cookie"], 9n);

    const old = new FakeKernel().on("BPF_LINK_CREATE", () => "EINVAL");
    assert.equal(names(onFake(old, { type, attachType }, (program) => attachTracing(program))), [
      "BPF_LINK_CREATE",
      "BPF_RAW_TRACEPOINT_OPEN",
      "close",
    ]);
    // A cookie cannot be left out silently.
    assert.throws(
      () => onFake(old, { type, attachType }, (program) => attachTracing(program, { cookie: 9n })),
      /EINVAL/,
    );
    assert.equal(old.open, []);
  }
});

test("fsession is newer than the older call, which is not tried for it", () => {
  const old = new FakeKernel().on("BPF_LINK_CREATE", () => "EINVAL");
  assert.throws(
    () => onFake(old, { type: "tracing", attachType: "trace_fsession" }, (p) => attachTracing(p)),
    /EINVAL/,
  );
  assert.not.ok(old.commands.includes("BPF_RAW_TRACEPOINT_OPEN"));
});

test("EBUSY says what it means for a function", () => {
  const full = new FakeKernel().on("BPF_LINK_CREATE", () => "EBUSY");
  assert.throws(
    () => onFake(full, { type: "tracing", attachType: "trace_fentry" }, (p) => attachTracing(p)),
    /EBUSY.*the function has as many programs as it can take/,
  );
});

test("a function of another program is replaced: the one it was loaded for, or another", () => {
  const fake = new FakeKernel();
  assert.equal(names(onFake(fake, { type: "ext" }, (p) => attachFreplace(p))), ["BPF_RAW_TRACEPOINT_OPEN", "close"]);
  const calls = onFake(fake, { type: "ext" }, (p) => attachFreplace(p, { program: 77, btfId: 5 }));
  assert.equal(names(calls), ["BPF_LINK_CREATE", "close"]);
  assert.is(calls[0]!.arguments.target_fd, 77);
  assert.is(calls[0]!.arguments.target_btf_id, 5);
});

test("many functions by one link", () => {
  let ids: number[] = [];
  let cookies: bigint[] = [];
  const fake = new FakeKernel().on("BPF_LINK_CREATE", (request) => {
    const attr = request.attr;
    assert.is(new DataView(attr.buffer, attr.byteOffset).getUint32(8, true), attachTypes.trace_fentry_multi);
    const layout = linkCreateAttr;
    assert.is(request.get(layout, "tracing_multi.cnt"), 2);
    ids = [...new Uint32Array(request.memory(layout, "tracing_multi.ids", 8).slice().buffer)];
    cookies = [...new BigUint64Array(request.memory(layout, "tracing_multi.cookies", 16).slice().buffer)];
    return undefined;
  });
  const spec = { type: "tracing", attachType: "trace_fentry_multi" } as const;
  onFake(fake, spec, (p) => attachTracingMulti(p, { btfIds: [70, 71], cookies: [1n, 2n ** 63n] }));
  assert.equal(ids, [70, 71]);
  assert.equal(cookies, [1n, 2n ** 63n]);
  assert.throws(() => onFake(fake, spec, (p) => attachTracingMulti(p, { btfIds: [] })), /no functions/);
  assert.throws(() => onFake(fake, spec, (p) => attachTracingMulti(p, { btfIds: [1], cookies: [] })), /0 cookies/);
});

if (kernelOlderThan(7, 2)) {
  test("where the kernel has no links to many functions, the error says since when it would", () => {
    const old = new FakeKernel().on("BPF_PROG_LOAD", () => "EINVAL");
    assert.throws(
      () => onFake(old, { type: "tracing", attachType: "trace_fexit_multi" }, () => ({ close() {} })),
      (error: unknown) =>
        error instanceof NotSupportedError &&
        /^Loading program "p" \(tracing for trace_fexit_multi\) .*7\.2/.test(error.message),
    );
  });
}

test("programs of other kinds are refused before any call", () => {
  const { backend } = new FakeKernel();
  using xdp = loadProgram({ type: "xdp", instructions: [mov(r0, 0), exit()], name: "x" }, { backend });
  using iterator = loadProgram(
    { type: "tracing", expectedAttachType: "trace_iter", instructions: [mov(r0, 0), exit()], name: "i" },
    { backend },
  );
  for (const run of [
    () => attachTracing(xdp),
    () => attachFreplace(xdp),
    () => attachTracing(iterator),
    () => attachTracingMulti(iterator, { btfIds: [1] }),
  ]) {
    assert.throws(run, (error: BpfError) => error.code === "ERR_TYPE_MISMATCH");
  }
});

kernel("functions are found by name in the kernel's BTF", () => {
  const ids: number[][] = [];
  const fake = new FakeKernel().on("BPF_LINK_CREATE", (request) => {
    const count = request.get(linkCreateAttr, "tracing_multi.cnt");
    ids.push([...new Uint32Array(request.memory(linkCreateAttr, "tracing_multi.ids", 4 * count).slice().buffer)]);
    return undefined;
  });
  const spec = { type: "tracing", attachType: "trace_fexit_multi" } as const;
  const attach = (options: Parameters<typeof attachTracingMulti>[1]): void =>
    void onFake(fake, spec, (p) => attachTracingMulti(p, options));
  const btf = loadKernelBtf();
  attach({ symbols: ["vfs_unlink", "vfs_rmdir"] });
  assert.equal(ids, [[btf.typeByName("vfs_unlink", "func").id, btf.typeByName("vfs_rmdir", "func").id]]);
  assert.throws(
    () => attach({ symbols: ["vfs_unlinkk"] }),
    (error: BpfError) => error.code === "ERR_ATTACH_TARGET" && /did you mean vfs_unlink\?/.test(error.message),
  );
  const path = mkdtempSync(join(tmpdir(), "rawbpf-tracing-"));
  try {
    writeFileSync(join(path, "available_filter_functions"), "vfs_unlink\nvfs_rmdir\nno_such_function\nother\n");
    const tracefs: Tracefs = { path, detached: false, close() {}, [Symbol.dispose]() {} };
    attach({ pattern: "vfs_*", tracefs });
    assert.equal(ids[1]!.sort(), [...ids[0]!].sort());
    assert.throws(
      () => attach({ pattern: "no_such_*", tracefs }),
      /No function in the kernel's BTF that can be traced/,
    );
  } finally {
    rmSync(path, { recursive: true });
  }
  assert.throws(() => attach({}), TypeError);
  assert.throws(() => attach({ pattern: "vfs_*", cookies: [1n] }), TypeError);
});

test.run();
