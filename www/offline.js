// The beginning of the offline page's script (tools/offline.mjs puts the page's glue and its start behind it): hands
// out the files that the page carries. Each is an inert element whose text is base64 of gzip, unpacked when it is
// asked for: the engine that this browser takes, and the demo model once it is wanted.

/** The `Response` of a file by its name within the site, as fetching it would give; src/page/app.rs asks here. */
globalThis.residualStreamRead = async (name) => {
  // The last of them may still be on its way from the disk.
  if (document.readyState === "loading") {
    await new Promise((done) => document.addEventListener("DOMContentLoaded", done, { once: true }));
  }
  return unpack(name);
};

function unpack(name) {
  const element = document.getElementById(`file:${name}`);
  if (!element) return new Response(`this page carries no ${name}`, { status: 404 });
  const text = element.textContent;
  // A multiple of four characters, so that every piece is base64 of its own.
  const PIECE = 1 << 20;
  let at = 0;
  const packed = new ReadableStream({
    pull(controller) {
      if (at >= text.length) return controller.close();
      controller.enqueue(Uint8Array.from(atob(text.slice(at, at + PIECE)), (c) => c.charCodeAt(0)));
      at += PIECE;
    },
  });
  return new Response(packed.pipeThrough(new DecompressionStream("gzip")), { headers: { "Content-Type": element.dataset.type } });
}
