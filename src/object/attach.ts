import type { ObjectProgramSpec } from "../elf/index.ts";
import { BpfError } from "../errors.ts";
import {
  attachFreplace,
  attachIterator,
  attachKprobe,
  attachKprobeMulti,
  attachRawTracepoint,
  attachSyscall,
  attachTracepoint,
  attachTracing,
  attachTracingMulti,
  attachUprobe,
  attachUprobeMulti,
  attachUsdt,
  type Link,
  type UsdtSpecs,
} from "../links/index.ts";
import type { Program } from "../programs/index.ts";

/** What attaching by a section needs besides the section. */
export interface SectionContext {
  /** Where programs read the arguments of USDT probes; `undefined` when the object has no such map. */
  readonly usdt: () => UsdtSpecs | undefined;
}

/** How a program gets attached by what its section says. */
type Attach = (program: Program, target: string, spec: ObjectProgramSpec, context: SectionContext) => Link;

function malformed(spec: ObjectProgramSpec, what: string): BpfError {
  const message = `Cannot attach program "${spec.name}": "${spec.attachTo}" is ${what}`;
  return new BpfError("ERR_OBJECT", message, { hint: `its section is ${spec.sectionName}` });
}

const tracepoint: Attach = (program, target, spec) => {
  const slash = target.indexOf("/");
  if (slash <= 0 || slash === target.length - 1) throw malformed(spec, "no tracepoint, expected group/name");
  return attachTracepoint(program, target.slice(0, slash), target.slice(slash + 1));
};

const rawTracepoint: Attach = (program, target) => attachRawTracepoint(program, target);

/** Programs whose target was fixed when they were loaded. */
const fixedTarget: Attach = (program) => attachTracing(program);
const freplace: Attach = (program) => attachFreplace(program);
const iterator: Attach = (program) => attachIterator(program);

const kprobe: Attach = (program, target, spec) => {
  const isReturn = spec.sectionRule === "kretprobe";
  const match = /^([\w.:$]+?)(?:\+(0x[0-9a-f]+|\d+))?$/i.exec(target);
  if (match === null) throw malformed(spec, "no function, expected function or function+offset");
  const offset = Number(match[2] ?? 0);
  if (isReturn && offset !== 0) throw malformed(spec, "no function: a return has no offset");
  return attachKprobe(program, match[1]!, { return: isReturn, offset });
};

const syscall: Attach = (program, target, spec) =>
  attachSyscall(program, target, { return: spec.sectionRule === "kretsyscall" });

const kprobeMulti: Attach = (program, target, spec) => {
  const isReturn = spec.sectionRule.startsWith("kret");
  // A name is given as it is: then nothing needs to be read from tracefs.
  if (/^[\w.$]+$/.test(target)) return attachKprobeMulti(program, { symbols: [target], return: isReturn });
  return attachKprobeMulti(program, { pattern: target, return: isReturn });
};

const tracingMulti: Attach = (program, target) =>
  attachTracingMulti(program, /[*?]/.test(target) ? { pattern: target } : { symbols: [target] });

/** `/path/to/binary:rest`: the path may have colons, the rest has none. */
function splitBinary(target: string, spec: ObjectProgramSpec): [binary: string, rest: string] {
  const colon = target.lastIndexOf(":");
  if (colon <= 0 || colon === target.length - 1)
    throw malformed(spec, "no place in a binary, expected binary:function");
  return [target.slice(0, colon), target.slice(colon + 1)];
}

const uprobe: Attach = (program, target, spec) => {
  const [binary, place] = splitBinary(target, spec);
  const isReturn = spec.sectionRule.startsWith("uretprobe");
  if (isReturn && place.includes("+")) throw malformed(spec, "no function: a return has no offset");
  const offset = /^(0x[0-9a-f]+|\d+)$/i.test(place) ? Number(place) : place;
  return attachUprobe(program, binary, offset, { return: isReturn });
};

const uprobeMulti: Attach = (program, target, spec) => {
  const [binary, pattern] = splitBinary(target, spec);
  const isReturn = spec.sectionRule.startsWith("uretprobe");
  if (/[*?]/.test(pattern)) return attachUprobeMulti(program, binary, { pattern, return: isReturn });
  return attachUprobeMulti(program, binary, { places: [pattern], return: isReturn });
};

const usdt: Attach = (program, target, spec, context) => {
  const parts = target.split(":");
  const [provider, name] = parts.slice(-2);
  const binary = parts.slice(0, -2).join(":");
  if (!binary || !provider || !name) throw malformed(spec, "no USDT probe, expected binary:provider:name");
  return attachUsdt(program, binary, provider, name, { specs: context.usdt() });
};

const BY_RULE: { readonly [rule: string]: Attach } = {
  tracepoint,
  tp: tracepoint,
  raw_tracepoint: rawTracepoint,
  raw_tp: rawTracepoint,
  "raw_tracepoint.w": rawTracepoint,
  "raw_tp.w": rawTracepoint,
  tp_btf: fixedTarget,
  fentry: fixedTarget,
  fexit: fixedTarget,
  fmod_ret: fixedTarget,
  fsession: fixedTarget,
  lsm: fixedTarget,
  "fentry.multi": tracingMulti,
  "fexit.multi": tracingMulti,
  "fsession.multi": tracingMulti,
  freplace,
  iter: iterator,
  kprobe,
  kretprobe: kprobe,
  ksyscall: syscall,
  kretsyscall: syscall,
  "kprobe.multi": kprobeMulti,
  "kretprobe.multi": kprobeMulti,
  "kprobe.session": kprobeMulti,
  uprobe,
  uretprobe: uprobe,
  "uprobe.multi": uprobeMulti,
  "uretprobe.multi": uprobeMulti,
  "uprobe.session": uprobeMulti,
  usdt,
};

/**
 * Attaches a program by what its section says.
 *
 * @returns `undefined` when the section does not say what to: `xdp` needs an interface, `socket` a socket
 * @throws BpfError `ERR_OBJECT` for a target that cannot be read; errors of attaching
 */
export function attachBySection(program: Program, spec: ObjectProgramSpec, context: SectionContext): Link | undefined {
  const rule = spec.sectionRule.replace(/\.s$/, "");
  const attach = Object.hasOwn(BY_RULE, rule) ? BY_RULE[rule] : undefined;
  const { attachTo } = spec;
  // Without a target there is nothing to do by itself, as in libbpf.
  if (attach === undefined || attachTo === undefined || attachTo === "") return undefined;
  return attach(program, attachTo, spec, context);
}
