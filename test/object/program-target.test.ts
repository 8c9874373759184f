import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encodeBtf } from "../../src/btf/index.ts";
import { type ObjectSpec, parseObject } from "../../src/elf/index.ts";
import { btfInfo, infoByFdAttr, progInfo, progLoadAttr } from "../../src/kernel-abi/index.ts";
import { loadObject } from "../../src/object/index.ts";
import { FakeKernel, isErrno, loadBtf, type SyscallBackend } from "../../src/syscall/index.ts";
import { fixture } from "../elf/build.ts";
import { failOnLeaks, requires } from "../support/harness.ts";
import { watchedBackend } from "../support/watched.ts";

const test = suite("object/program-target");
failOnLeaks(test);

const packetCount = fixture("packet-count.el.o");

/** The object with one program, which replaces a function of another one. */
function replacing(name: string, attachTo: string | undefined): ObjectSpec {
  const spec = parseObject(packetCount);
  const program = {
    ...spec.programs[name]!,
    type: "ext" as const,
    attachType: undefined,
    attachBtf: true,
    attachTo,
    sectionName: "freplace",
  };
  spec.programs = { [name]: program };
  return spec;
}

const BTF = encodeBtf([
  { kind: "int", name: "int", size: 4, signed: true },
  { kind: "func_proto", returnType: 1, params: [] },
  { kind: "func", name: "other", type: 2, linkage: "global" },
  { kind: "func", name: "drop", type: 2, linkage: "global" },
]);

/** A kernel with a program whose BTF is number 7. */
function kernelWithProgram(btfId = 7): {
  kernel: FakeKernel;
  backend: SyscallBackend;
  loads: (readonly [number, number])[];
} {
  const kernel = new FakeKernel();
  const loads: (readonly [number, number])[] = [];
  const backend = watchedBackend(kernel.backend, ({ command, attr, memory }) => {
    if (command !== "BPF_OBJ_GET_INFO_BY_FD") return undefined;
    const fields = new DataView(attr.buffer, attr.byteOffset, attr.byteLength);
    const length = fields.getUint32(infoByFdAttr.fields.info_len.offset, true);
    const info = memory(Number(fields.getBigUint64(infoByFdAttr.fields.info.offset, true)), length);
    const view = new DataView(info.buffer, info.byteOffset, info.byteLength);
    if (length === progInfo.size) view.setUint32(progInfo.fields.btf_id.offset, btfId, true);
    if (length !== btfInfo.size) return 0;
    const size = view.getUint32(btfInfo.fields.btf_size.offset, true);
    if (size > 0) memory(Number(view.getBigUint64(btfInfo.fields.btf.offset, true)), size).set(BTF);
    view.setUint32(btfInfo.fields.btf_size.offset, BTF.length, true);
    return 0;
  });
  // A descriptor like that of loaded BTF.
  kernel.on("BPF_BTF_GET_FD_BY_ID", () => loadBtf(kernel.backend, BTF).number);
  kernel.on("BPF_PROG_LOAD", (request) => {
    loads.push([request.get(progLoadAttr, "attach_prog_fd"), request.get(progLoadAttr, "attach_btf_id")]);
    return undefined;
  });
  return { kernel, backend, loads };
}

test("the function is found in the types of the program that has it", () => {
  const { kernel, backend, loads } = kernelWithProgram();
  using object = loadObject(replacing("pass", "drop"), { backend, targets: { pass: 44 } });
  assert.equal(
    loads.filter(([fd]) => fd !== 0),
    [[44, 4]],
  );
  assert.equal(Object.keys(object.programs), ["pass"]);
  assert.equal(
    kernel.open.filter((entry) => entry.startsWith("btf")),
    [],
  );
});

test("without the program, the function, or types there is an error that says so", () => {
  const { kernel, backend } = kernelWithProgram();
  assert.throws(
    () => loadObject(replacing("pass", "drop"), { backend }),
    /^Cannot load program "pass": it needs the program that has the function it replaces\nHint: Give it: targets: \{ pass: program \}$/,
  );
  assert.throws(
    () => loadObject(replacing("pass", "none"), { backend, targets: { pass: 44 } }),
    /has no function "none"\nHint: It has other, drop$/,
  );
  assert.throws(
    () => loadObject(replacing("pass", undefined), { backend, targets: { pass: 44 } }),
    /names no function to replace/,
  );
  const untyped = kernelWithProgram(0);
  assert.throws(
    () => loadObject(replacing("pass", "drop"), { backend: untyped.backend, targets: { pass: 44 } }),
    /was loaded without types/,
  );
  assert.equal(kernel.open, []);
});

requires(
  test,
  "bpf",
  "net-admin",
  "kernel-btf",
)("a function of a loaded program is replaced", () => {
  using target = loadObject(packetCount, { programs: ["drop"] });
  const drop = target.program("drop");
  try {
    using object = loadObject(replacing("pass", "drop"), { targets: { pass: drop } });
    assert.is(object.program("pass").type, "ext");
  } catch (error) {
    // Where tracing is locked down, extensions are too; the kernel has found the function all the same.
    if (!isErrno(error, "EPERM")) throw error;
    console.log("NOTE extensions are not permitted here (EPERM): the kernel was asked, and not seen to take one");
  }
});

test.run();
