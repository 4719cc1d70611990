// Errors as the package has them everywhere: an `Error` with a stable code.

export function fail(code, message) {
  throw Object.assign(new Error(message), { code });
}
