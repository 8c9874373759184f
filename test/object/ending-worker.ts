/** A thread of `loadObjectAsync` that loads its object and then dies without a word, as one that is out of memory. */
import { type MessagePort, workerData } from "node:worker_threads";
import { answer } from "../../src/object/load-worker.ts";

const port = { postMessage: () => process.exit(7) };
answer(port as never as MessagePort, workerData.request);
