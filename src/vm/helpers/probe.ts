// Browser-safe.

import { EFAULT } from "../maps/errno.ts";
import { Permission } from "../memory.ts";
import type { Helper, HelperCall } from "./call.ts";

/** Address in argument `n` when all bytes may be read; no fault, because reading anything is what these are for. */
function probe(call: HelperCall, n: number, size: number): number | undefined {
  const at = call.u64(n);
  return at <= 0x7fff_ffffn && call.memory.allows(Number(at), size, Permission.read) ? Number(at) : undefined;
}

function read(call: HelperCall): number {
  const size = call.size(2);
  const into = call.writable(1, size);
  const from = probe(call, 3, size);
  if (from === undefined) {
    call.memory.bytes.fill(0, into, into + size);
    return -EFAULT;
  }
  call.memory.bytes.copyWithin(into, from, from + size);
  return 0;
}

function readText(call: HelperCall): number {
  const size = call.size(2);
  if (size === 0) return 0;
  const into = call.writable(1, size);
  const { memory } = call;
  const address = call.u64(3);
  const from = address <= 0x7fff_ffffn ? Number(address) : -1;
  for (let i = 0; i < size; i++) {
    if (from < 0 || !memory.allows(from + i, 1, Permission.read)) {
      memory.bytes.fill(0, into, into + size);
      return -EFAULT;
    }
    const byte = i === size - 1 ? 0 : memory.bytes[from + i]!;
    memory.bytes[into + i] = byte;
    if (byte === 0) return i + 1;
  }
  return size;
}

/** Helpers that read what may not be there: memory that the test has set up, or nothing. */
export const PROBE_HELPERS: Readonly<Record<string, Helper>> = {
  probe_read: read,
  probe_read_user: read,
  probe_read_kernel: read,
  copy_from_user: read,
  probe_read_str: readText,
  probe_read_user_str: readText,
  probe_read_kernel_str: readText,
  probe_write_user(call) {
    const size = call.size(3);
    const from = call.readable(2, size);
    const address = call.u64(1);
    if (address > 0x7fff_ffffn || !call.memory.allows(Number(address), size, Permission.write)) return -EFAULT;
    const into = call.writable(1, size);
    call.memory.bytes.copyWithin(into, from, from + size);
    return 0;
  },
};
