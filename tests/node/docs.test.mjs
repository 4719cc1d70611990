// What README and docs/ point to is there: files and folders of the repository, and pages and headings that they link to.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { ROOT } from "./support.mjs";

const PAGES = ["README.md", ...readdirSync(join(ROOT, "docs")).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`)];
const read = (page) => readFileSync(join(ROOT, page), "utf8");
/** A heading as GitHub names it in addresses. */
const anchor = (heading) => heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");

for (const page of PAGES) {
  test(`${page} points to what is there`, () => {
    const text = read(page);
    for (const [, path] of text.matchAll(/`((?:crates|src|tests|tools|www|package|bench)\/[\w./-]+)`/g)) {
      assert.ok(existsSync(join(ROOT, path)), `${page}: there is no ${path}`);
    }
    for (const [, link] of text.matchAll(/\]\((?!https?:)([^)\s]+)\)/g)) {
      const [path, heading] = link.split("#");
      const target = path ? join(dirname(page), path) : page;
      assert.ok(existsSync(join(ROOT, target)), `${page}: there is no ${target}`);
      const headings = () => [...read(target).matchAll(/^#+ (.*)$/gm)].map((found) => anchor(found[1]));
      assert.ok(!heading || headings().includes(heading), `${page}: ${target} has no heading #${heading}`);
    }
  });
}
