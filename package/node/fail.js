// Errors as the package has them everywhere: an `Error` with a stable code and a sentence that names the file.

export function fail(code, message) {
  throw Object.assign(new Error(message), { code });
}

/** Looks at a caller's argument, whose own code may run then (a getter, a Proxy) and throw: that is a wrong argument. */
export async function looking(name, look) {
  try {
    return await look();
  } catch (error) {
    // Node's own codes are in capitals.
    if (error instanceof Error && /^[a-z]/.test(error.code ?? "")) throw error;
    return fail("bad-argument", `${name}: it cannot be read: ${error instanceof Error ? error.message : typeof error}`);
  }
}

/** What the operating system's and Node's codes mean, in words. */
const REASONS = {
  EACCES: "it may not be read or written", EPERM: "it may not be read or written", EBUSY: "another program is using it",
  EIO: "its disk cannot be read", EISDIR: "it is a folder", ELOOP: "its links lead in a circle",
  EMFILE: "this process has too many files open", ENFILE: "this machine has too many files open",
  ENAMETOOLONG: "its name is too long", ENOENT: "there is no such file or folder", ENOSPC: "the disk is full",
  ENOTDIR: "a part of its path is no folder", ENXIO: "nothing is at its other end", EPIPE: "whoever was reading it has stopped",
  EROFS: "the disk is read-only", EBADF: "it is not open",
  ERR_INVALID_ARG_VALUE: "its name holds a character that no file's name has",
  ERR_FS_FILE_TOO_LARGE: "it is larger than 2 GiB, which cannot be read at once",
};

/** Why the system refused; undefined for what is no refusal of its. */
export const reasonOf = (error) => (Object.hasOwn(REASONS, error?.code ?? "") ? REASONS[error.code] : undefined);

/** Throws the system's refusal of a file as one of the package's errors: "not-found" where nothing can be under that
 *  name, "network" (as for any place that cannot be read) where something is. */
export function refuse(error, path) {
  const reason = reasonOf(error);
  if (!reason) throw error;
  const missing = ["ENOENT", "ENOTDIR", "ENAMETOOLONG", "ELOOP", "ERR_INVALID_ARG_VALUE"].includes(error.code);
  // A path is shown as text, whatever it holds.
  fail(missing ? "not-found" : "network", `${path.replaceAll("\0", "\\0")} cannot be read: ${reason}.`);
}
