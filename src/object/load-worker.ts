/**
 * The thread of `loadObjectAsync`: loads one object, tells what came of it, and ends. What it opens stays open for the
 * thread that asked; what it has to leave behind is in the ledger.
 */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { openBtf } from "../btf/index.ts";
import { parseObject } from "../elf/index.ts";
import { rawCodec, storedSize } from "../maps/codecs.ts";
import { BpfMap } from "../maps/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { Fd } from "../syscall/fd.ts";
import { openBackend } from "../syscall/select.ts";
import { errorToMessage } from "./error-message.ts";
import { Ledger } from "./ledger.ts";
import { loadObjectWith } from "./load.ts";
import type { LoadReply, LoadRequest, ReplacementMessage } from "./load-async.ts";
import { objectToMessage, specFromMessage } from "./object-message.ts";
import type { ObjectMap } from "./types.ts";

function replacement(backend: SyscallBackend, { fd, label, description }: ReplacementMessage): ObjectMap {
  const { keySize } = description;
  // Nobody closes it here: it is the asking thread's.
  const owner = new Fd(backend, fd, label);
  return new BpfMap(owner, description, rawCodec(keySize), rawCodec(storedSize(description)));
}

function load(request: LoadRequest, ledger: Ledger): LoadReply {
  const { kernelBtf, maps, ...options } = request.options;
  const backend = ledger.watch(openBackend(request.backend));
  const { object } = request;
  const spec = object instanceof Uint8Array ? parseObject(object, { name: options.name }) : specFromMessage(object);
  const loaded = loadObjectWith(
    spec,
    {
      ...options,
      backend,
      kernelBtf: kernelBtf && openBtf(kernelBtf),
      maps: Object.fromEntries(maps.map(([name, map]) => [name, replacement(backend, map)])),
    },
    { pinned: (path) => ledger.addPin(path) },
  );
  return { object: objectToMessage(loaded), bytes: object instanceof Uint8Array ? object : undefined };
}

/** Answers a request. */
export function answer(port: MessagePort, request: LoadRequest): void {
  const ledger = new Ledger(request.ledger);
  let reply: LoadReply;
  try {
    reply = load(request, ledger);
  } catch (error) {
    // They were removed on the way here, and someone else may take the names.
    ledger.forgetPins();
    reply = { error: errorToMessage(error) };
  }
  const bytes = "bytes" in reply ? reply.bytes : undefined;
  port.postMessage(reply, bytes === undefined ? [] : [bytes.buffer as ArrayBuffer]);
}

if (parentPort !== null && workerData?.rawbpf === "load") answer(parentPort, workerData as LoadRequest);
