import { Worker } from "node:worker_threads";
import { type ObjectSpec, parseObject } from "../elf/index.ts";
import { BpfError } from "../errors.ts";
import type { MapDescription } from "../maps/index.ts";
import type { Program } from "../programs/index.ts";
import type { BackendName, SyscallBackend } from "../syscall/backend.ts";
import type { Fd } from "../syscall/fd.ts";
import { openBackend } from "../syscall/select.ts";
import { type ErrorMessage, errorFromMessage } from "./error-message.ts";
import { Ledger } from "./ledger.ts";
import type { LoadObjectOptions } from "./load.ts";
import type { BpfObject } from "./object.ts";
import { type ObjectMessage, objectFromMessage, type SpecMessage, specToMessage } from "./object-message.ts";
import type { AnyObjectTypes, ObjectMap, ObjectTypes } from "./types.ts";

/** How an object is loaded by another thread. */
export interface LoadObjectAsyncOptions<T extends ObjectTypes = AnyObjectTypes>
  extends Omit<LoadObjectOptions<T>, "backend" | "btfCache" | "kernelBtf"> {
  /** Name of the adapter to use: a shim of your own cannot travel. Default chosen, in both threads alike. */
  readonly backend?: BackendName | undefined;
  /** Bytes of the BTF that CO-RE relocates to. Default: that of the running kernel. */
  readonly kernelBtf?: Uint8Array | undefined;
  /** Gives up: the promise rejects with its reason, once the system call in hand has returned and all is closed. */
  readonly signal?: AbortSignal | undefined;
}

/** A map that takes the place of one of the object, as it travels. @internal */
export interface ReplacementMessage {
  readonly fd: number;
  readonly label: string;
  readonly description: MapDescription;
}

/** What the thread is asked. @internal */
export interface LoadRequest {
  readonly rawbpf: "load";
  readonly object: Uint8Array | SpecMessage;
  readonly backend: BackendName;
  readonly options: Omit<LoadObjectAsyncOptions, "backend" | "signal" | "maps"> & {
    readonly maps: readonly (readonly [name: string, map: ReplacementMessage])[];
  };
  readonly ledger: SharedArrayBuffer;
}

/** What it answers: the object, with the bytes that it was given; or why not. @internal */
export type LoadReply =
  | { readonly object: ObjectMessage; readonly bytes: Uint8Array | undefined }
  | { readonly error: ErrorMessage };

/**
 * Loads an object as `loadObject` does, in a thread of its own: reading, relocating and the verifier may take seconds for
 * large objects, and the event loop goes on meanwhile. For small ones it takes some 50 ms longer.
 *
 * All or nothing, as there: when loading fails, when the signal ends it, and when the thread dies, everything that it had
 * opened or pinned is gone when the promise rejects. Errors are of the same classes, with the same fields. Tracers of
 * system calls (`traceSyscalls`) see nothing of the other thread.
 *
 * The instructions in `object.spec` are read again from a copy of the bytes, when someone looks at them.
 *
 * @param object bytes of the file, or what `parseObject` made of them; copied
 * @param options as of `loadObject`, and a signal
 * @returns the loaded object: close it
 * @throws TypeError for options that cannot travel to another thread, as functions; as `loadObject`; the signal's reason
 * @example
 * ```ts no-run
 * import { readFile } from "node:fs/promises";
 *
 * const signal = AbortSignal.timeout(10_000);
 * using object = await loadObjectAsync(await readFile("large.bpf.o"), { signal });
 * using links = object.attach();
 * ```
 */
export async function loadObjectAsync<T extends ObjectTypes = AnyObjectTypes>(
  object: Uint8Array | ObjectSpec,
  options: LoadObjectAsyncOptions<T> = {},
): Promise<BpfObject<T>> {
  return loadInWorker<T>(object, options as LoadObjectAsyncOptions, startWorker);
}

/** Starts the thread, for sources and what they are compiled to. */
function startWorker(request: LoadRequest): Worker {
  // Two literals, so that bundlers which look for this form find the file.
  const url = import.meta.url.endsWith(".ts")
    ? new URL("./load-worker.ts", import.meta.url)
    : new URL("./load-worker.js", import.meta.url);
  const transferList = request.object instanceof Uint8Array ? [request.object.buffer as ArrayBuffer] : [];
  return new Worker(url, { workerData: request, transferList });
}

