import { AttachType, type BpfCommand, progAttachAttr } from "../kernel-abi/index.ts";
import type { Program } from "../programs/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { bpfError, rawBpf } from "../syscall/bpf.ts";
import { errnoName, errnoNumber } from "../syscall/errno.ts";
import { isErrno } from "../syscall/errors.ts";
import { duplicateDescriptor, type Fd } from "../syscall/fd.ts";
import { permissionHint } from "../syscall/hints.ts";
import { effectiveCapabilities } from "../syscall/host.ts";
import { type HasDescriptor, Link } from "./link.ts";

/** Attributes of `BPF_PROG_ATTACH` besides program and attach type. */
type Attr = { readonly [name: string]: number | bigint };

/** @internal An attachment without a `bpf_link`. */
export interface ProgAttachment {
  readonly attachType: AttachType;
  /** What is attached where, for people. */
  readonly label: string;
  /** What to attach to: `target_fd` or `target_ifindex`. */
  readonly target: Attr;
  /** Flags, order. */
  readonly attr?: Attr | undefined;
  /** Attributes that put another program in the place of one; `undefined` where there is no such way. */
  readonly replaceAttr?: ((current: number) => Attr) | undefined;
  /** What is closed after it: descriptors that `target` speaks of. */
  readonly owned?: readonly Fd[] | undefined;
  /** What an errno means here. */
  readonly meanings?: { readonly [errno: string]: string } | undefined;
}

/**
 * Attaches with `BPF_PROG_ATTACH`. The program stays attached when the process ends without closing. When it fails,
 * `owned` stays open.
 *
 * @internal
 * @throws SyscallError
 */
export function attachProgram(program: Program, attachment: ProgAttachment): Link {
  const { backend } = program.owner;
  const { label, attachType, target, owned = [], replaceAttr, meanings } = attachment;
  // The program's own descriptor may be closed before the attachment: taking it back needs one.
  let held = program.owner.duplicate();
  try {
    const attr = { ...target, attach_bpf_fd: held.number, ...attachment.attr };
    run(backend, "BPF_PROG_ATTACH", attachType, attr, `Cannot attach ${program.owner.label} to ${label}`, meanings);
  } catch (error) {
    held.close();
    throw error;
  }
  const replace = (next: HasDescriptor, expected: HasDescriptor | undefined): void => {
    const copy = duplicateDescriptor(backend, next.fd, label);
    try {
      const current = expected?.fd ?? held.number;
      const attr = { ...target, attach_bpf_fd: copy.number, ...replaceAttr!(current) };
      run(backend, "BPF_PROG_ATTACH", attachType, attr, `Cannot update ${label}`, meanings);
    } catch (error) {
      copy.close();
      throw error;
    }
    held.close();
    held = copy;
  };
  const undo = (): void => {
    try {
      const attr = { ...target, attach_bpf_fd: held.number };
      run(backend, "BPF_PROG_DETACH", attachType, attr, `Cannot detach ${label}`);
    } catch (error) {
      // Somebody else has detached it, or what it was attached to is gone.
      if (!isErrno(error, "ENOENT", "ENODEV")) throw error;
    } finally {
      held.close();
    }
  };
  return new Link(label, {
    type: undefined,
    others: owned,
    undo,
    ...(replaceAttr === undefined ? {} : { replace }),
  });
}

function run(
  backend: SyscallBackend,
  command: "BPF_PROG_ATTACH" | "BPF_PROG_DETACH",
  attachType: AttachType,
  attr: Attr,
  action: string,
  meanings: { readonly [errno: string]: string } = {},
): void {
  const values = { ...attr, attach_type: AttachType[attachType] };
  const trace = { attach_type: attachType };
  const { result } = rawBpf(backend, command, progAttachAttr, values, trace);
  if (result < 0) {
    const hint = skbHint(command, attachType, result);
    throw bpfError(command, result, { action, attachType, detail: meanings[errnoName(result)], hint });
  }
}

/** Programs that see packets may be loaded by everybody but not attached: the kernel says EINVAL to that. */
function skbHint(command: BpfCommand, attachType: AttachType, errno: number): string | undefined {
  if (errnoName(errno) !== "EINVAL" || !/^cgroup_inet_(in|e)gress$/.test(attachType)) return undefined;
  if (effectiveCapabilities()?.has("CAP_SYS_ADMIN") === true) return undefined;
  return permissionHint("bpf", errnoNumber("EPERM"), { command, attachType });
}
