// theme="auto": an element is as dark as the page is where it stands, which may be another than the system prefers.
// Part of embed.js (tools/embed.mjs puts it there).
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
/** From here on, text has to be light to be read. */
const DARK = 0.5;
/** Colours that let more of what is behind them through are no ground. */
const OPAQUE = 0.5;

/** Whether a page is dark where an element of it stands: by the color-scheme that its author chose, or else by the ground
 *  that is behind the element. */
function isDark(host) {
  const scheme = getComputedStyle(host).colorScheme ?? "";
  const [light, dark] = ["light", "dark"].map((name) => scheme.split(" ").includes(name));
  if (light || dark) return light && dark ? systemIsDark.matches : dark;
  for (let at = host; at; at = at.assignedSlot ?? at.parentElement ?? at.getRootNode().host) {
    const { backgroundColor, backgroundImage, color } = getComputedStyle(at);
    const { brightness, alpha } = measured(backgroundColor);
    if (alpha > OPAQUE) return brightness < DARK;
    // Of a picture only the text on it tells how dark it is.
    if (backgroundImage !== "none") return measured(color).brightness > DARK;
  }
  return false;
}

/** How bright a computed colour is, and how opaque, from 0 to 1. */
function measured(colour) {
  let [red, green, blue, alpha = 1] = (colour.match(/^rgba?\((.*)\)$/)?.[1] ?? "").split(/[ ,/]+/).map(Number);
  if (blue === undefined) {
    // In another colour space: the browser converts it.
    const canvas = create("canvas");
    canvas.width = canvas.height = 1;
    const context = canvas.getContext("2d");
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    [red, green, blue, alpha] = context.getImageData(0, 0, 1, 1).data;
    alpha /= 255;
  }
  return { brightness: (0.299 * red + 0.587 * green + 0.114 * blue) / 255, alpha };
}
