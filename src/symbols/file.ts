import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { elfError } from "../elf/errors.ts";
import type { ElfSource } from "../elf/source.ts";
import { BpfError } from "../errors.ts";

/** Tells a file from all others, and from what it was before it was replaced. */
interface Identity {
  readonly device: number;
  readonly inode: number;
  readonly size: number;
  readonly modified: number;
}

/** A file that is read in parts. No descriptor is held between them. */
export interface PartialFile {
  /** Its path, as given. */
  readonly path: string;
  /** Device and inode as `dev:inode`, the same for all names of a file. */
  readonly key: string;
  /** Bytes. */
  readonly length: number;
  /**
   * Reads parts while the file is open once.
   *
   * @throws BpfError `ERR_FILE_CHANGED` when it is no longer the file that was looked at first
   */
  with<T>(use: (source: ElfSource) => T): T;
}

/**
 * Looks at a file.
 *
 * @param path of a regular file
 * @throws BpfError `ERR_FILE_NOT_FOUND`; ElfError when it is no regular file
 */
export function partialFile(path: string): PartialFile {
  const first = withDescriptor(path, identify);
  return {
    path,
    key: `${first.device}:${first.inode}`,
    length: first.size,
    with: (use) =>
      withDescriptor(path, (fd, name) => {
        const now = identify(fd, name);
        if (now.inode !== first.inode || now.device !== first.device || now.size !== first.size) throw changed(path);
        if (now.modified !== first.modified) throw changed(path);
        return use({ length: now.size, read: (offset, length) => readPart(fd, path, offset, length) });
      }),
  };
}

function changed(path: string): BpfError {
  return new BpfError("ERR_FILE_CHANGED", `${path} is another file now than when it was opened`, {
    hint: "open it again",
  });
}

function withDescriptor<T>(path: string, use: (fd: number, path: string) => T): T {
  let fd: number;
  try {
    // Without O_NONBLOCK, opening a pipe would wait for its other end.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw new BpfError("ERR_FILE_NOT_FOUND", `Cannot open ${path}: ${(cause as NodeJS.ErrnoException).code}`, {
      cause,
    });
  }
  try {
    return use(fd, path);
  } finally {
    closeSync(fd);
  }
}

function identify(fd: number, path: string): Identity {
  const stat = fstatSync(fd);
  if (!stat.isFile()) throw elfError("ERR_UNSUPPORTED_FORMAT", "Not a regular file", path);
  return { device: stat.dev, inode: stat.ino, size: stat.size, modified: stat.mtimeMs };
}

function readPart(fd: number, path: string, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const count = readSync(fd, bytes, done, length - done, offset + done);
    if (count === 0) {
      const message = `ELF truncated: need ${length} bytes at offset ${offset}, file ends at ${offset + done}`;
      throw elfError("ERR_TRUNCATED", message, path, offset + done);
    }
    done += count;
  }
  return bytes;
}
