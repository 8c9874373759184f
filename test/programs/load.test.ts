import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, ja, load as ldx, mov, program, r0, r1 } from "../../src/asm/index.ts";
import { NotSupportedError } from "../../src/errors.ts";
import { progLoadAttr } from "../../src/kernel-abi/index.ts";
import { loadProgram, summarizeLog, VerifierError } from "../../src/programs/index.ts";
import { errnoNumber, FakeKernel, SyscallError } from "../../src/syscall/index.ts";
import { onBothKernels } from "../support/backends.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("programs");
failOnLeaks(test);

const fine = {
  type: "socket_filter",
  instructions: program(mov(r0, 0), exit()),
  license: "GPL",
  name: "fine",
} as const;

function thrown(run: () => unknown): Error {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error("Nothing was thrown");
}

onBothKernels(test, "a program that is fine is loaded with one call and no log", (backend, fake) => {
  using loaded = loadProgram(fine, { backend });
  assert.ok(loaded.fd > 2);
  assert.is(loaded.name, "fine");
  assert.is(loaded.log, "");
  if (fake !== undefined) {
    assert.equal(fake.commands, ["BPF_PROG_LOAD"]);
    const object = fake.object(loaded.fd);
    assert.is(object.kind === "prog" && object.license, "GPL");
    const code = Uint8Array.of(0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0);
    assert.equal(object.kind === "prog" && object.instructions, code);
  }
});

requires(test, "bpf")("a rejected program says why, and has the kernel's whole log", () => {
  const wrong = { ...fine, name: "wrong", instructions: program(mov(r0, r1), ldx("u64", r0, r0, 200), exit()) };
  const error = thrown(() => loadProgram(wrong)) as VerifierError;
  assert.instance(error, VerifierError);
  assert.instance(error, SyscallError);
  assert.is(error.code, "EACCES");
  assert.is(error.errno, -13);
  assert.is(error.command, "BPF_PROG_LOAD");
  assert.is(error.program, "wrong");
  assert.match(error.message, /^Cannot load program "wrong": EACCES, invalid bpf_context access off=200 size=8/);
  assert.is(error.instruction, 1);
  assert.match(error.log, /0: \(bf\) r0 = r1/);
  assert.match(error.log, /processed 2 insns/);
  assert.is(error.truncated, false);
});

