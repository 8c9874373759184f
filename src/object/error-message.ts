import { AsmError } from "../asm/index.ts";
import { BpfError, BtfError, ElfError, NotSupportedError, ParseError } from "../errors.ts";
import { MapIncompatibleError } from "../maps/index.ts";
import { VerifierError } from "../programs/index.ts";
import { SyscallError } from "../syscall/errors.ts";

/** An error as it travels from thread to thread, which keep only what `Error` itself has. */
export interface ErrorMessage {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly cause: ErrorMessage | undefined;
}

const CLASSES: Readonly<Record<string, { readonly prototype: Error }>> = {
  AsmError,
  BpfError,
  BtfError,
  ElfError,
  MapIncompatibleError,
  NotSupportedError,
  ParseError,
  RangeError,
  SyscallError,
  TypeError,
  VerifierError,
};

/** Takes an error apart. */
export function errorToMessage(error: unknown): ErrorMessage {
  if (!(error instanceof Error)) {
    return { name: "Error", message: String(error), stack: undefined, fields: {}, cause: undefined };
  }
  const fields: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(error)) {
    if (name === "cause" || name === "stack" || typeof value === "function") continue;
    fields[name] = value;
  }
  const cause = error.cause === undefined ? undefined : errorToMessage(error.cause);
  return { name: error.name, message: error.message, stack: error.stack, fields, cause };
}

/** Puts an error together again: of the same class, with the same fields. */
export function errorFromMessage(message: ErrorMessage): Error {
  const options = message.cause === undefined ? undefined : { cause: errorFromMessage(message.cause) };
  const error = new Error(message.message, options);
  if (Object.hasOwn(CLASSES, message.name)) Object.setPrototypeOf(error, CLASSES[message.name]!.prototype);
  if (message.stack !== undefined) {
    Object.defineProperty(error, "stack", {
      value: message.stack,
      writable: true,
      configurable: true,
      enumerable: false,
    });
  }
  return Object.assign(error, message.fields);
}
