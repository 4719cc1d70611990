// Defines <residual-stream>: one classic script that any page may load from any origin, no CORS needed.
// It holds what charts of saved runs need (the glue and the wasm of crates/embed); what runs a model comes in further
// classic scripts beside this one, when a model is asked for. tools/embed.mjs fills in the braces.
(() => {
  const NAME = "residual-stream";
  // A page may name this script twice.
  if (customElements.get(NAME)) return;
  // Markup that others may write (a comment's <img name=currentScript>) shadows what `document` has, so it is asked by way
  // of its prototype: a script must come from beside this one, never from where a name leads.
  const own = (name) => Reflect.get(Document.prototype, name, document);
  const create = (tag) => own("createElement").call(document, tag);
  const here = own("currentScript") instanceof HTMLScriptElement ? own("currentScript") : undefined;
  const folder = here?.src ? new URL("./", here.src).href : own("baseURI");

  const STYLE = {{style}};
  const MODULE = "{{module}}";
  const PARTS = {{parts}};
  const ATTRIBUTES = [
    "text", "chart", "model", "src", "height", "theme", "controls", "hub", "show", "by", "head", "texts", "token",
    "against", "off", "pin", "first", "bins", "workers",
  ];

  {{glue}}

  const failure = (code, message) => Object.assign(new Error(message), { code });

  // What the page's own policy refused, by directive: the browser's errors name no reason.
  const refused = new Set();
  addEventListener("securitypolicyviolation", (event) => {
    if (event.disposition === "enforce") refused.add(event.effectiveDirective);
  });

  // (fetch of a data: address would need connect-src.)
  function decoded(base64) {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
    return bytes;
  }
  const inflated = (base64) => new Response(new Blob([decoded(base64)]).stream().pipeThrough(new DecompressionStream("gzip")));

  async function compiled(bytes) {
    try {
      return await WebAssembly.compile(bytes);
    } catch (error) {
      const policy = /unsafe-eval|Content.Security.Policy|blocked by CSP/i.test(String(error?.message));
      throw failure("unsupported-browser", policy
        ? "This page's Content-Security-Policy does not let WebAssembly run: its script-src needs 'wasm-unsafe-eval'."
        : `This browser cannot compile the chart's program: ${error?.message}`);
    }
  }

  // Where the page's policy has require-trusted-types-for 'script', an address of a script must come out of a policy.
  const POLICY = "residual-stream-embed";
  let trust;
  function trusted(address) {
    try {
      trust ??= globalThis.trustedTypes?.createPolicy(POLICY, { createScriptURL: (url) => url });
    } catch {
      // The name is not allowed. Where nothing requires a policy, the address will do as it is.
    }
    return trust ? trust.createScriptURL(address) : address;
  }

  // Each part of the program is loaded once.
  const parts = new Map();
  const arrived = new Map();
  function part(name) {
    if (!parts.has(name)) {
      const promise = new Promise((done, fail) => {
        const script = create("script");
        try {
          script.src = trusted(folder + PARTS[name]);
        } catch {
          return fail(failure("unsupported-browser", `This page's Content-Security-Policy lets no script be loaded by another: its trusted-types needs ${POLICY} residual-stream.`));
        }
        // A policy may know scripts by their nonce.
        if (here?.nonce) script.nonce = here.nonce;
        script.onload = () => (arrived.has(name) ? done(arrived.get(name)) : fail(failure("network", `${script.src} is not the script it should be. Reload the page.`)));
        script.onerror = () => fail(failure("network", `${script.src} cannot be loaded: the host is down, or this page's Content-Security-Policy refuses it (script-src).`));
        own("head").append(script);
      });
      // Another try may do better.
      promise.catch(() => parts.delete(name));
      parts.set(name, promise);
    }
    return parts.get(name);
  }

  // The engine's and the demo model's files, for the package (src/api/launch.rs).
  async function read(address) {
    const [name, file] = address.split("#");
    return inflated((await part(name))[file]);
  }

  let living;
  async function live() {
    const { bindings, module } = await part("live");
    await bindings({ module_or_path: await compiled(await inflated(module).arrayBuffer()) });
    bindings.configure({
      engineScript: "engine#script", engineModule: "engine#module",
      relaxedScript: "relaxed#script", relaxedModule: "relaxed#module",
      demo: "demo#", read,
    });
    return bindings;
  }

  // What the Rust half asks for: runs of models, by the other program; and reasons in the place of riddles.
  const runners = new WeakMap();
  const loader = {
    async run(host, ui, signal) {
      try {
        living ??= live();
        living.catch(() => { living = undefined; });
        if (!arrived.has("live")) ui.status("Loading…");
        const { Runner } = await living;
        if (!runners.has(host)) runners.set(host, new Runner());
        return await runners.get(host).run(host, ui, signal);
      } catch (error) {
        // The browser reports what it refused a moment later.
        await new Promise((next) => setTimeout(next, 50));
        if (["engine-crashed", "unsupported-browser"].includes(error?.code) && (refused.has("worker-src") || refused.has("child-src"))) {
          throw failure("unsupported-browser", "This page's Content-Security-Policy does not let the model's worker start: it needs worker-src blob:.");
        }
        // What a worker's connections were refused for, only the worker hears.
        if (error?.code === "network") {
          throw failure("network", `${error.message}. Where the page has a Content-Security-Policy, its connect-src must allow that host.`);
        }
        throw error;
      }
    },
    leave(host) {
      runners.get(host)?.leave();
    },
    dark(host) {
      shown.set(host, isDark(host));
      return shown.get(host);
    },
  };

  {{theme}}

  // Elements that follow the page's theme, and what it was when they were drawn.
  const shown = new Map();
  const look = () => {
    for (const [host, dark] of shown) if (isDark(host) !== dark) host.attributeChangedCallback();
  };
  const lookSoon = () => requestAnimationFrame(look);
  const themes = new MutationObserver(lookSoon);
  systemIsDark.addEventListener("change", look);
  // Style sheets that come late, and colours that fade.
  addEventListener("load", look);
  addEventListener("transitionend", ({ propertyName }) => { if (propertyName.includes("color")) look(); });

  let starting;
  function start() {
    starting ??= (async () => {
      if (typeof DecompressionStream === "undefined" || typeof WebAssembly === "undefined") {
        throw failure("unsupported-browser", "This browser is too old for this chart: Chrome or Edge 91, Firefox 113, Safari 16.4 and later show it.");
      }
      await wasm_bindgen({ module_or_path: await compiled(await inflated(MODULE).arrayBuffer()) });
      return wasm_bindgen.Embed;
    })();
    return starting;
  }

  // The parts of an element, built one by one: a strict page may forbid markup from text.
  function make(tag, attributes = {}, ...children) {
    const element = create(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }
  const hidden = { hidden: "" };
  const button = (text, attributes = {}) => make("button", { type: "button", ...attributes }, text);

  function partsOfElement() {
    const tools = [["table", "Table"], ["png", "PNG"], ["svg", "SVG"], ["csv", "CSV"], ["json", "JSON"]];
    const zoom = [["in", "+", "Fewer tokens, larger"], ["out", "−", "More tokens"], ["left", "←", "Earlier tokens"], ["right", "→", "Later tokens"]];
    return make("div", { class: "frame" },
      make("slot"),
      make("p", { class: "error", role: "alert" }),
      make("div", { class: "ask", ...hidden }, make("p"), button("", { class: "primary" })),
      make("p", { class: "status", role: "status" }),
      make("progress", { "aria-label": "Download of the model", ...hidden }),
      make("form", { class: "text-form", ...hidden },
        make("label", { class: "visually-hidden", for: "text" }, "Sentences to trace, one a line"),
        make("textarea", { id: "text", rows: "2", spellcheck: "false", autocomplete: "off" }),
        make("button", { class: "primary" }, "Run")),
      make("div", { class: "chart", role: "group", "aria-labelledby": "title", ...hidden },
        make("div", { class: "chart-head" },
          make("p", { class: "title", id: "title" }),
          make("div", { class: "tools", role: "group", "aria-label": "The chart in other forms" },
            ...tools.map(([tool, name]) => button(name, { "data-tool": tool, ...(tool === "table" && { "aria-pressed": "false" }) }))),
          make("p", { class: "lead" })),
        make("div", { class: "chart-bar" },
          make("ul", { class: "legend", "aria-label": "Legend" }),
          button("", { class: "chip", translate: "no", ...hidden }),
          make("span", { class: "zoom", role: "group", "aria-label": "Which tokens are shown", ...hidden },
            ...zoom.map(([how, sign, name]) => button(sign, { "data-zoom": how, "aria-label": name })))),
        make("p", { class: "notes" }),
        make("div", { class: "plot" },
          make("canvas", { role: "img", tabindex: "0", "aria-label": "Nothing is traced yet." }),
          make("div", { class: "readout", translate: "no", ...hidden }),
          make("div", { class: "table-box", role: "region", tabindex: "0", "aria-labelledby": "title", ...hidden }),
          make("p", { class: "visually-hidden", role: "status" })),
        make("p", { class: "finding" }),
        make("p", { class: "how-to-read" }, make("span", { class: "from-data" })),
        make("div", { class: "choices", ...hidden },
          make("label", {}, make("span", {}, "Chart"), make("select")),
          make("label", {}, make("input", { type: "checkbox" }), make("span", {}, "Leave position 0 out")))));
  }

  // What is typed in a chart is not meant for the page around it: arrow keys turn slides there.
  function keepKeys(frame) {
    for (const name of ["keydown", "keypress", "keyup"]) {
      frame.addEventListener(name, (event) => {
        if (event.defaultPrevented || event.target.matches("textarea, select, input")) event.stopPropagation();
      });
    }
  }

  // Columns are narrow on wide screens, too. (A container query would take the width from an element that has none of its
  // own, as in a row of boxes.)
  const widths = new ResizeObserver((entries) => {
    for (const { target, contentRect: { width } } of entries) {
      target.shadowRoot.querySelector(".frame")?.classList.toggle("narrow", width < 560);
    }
  });

  // A style sheet object is no inline style: a strict style-src does not forbid it.
  let sheet;
  function fill(shadow, ...content) {
    shadow.replaceChildren(...content);
    try {
      if (!sheet) {
        sheet = new CSSStyleSheet();
        sheet.replaceSync(STYLE);
      }
      shadow.adoptedStyleSheets = [sheet];
    } catch {
      shadow.prepend(make("style", {}, STYLE));
    }
  }

  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) target.appear();
  }, { rootMargin: "100px" });
  // Elements that wait for it. On paper, all of a page is seen: saved runs load then; models are too large to.
  const waiting = new Set();
  addEventListener("beforeprint", () => {
    for (const element of waiting) if (element.src !== "" || element.trace) element.appear();
  });

  customElements.define(NAME, class ResidualStream extends HTMLElement {
    #shadow;
    #inside;
    #given;

    static observedAttributes = ATTRIBUTES;

    /** Called by the parts beside this script. */
    static take(name, content) {
      arrived.set(name, content);
    }

    constructor() {
      super();
      this.#shadow = this.attachShadow({ mode: "open" });
      // Its box, too, has to be right from the beginning: it is what `near` sees.
      fill(this.#shadow, create("slot"));
    }

    connectedCallback() {
      // Properties that a script set before this element had them.
      for (const name of [...ATTRIBUTES, "trace"]) {
        if (!Object.hasOwn(this, name)) continue;
        const value = this[name];
        delete this[name];
        this[name] = value;
      }
      for (const name of ["documentElement", "body"]) if (own(name)) themes.observe(own(name), { attributes: true });
      widths.observe(this);
      if (this.#inside) return this.#inside.refresh();
      waiting.add(this);
      near.observe(this);
    }

    disconnectedCallback() {
      shown.delete(this);
      waiting.delete(this);
      widths.unobserve(this);
      near.unobserve(this);
      this.#inside?.leave();
    }

    attributeChangedCallback() {
      if (this.isConnected) this.#inside?.refresh();
    }

    /** The element has come near the screen: only now does anything load. */
    async appear() {
      waiting.delete(this);
      near.unobserve(this);
      if (this.#inside) return;
      try {
        const Embed = await start();
        if (this.#inside || !this.isConnected) return;
        const frame = partsOfElement();
        keepKeys(frame);
        fill(this.#shadow, frame);
        // Observed anew, it tells its width to the frame that is there by now.
        widths.unobserve(this);
        widths.observe(this);
        this.#inside = new Embed(this, frame, loader);
        if (this.#given !== undefined) this.#inside.give(this.#given);
      } catch (error) {
        fill(this.#shadow, make("div", { class: "frame" }, make("slot"), make("p", { class: "error", role: "alert" }, error?.message ?? String(error))));
        this.dispatchEvent(new CustomEvent("error", { detail: error }));
      }
    }

    /** The trace that is shown; a script may give another, of `model.trace` or a saved run. */
    get trace() {
      return this.#inside?.trace ?? this.#given;
    }

    set trace(trace) {
      this.#given = trace ?? undefined;
      this.#inside?.give(this.#given);
    }
  });

  // Attributes as properties. `controls` is there or not; all others are texts.
  const { prototype } = customElements.get(NAME);
  for (const name of ATTRIBUTES) {
    const flag = name === "controls";
    Object.defineProperty(prototype, name, {
      configurable: true,
      enumerable: true,
      get() {
        return flag ? this.hasAttribute(name) : this.getAttribute(name) ?? "";
      },
      set(value) {
        if (value === false || value === null || value === undefined) this.removeAttribute(name);
        else this.setAttribute(name, flag && value === true ? "" : String(value));
      },
    });
  }
})();