requires(test, "bpf")("a log far longer than the first buffer comes whole", () => {
  // Level 2 prints every state on the way: some 100 bytes for each of these instructions.
  const many = Array.from({ length: 3000 }, (_, i) => mov(r0, i));
  const wrong = { ...fine, instructions: program(many, ldx("u64", r0, r0, 0), exit()) };
  const error = thrown(() => loadProgram(wrong, { logLevel: 2 })) as VerifierError;
  assert.ok(error.log.length > 100_000, `${error.log.length} bytes`);
  assert.match(error.log, /^func#0 @0|^0: /);
  assert.match(error.log, /2999: \(b7\) r0 = 2999/);
  assert.match(error.log, /processed 3001 insns/);
  assert.is(error.truncated, false);
});

requires(test, "bpf")("a log can be had on success too", () => {
  using loaded = loadProgram(fine, { logLevel: 2 });
  assert.match(loaded.log, /0: \(b7\) r0 = 0/);
});

requires(test, "bpf")("a program can be run on data", () => {
  const length = program(ldx("u32", r0, r1, 0), exit());
  using loaded = loadProgram({ ...fine, instructions: length });
  const result = loaded.run({ data: new Uint8Array(100), repeat: 3 });
  assert.is(result.returnValue, 100 - 14, "__sk_buff.len, behind the Ethernet header, which is pulled");
  assert.is(result.data.length, 100);
  assert.throws(
    () => loaded.run({ data: new Uint8Array(5) }),
    (error: SyscallError) => error.code === "EINVAL" && error.command === "BPF_PROG_TEST_RUN",
  );
});

/** A kernel that rejects every program with a log of `size` bytes. */
function rejecting(size: number, reportsSize: boolean): { kernel: FakeKernel; sizes: number[] } {
  const kernel = new FakeKernel();
  const sizes: number[] = [];
  const end = "\n0: (95) exit\nR0 !read_ok\n";
  const log = "x".repeat(size - 1 - end.length) + end;
  kernel.on("BPF_PROG_LOAD", (request) => {
    const room = request.get(progLoadAttr, "log_size");
    if (request.get(progLoadAttr, "log_level") === 0) return "EACCES";
    sizes.push(room);
    if (reportsSize) request.put(progLoadAttr, "log_true_size", size);
    const text = new TextEncoder().encode(log).subarray(-(room - 1));
    request.memory(progLoadAttr, "log_buf", room).set(text);
    return room < size ? "ENOSPC" : "EACCES";
  });
  return { kernel, sizes };
}

test("the log buffer is sized by what the kernel says it needs", () => {
  const { kernel, sizes } = rejecting(1_000_000, true);
  const error = thrown(() => loadProgram(fine, { backend: kernel.backend })) as VerifierError;
  assert.is(error.code, "EACCES", "not ENOSPC, which hides the reason");
  assert.is(error.log.length, 999_999);
  assert.equal(sizes, [65536, 1_000_000]);
});

test("the log buffer is doubled on kernels that do not say", () => {
  const { kernel, sizes } = rejecting(300_000, false);
  const error = thrown(() => loadProgram(fine, { backend: kernel.backend })) as VerifierError;
  assert.is(error.log.length, 299_999);
  assert.equal(sizes, [65536, 131072, 262144, 524288]);
});

test("EAGAIN is tried again, a bounded number of times", () => {
  const kernel = new FakeKernel();
  let left = 5;
  kernel.on("BPF_PROG_LOAD", () => (left-- > 0 ? "EAGAIN" : undefined));
  loadProgram(fine, { backend: kernel.backend }).close();
  assert.is(kernel.commands.length, 6);
  const always = new FakeKernel().on("BPF_PROG_LOAD", () => "EAGAIN");
  const error = thrown(() => loadProgram(fine, { backend: always.backend })) as SyscallError;
  assert.is(error.code, "EAGAIN");
  assert.ok(always.commands.length <= 60, `${always.commands.length} attempts`);
});

test("a refusal without a log is no verifier error", () => {
  const kernel = new FakeKernel().on("BPF_PROG_LOAD", () => "EPERM");
  const error = thrown(() => loadProgram(fine, { backend: kernel.backend }));
  assert.instance(error, SyscallError);
  assert.not.instance(error, VerifierError);
  assert.match(error.message, /^Cannot load program "fine": EPERM, operation not permitted/);
  assert.equal(kernel.open, []);
});

test("ENOTSUPP, which libc does not know, has its name", () => {
  const kernel = new FakeKernel().on("BPF_PROG_TEST_RUN", () => -errnoNumber("ENOTSUPP"));
  using loaded = loadProgram(fine, { backend: kernel.backend });
  const error = thrown(() => loaded.run()) as SyscallError;
  assert.is(error.code, "ENOTSUPP");
  assert.is(error.errno, -524);
});

test("EINTR in a test run is tried again", () => {
  const kernel = new FakeKernel();
  let left = 3;
  kernel.on("BPF_PROG_TEST_RUN", () => (left-- > 0 ? "EINTR" : undefined));
  using loaded = loadProgram(fine, { backend: kernel.backend });
  assert.is(loaded.run().returnValue, 0);
});

test("a program that does not link never reaches the kernel", () => {
  const kernel = new FakeKernel();
  const wrong = { ...fine, instructions: program(ja("nowhere"), exit()) };
  assert.throws(() => loadProgram(wrong, { backend: kernel.backend }), /nowhere/);
  assert.equal(kernel.commands, []);
});

const SUMMARIES: readonly [string, string, string, number | undefined][] = [
  ["statistics are passed over", "0: (95) exit\nR0 !read_ok\nprocessed 1 insns (limit 1000000)\n", "R0 !read_ok (2 more lines in the log)", 0],
  ["a register line takes the one before along", "5: (71) r1 = *(u8 *)(r2 +1)\ninvalid access to packet, off=1 size=1, R2(id=0,off=0,r=0)\nR2 offset is outside of the packet\n", "invalid access to packet, off=1 size=1, R2(id=0,off=0,r=0): R2 offset is outside of the packet (1 more line in the log)", 5],
  ["an instruction is not taken along", "7: (85) call bpf_loop#181\nR1 min value is negative\n", "R1 min value is negative (1 more line in the log)", 7],
  ["nothing", "\n", "the verifier gave no reason", undefined],
]; // biome-ignore format: table

for (const [what, log, message, instruction] of SUMMARIES) {
  test(`summary of a log: ${what}`, () => {
    assert.equal(summarizeLog(log), { message, instruction });
  });
}

test("a kernel that does not know the kind of program is named as the cause, not a bare EINVAL", () => {
  const refusing = new FakeKernel().on("BPF_PROG_LOAD", () => "EINVAL");
  const { backend } = refusing;
  const instructions = [mov(r0, 0), exit()];
  assert.throws(
    () =>
      loadProgram(
        { type: "cgroup_sock_addr", expectedAttachType: "cgroup_unix_connect", instructions, name: "p" },
        { backend },
      ),
    (error: unknown) =>
      error instanceof NotSupportedError &&
      /^Loading program "p" \(cgroup_sock_addr for cgroup_unix_connect\) is not supported here/.test(error.message) &&
      (error.cause as SyscallError).code === "EINVAL",
  );
  // Where the attach type is known, the fault lies elsewhere.
  const picky = new FakeKernel().on("BPF_PROG_LOAD", (request) =>
    new TextDecoder().decode(request.attr.subarray(48, 50)) === "p\0" ? "EINVAL" : undefined,
  );
  assert.throws(
    () =>
      loadProgram(
        { type: "cgroup_sock_addr", expectedAttachType: "cgroup_unix_connect", instructions, name: "p" },
        { backend: picky.backend },
      ),
    (error: unknown) => error instanceof SyscallError && error.code === "EINVAL",
  );
});

test.run();
