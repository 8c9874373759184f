// Linux numbers errno alike on x86-64 and arm64 (asm-generic). Index = errno; "" = unused.
const NAMES =
  ` EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV
ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK
ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP - ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE
EBADR EXFULL ENOANO EBADRQC EBADSLT - EBFONT ENOSTR ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM
EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART
ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP
EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN
ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM
ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD
ENOTRECOVERABLE ERFKILL EHWPOISON`.split(/\s/);

/** What the commonest errors mean, in a few words. */
const MEANINGS: Readonly<Record<string, string>> = {
  EPERM: "operation not permitted",
  ENOENT: "no such entry",
  ESRCH: "no such process or function",
  EINTR: "interrupted by a signal",
  E2BIG: "too big",
  EBADF: "bad file descriptor",
  EAGAIN: "try again",
  ENOMEM: "out of memory",
  EACCES: "permission denied",
  EFAULT: "bad address",
  EBUSY: "busy",
  EEXIST: "already exists",
  ENODEV: "no such device",
  ENOTDIR: "not a directory",
  EINVAL: "invalid argument",
  EMFILE: "too many open descriptors",
  ENFILE: "too many open files in the system",
  ENOSPC: "no space left",
  ENOSYS: "no such system call",
  ENODATA: "no data",
  ERANGE: "out of range",
  EOPNOTSUPP: "operation not supported",
  ENOTSUPP: "operation not supported",
  EOVERFLOW: "value too large",
};

/** 524: the kernel's internal ENOTSUPP, which leaks out of `bpf(2)` and which libc does not know. */
export const ENOTSUPP = 524;

/**
 * Name of an error number.
 *
 * @param errno positive (`13`) or negative (`-13`) number
 * @returns for example `EACCES`; `E<number>` when Linux has no name for it
 */
export function errnoName(errno: number): string {
  const number = Math.abs(errno);
  if (number === ENOTSUPP) return "ENOTSUPP";
  const name = NAMES[number];
  return name === undefined || name === "" || name === "-" ? `E${number}` : name;
}

/**
 * What an error means, in a few words.
 *
 * @param name errno name
 * @returns for example `permission denied`; `undefined` for the rarer ones
 */
export function errnoMeaning(name: string): string | undefined {
  return MEANINGS[name];
}

/**
 * Number of an error name.
 *
 * @param name for example `EACCES`
 * @returns the positive number
 * @throws RangeError for an unknown name
 */
export function errnoNumber(name: string): number {
  if (name === "ENOTSUPP") return ENOTSUPP;
  const number = NAMES.indexOf(name);
  if (number <= 0 || name === "-") throw new RangeError(`"${name}" is no errno name`);
  return number;
}
