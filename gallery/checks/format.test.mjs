// What the page writes of a run, without a browser.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { transformWithEsbuild } from "vite";

const path = new URL("../src/format.ts", import.meta.url);
const { code } = await transformWithEsbuild(await readFile(path, "utf8"), "format.ts");
const { getPrompt } = await import(`data:text/javascript,${encodeURIComponent(code)}`);

test("a card is captioned by the prompt, a text or a title, and else by the longest text", () => {
  assert.equal(getPrompt({ shape: "square", prompt: "cups" }), "cups");
  assert.equal(getPrompt({ title: "Sea", text: "By the sea", palette: "harbour in the evening" }), "By the sea");
  assert.equal(getPrompt({ mood: "calm", premise: "A fox crosses the ice" }), "A fox crosses the ice");
  assert.equal(getPrompt({ text: "/home/me/a.txt", mood: "calm" }), "calm");
  assert.equal(getPrompt({ prompt: " ", count: 4 }), "");
});
