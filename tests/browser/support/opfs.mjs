// The origin's private file system as a test sees it from the page: listing, damaging, waiting for locks.
import { until } from "./browser.mjs";

const ROOT = "residual-stream";

/** [{ path, size }] of all files under the engine's root. */
export function stored(page) {
  return page.evaluate(async (root) => {
    const found = [];
    const walk = async (folder, path) => {
      for await (const [name, handle] of folder.entries()) {
        if (handle.kind === "directory") await walk(handle, `${path}${name}/`);
        else found.push({ path: path + name, size: (await handle.getFile()).size });
      }
    };
    const top = await navigator.storage.getDirectory();
    try {
      await walk(await top.getDirectoryHandle(root), "");
    } catch (error) {
      if (error.name !== "NotFoundError") throw error;
    }
    return found.sort((a, b) => (a.path < b.path ? -1 : 1));
  }, ROOT);
}

/** Bytes of the data files. */
export async function dataBytes(page) {
  return (await stored(page)).filter(({ path }) => path.endsWith(".data")).reduce((sum, { size }) => sum + size, 0);
}

/** Waits until no worker holds a file open: a worker that was ended lets go of its files a little later. */
export function unlocked(page) {
  return until("the engine's files in the storage to be closed (a worker that has ended still holds them)", () => page.evaluate(async (root) => {
    const free = async (folder) => {
      for await (const handle of folder.values()) {
        if (handle.kind === "directory") {
          if (!(await free(handle))) return false;
        } else {
          try {
            await (await handle.createWritable()).abort();
          } catch {
            return false;
          }
        }
      }
      return true;
    };
    try {
      return await free(await (await navigator.storage.getDirectory()).getDirectoryHandle(root));
    } catch (error) {
      return error.name === "NotFoundError";
    }
  }, ROOT));
}

/** Damages every file of the folder whose name holds `model`, if the file's name ends with `ending`:
 *  { flip: [places] } flips a bit at each (from the end, where negative); { cut: size } (from the end, where negative);
 *  { append: bytes } of noise; { text } instead of it; { remove: true }. Resolves to the number of files. */
export function damage(page, model, ending, how) {
  return page.evaluate(async ({ root, model, ending, how }) => {
    let count = 0;
    const spoil = async (folder, name, handle) => {
      if (how.remove) return folder.removeEntry(name);
      const { size } = await handle.getFile();
      const place = (at) => (at < 0 ? size + at : at);
      const writable = await handle.createWritable({ keepExistingData: how.text === undefined });
      for (const at of how.flip ?? []) {
        const [byte] = new Uint8Array(await (await handle.getFile()).slice(place(at), place(at) + 1).arrayBuffer());
        await writable.write({ type: "write", position: place(at), data: new Uint8Array([byte ^ 0x10]) });
      }
      if (how.cut !== undefined) await writable.truncate(place(how.cut));
      if (how.append) await writable.write({ type: "write", position: size, data: crypto.getRandomValues(new Uint8Array(how.append)) });
      if (how.text !== undefined) await writable.write(how.text);
      return writable.close();
    };
    const top = await (await navigator.storage.getDirectory()).getDirectoryHandle(root);
    for await (const [name, folder] of top.entries()) {
      if (!name.includes(model)) continue;
      const files = [];
      for await (const entry of folder.entries()) files.push(entry);
      for (const [file, handle] of files.filter(([file]) => file.endsWith(ending))) {
        await spoil(folder, file, handle);
        count += 1;
      }
    }
    return count;
  }, { root: ROOT, model, ending, how });
}
