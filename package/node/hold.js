// Keeps the process alive while something is awaited, and only then: the engine's threads alone do not.

const LONG = 2 ** 31 - 1;
let holds = 0;
let clock;

/** Returns the promise itself: what it rejects with is for whoever waits for it. */
export function hold(promise) {
  holds += 1;
  clock ??= setInterval(() => {}, LONG);
  const release = () => {
    holds -= 1;
    if (holds > 0) return;
    clearInterval(clock);
    clock = undefined;
  };
  promise.then(release, release);
  return promise;
}

/** Makes methods and properties of a class hold the promises they give. */
export function holding(prototype, methods, properties) {
  for (const name of methods) {
    const call = prototype[name];
    prototype[name] = function held(...values) {
      return hold(call.apply(this, values));
    };
  }
  for (const name of properties) {
    const { get, ...others } = Object.getOwnPropertyDescriptor(prototype, name);
    Object.defineProperty(prototype, name, {
      ...others,
      get() {
        return hold(get.call(this));
      },
    });
  }
}
