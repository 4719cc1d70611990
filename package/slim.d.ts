// residual-stream/slim: the package without addresses of its own.
import type * as Package from "./residual-stream.js";

/** WebAssembly.Module, where programs are compiled with the DOM's types. */
type Compiled = typeof globalThis extends { WebAssembly: { Module: { prototype: infer Module } } } ? Module : never;

/** Where a file is, or its content; a function is asked when it is needed, and once. */
type Given<Content> = string | URL | Response | ArrayBuffer | Uint8Array | Blob | Content;
type Source<Content> = Given<Content> | Promise<Given<Content>> | (() => Given<Content> | Promise<Given<Content>>);

export interface Engine {
  /** `residual-stream/engine.js` (or `engine-relaxed.js`): an address, or the bytes; not code to import. A string is an address. */
  script: Source<never>;
  /** `residual-stream/engine.wasm` (or `engine-relaxed.wasm`), compiled or not. */
  module: Source<Compiled>;
}

export interface Sources {
  /** `residual-stream/page.wasm`, compiled or not. Read at once. */
  page: Source<Compiled>;
  /** The engine for every browser with SIMD. Read with the first `loadModel`. */
  engine: Engine;
  /** The engine for browsers with relaxed SIMD, which is faster there; `engine` is taken without it. */
  relaxed?: Engine;
  /** What `loadModel("demo")` loads: a folder's address, or files. Without it, that rejects with code "not-found". */
  demo?: string | URL | Package.ModelFiles | (() => string | URL | Package.ModelFiles | Promise<Package.ModelFiles>);
}

/** The package's functions, once its page half is compiled. Only the first call of a page says from what; later ones give
 *  what it made. Rejects with code "bad-argument" where a file is missing, "network" where it cannot be read. */
export function start(sources: Sources): Promise<Started>;

export type Started = Pick<typeof Package,
  | "cachedModels" | "charts" | "draw" | "evolution" | "histogram" | "loadModel" | "readTrace" | "removeCachedModel" | "svg" | "writeTrace">;
