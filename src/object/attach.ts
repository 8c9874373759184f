import type { ObjectProgramSpec } from "../elf/index.ts";
import { BpfError, NotSupportedError } from "../errors.ts";
import {
  attachFreplace,
  attachIterator,
  attachRawTracepoint,
  attachTracepoint,
  attachTracing,
  type Link,
} from "../links/index.ts";
import type { Program } from "../programs/index.ts";

/** How a program gets attached by what its section says. */
type Attach = (program: Program, spec: ObjectProgramSpec) => Link;

function targetOf(spec: ObjectProgramSpec): string {
  if (spec.attachTo !== undefined && spec.attachTo !== "") return spec.attachTo;
  throw new BpfError(
    "ERR_OBJECT",
    `Cannot attach program "${spec.name}": section "${spec.sectionName}" names no target`,
    {
      hint: "Attach it yourself, with the functions of rawbpf/links",
    },
  );
}

const tracepoint: Attach = (program, spec) => {
  const target = targetOf(spec);
  const slash = target.indexOf("/");
  if (slash <= 0 || slash === target.length - 1) {
    const message = `Cannot attach program "${spec.name}": "${target}" is no tracepoint, expected group/name`;
    throw new BpfError("ERR_OBJECT", message);
  }
  return attachTracepoint(program, target.slice(0, slash), target.slice(slash + 1));
};

const rawTracepoint: Attach = (program, spec) => attachRawTracepoint(program, targetOf(spec));

/** Programs whose target was fixed when they were loaded. */
const fixedTarget: Attach = (program) => attachTracing(program);
const freplace: Attach = (program) => attachFreplace(program);
const iterator: Attach = (program) => attachIterator(program);

const netfilterLike = /^(netfilter|uprobe|uretprobe|kprobe|kretprobe|ksyscall|kretsyscall|usdt)(\.|$)/;

function attachFunction(spec: ObjectProgramSpec): Attach | undefined {
  const rule = spec.sectionRule.replace(/\.s$/, "");
  switch (rule) {
    case "tracepoint":
    case "tp":
      return tracepoint;
    case "raw_tracepoint":
    case "raw_tp":
    case "raw_tracepoint.w":
    case "raw_tp.w":
      return rawTracepoint;
    case "tp_btf":
    case "fentry":
    case "fexit":
    case "fmod_ret":
    case "fsession":
    case "lsm":
      return fixedTarget;
    case "freplace":
      return freplace;
    case "iter":
      return iterator;
    default:
      return undefined;
  }
}

/**
 * Attaches a program by what its section says.
 *
 * @returns `undefined` when the section does not say what to: `xdp` needs an interface, `socket` a socket
 * @throws NotSupportedError for sections that name a target which cannot be attached to yet; errors of attaching
 */
export function attachBySection(program: Program, spec: ObjectProgramSpec): Link | undefined {
  const attach = attachFunction(spec);
  if (attach !== undefined) {
    // Without a target there is nothing to do by itself, as in libbpf.
    return spec.attachTo === undefined ? undefined : attach(program, spec);
  }
  if (spec.attachTo === undefined || !netfilterLike.test(spec.sectionRule)) return undefined;
  throw new NotSupportedError(`Attaching program "${spec.name}" by its section "${spec.sectionName}"`, {
    hint: "Leave it out of attach({ programs }), and attach it yourself with the functions of rawbpf/links",
  });
}
