import { kernelBuffer } from "../syscall/call.ts";

/** @internal 32-bit numbers, where the kernel may read them. */
export function u32Array(values: readonly number[]): Uint8Array {
  const bytes = kernelBuffer(values.length * 4);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => {
    view.setUint32(index * 4, value, true);
  });
  return bytes;
}

/** @internal 64-bit numbers, where the kernel may read them. */
export function u64Array(values: readonly (bigint | number)[]): Uint8Array {
  const bytes = kernelBuffer(values.length * 8);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => {
    view.setBigUint64(index * 8, BigInt(value), true);
  });
  return bytes;
}
