// Browser-safe.

import type { ByteOrder } from "./encode.ts";
import { asmError } from "./errors.ts";
import { type Instruction, LD_IMM64 } from "./instruction.ts";
import { SLOT_BYTES } from "./opcodes.ts";
import { encodingFault, secondSlotFault } from "./validity.ts";

/** Options of {@link decode}. */
export interface DecodeOptions extends ByteOrder {
  /**
   * `true` (default): what is no instruction of the architecture is an error. `false`: raw bits are kept, so that
   * `encode` gives back exactly the bytes read; only a length that is no multiple of 8 is an error.
   */
  readonly strict?: boolean | undefined;
}

/**
 * Reads instructions from bytes; an `ld_imm64` with its two slots becomes one instruction.
 *
 * @param bytes 8 per slot; not kept
 * @param options byte order, strictness
 * @throws AsmError `ERR_ASM_ENCODING`, with the slot in `instruction`: unknown opcode, unused field not zero, `ld_imm64`
 * cut off or malformed (strict), length no multiple of 8 (always)
 *
 * @example
 * ```ts
 * decode(fromHex("b700000000000000 9500000000000000")); // r0 = 0; exit
 * ```
 */
export function decode(bytes: Uint8Array, options: DecodeOptions = {}): Instruction[] {
  const little = options.littleEndian ?? true;
  const strict = options.strict ?? true;
  const length = bytes.length;
  if (length % SLOT_BYTES !== 0) {
    throw asmError("ERR_ASM_ENCODING", `Length ${length} is no multiple of ${SLOT_BYTES} bytes`, {
      instruction: Math.floor(length / SLOT_BYTES),
    });
  }
  // DataView and not Reader: the length was checked above, and this loop is the decoder's whole cost.
  const view = new DataView(bytes.buffer, bytes.byteOffset, length);
  // One element per slot, cut to length at the end: growing by push costs a third of the time.
  const out = new Array<Instruction>(length / SLOT_BYTES);
  let count = 0;
  let at = 0;
  while (at < length) {
    const word = view.getInt32(at, little);
    const imm = view.getInt32(at + 4, little);
    const opcode = little ? word & 0xff : word >>> 24;
    const dst = little ? (word >> 8) & 0xf : (word >> 20) & 0xf;
    const src = little ? (word >> 12) & 0xf : (word >> 16) & 0xf;
    const offset = little ? word >> 16 : (word << 16) >> 16;
    if (opcode === LD_IMM64) {
      const insn = wide(view, at, length, little, dst, src, offset, imm);
      if (strict) {
        const rest = insn.meta?.secondSlot;
        const fault =
          rest === undefined ? encodingFault(opcode, dst, src, offset, imm, insn.high) : secondSlotFault(rest);
        if (fault !== undefined) throw encodingError(fault, at);
      }
      out[count++] = insn;
      at += 2 * SLOT_BYTES;
      continue;
    }
    if (strict) {
      const fault = encodingFault(opcode, dst, src, offset, imm, 0);
      if (fault !== undefined) throw encodingError(fault, at);
    }
    out[count++] = { opcode, dst, src, offset, imm, high: 0, meta: undefined };
    at += SLOT_BYTES;
  }
  out.length = count;
  return out;
}

function wide(
  view: DataView,
  at: number,
  length: number,
  little: boolean,
  dst: number,
  src: number,
  offset: number,
  imm: number,
): Instruction {
  const next = at + SLOT_BYTES;
  if (next === length) {
    return { opcode: LD_IMM64, dst, src, offset, imm, high: 0, meta: { secondSlot: "missing" } };
  }
  const high = view.getInt32(next + 4, little);
  if (view.getInt32(next, little) === 0) return { opcode: LD_IMM64, dst, src, offset, imm, high, meta: undefined };
  const secondSlot = {
    opcode: view.getUint8(next),
    registers: view.getUint8(next + 1),
    offset: view.getInt16(next + 2, little),
  };
  return { opcode: LD_IMM64, dst, src, offset, imm, high, meta: { secondSlot } };
}

function encodingError(fault: string, at: number): Error {
  return asmError("ERR_ASM_ENCODING", fault, { instruction: at / SLOT_BYTES });
}
