// residual-stream/inline: the package's functions, with everything they need written into scripts. Only the demo model is
// not there: `loadModel("demo")` rejects with code "not-found"; its folder is `models/demo` of the package.
export * from "./residual-stream.js";
