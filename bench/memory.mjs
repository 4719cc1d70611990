// Memory of Chromium's renderers, from Linux' /proc: performance.measureUserAgentSpecificMemory would need
// response headers that the site must do without.
import { readFile } from "node:fs/promises";

/** The largest resident size that any renderer of this browser has had, as text. */
export async function peakMemory(browser) {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  const peaks = [];
  for (const { type, id } of processInfo) {
    if (type !== "renderer") continue;
    const status = await readFile(`/proc/${id}/status`, "utf8").catch(() => "");
    const peak = status.match(/^VmHWM:\s+(\d+) kB/m);
    if (peak) peaks.push(Number(peak[1]) * 1024);
  }
  return peaks.length > 0 ? `${(Math.max(...peaks) / 1e6).toFixed(0)} MB resident` : "not to be had on this system";
}