/** @internal */
export async function loadInWorker<T extends ObjectTypes>(
  object: Uint8Array | ObjectSpec,
  options: LoadObjectAsyncOptions,
  start: (request: LoadRequest) => Worker,
): Promise<BpfObject<T>> {
  const { signal } = options;
  signal?.throwIfAborted();
  checkTravels(options);
  const backend = openBackend(options.backend);
  const ledger = new Ledger();
  // Their owner may close them while we wait; numbers are used again.
  const lent: Fd[] = [];
  try {
    const request = requestOf(object, options, backend, ledger, lent);
    const cancel = (): void => ledger.cancel();
    signal?.addEventListener("abort", cancel);
    try {
      const reply = await replyOf(start, request);
      signal?.throwIfAborted();
      if ("error" in reply) throw errorFromMessage(reply.error);
      let spec = object instanceof Uint8Array ? undefined : object;
      return objectFromMessage<T>(reply.object, backend, options.values, (program) => {
        spec ??= parseObject(reply.bytes!, { name: options.name });
        return spec.programs[program]?.instructions ?? [];
      });
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  } catch (error) {
    ledger.close(backend);
    throw error;
  } finally {
    for (const fd of lent) fd.close();
  }
}

function requestOf(
  object: Uint8Array | ObjectSpec,
  { backend: _, signal: __, maps, targets, ...options }: LoadObjectAsyncOptions,
  backend: SyscallBackend,
  ledger: Ledger,
  lent: Fd[],
): LoadRequest {
  const replacements = Object.entries((maps ?? {}) as Record<string, ObjectMap>).map(([name, map]) => {
    const fd = map.owner.duplicate();
    lent.push(fd);
    return [name, { fd: fd.number, label: fd.label, description: map.description }] as const;
  });
  const programs = Object.entries((targets ?? {}) as Record<string, Program | number>).map(([name, target]) => {
    if (typeof target === "number") return [name, target] as const;
    const fd = target.owner.duplicate();
    lent.push(fd);
    return [name, fd.number] as const;
  });
  return {
    rawbpf: "load",
    // Of a small part of a large buffer, copying between threads would take all.
    object: object instanceof Uint8Array ? new Uint8Array(object) : specToMessage(object),
    backend: backend.name as BackendName,
    options: { ...options, targets: Object.fromEntries(programs), maps: replacements },
    ledger: ledger.memory,
  };
}

/** Waits for the thread's answer, and for its end: it has nothing open of its own then. */
function replyOf(start: (request: LoadRequest) => Worker, request: LoadRequest): Promise<LoadReply> {
  return new Promise((resolve, reject) => {
    const worker = start(request);
    let reply: LoadReply | undefined;
    let failure: unknown;
    worker.on("message", (message: LoadReply) => {
      reply = message;
    });
    worker.on("messageerror", (error: unknown) => {
      failure = error;
    });
    worker.on("error", (error: unknown) => {
      failure = error;
    });
    worker.on("exit", (code) => {
      if (failure === undefined && reply !== undefined) resolve(reply);
      else {
        const message = `The thread that loads the object ended unexpectedly (exit code ${code})`;
        reject(new BpfError("ERR_OBJECT", message, { cause: failure }));
      }
    });
  });
}

/**
 * Refuses what cannot be copied to another thread, before anything is started.
 *
 * @throws TypeError
 */
function checkTravels(options: LoadObjectAsyncOptions): void {
  const { signal: _, maps: __, targets: ___, ...plain } = options;
  const given = plain as Readonly<Record<string, unknown>>;
  if (given.btfCache !== undefined) throw cannotTravel("btfCache", "open BTF belongs to one thread");
  if (given.backend !== undefined && typeof given.backend !== "string") {
    throw cannotTravel("backend", "name an adapter, such as koffi");
  }
  if (given.kernelBtf !== undefined && !(given.kernelBtf instanceof Uint8Array)) {
    throw cannotTravel("kernelBtf", "give its bytes");
  }
  for (const [name, value] of Object.entries(given)) {
    try {
      structuredClone(value);
    } catch (cause) {
      throw cannotTravel(name, (cause as Error).message, cause);
    }
  }
}

function cannotTravel(name: string, why: string, cause?: unknown): TypeError {
  const message = `Cannot load in another thread: option ${name} cannot be copied to it; ${why}`;
  return new TypeError(message, cause === undefined ? undefined : { cause });
}
