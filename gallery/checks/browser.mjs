// A real Chromium, and what every check of a page looks at: errors, refused sources, foreign requests, accessibility.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

export const WIDTHS = [320, 800, 1600];
export const THEMES = ["light", "dark"];

export async function openBrowser(...more) {
  // As root, in containers, Chromium's own sandbox cannot start.
  const args = ["--disable-gpu", ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []), ...more];
  return chromium.launch({ executablePath, args });
}

/** Open a page that collects its problems; `origins` are those that it may load from. */
export async function openPage(browser, origins, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB", ...options });
  const page = await context.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && problems.push(`console: ${message.text()}`));
  page.on("request", (request) => {
    const { protocol, origin } = new URL(request.url());
    if (["http:", "https:"].includes(protocol) && !origins.includes(origin)) problems.push(`request to ${origin}`);
  });
  return { page, problems };
}

/** Check a page, or a frame of it, with axe at each width and in each theme; also that nothing is cut off. */
export async function checkEverywhere(page, target, setTheme = (theme) => page.emulateMedia({ colorScheme: theme })) {
  let violations = 0;
  for (const theme of THEMES) {
    await setTheme(theme);
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 });
      // Through the debugger, as the page's policy allows no other script.
      if (!(await target.evaluate("Boolean(globalThis.axe)"))) await target.evaluate(`${axe};0`);
      const found = await target.evaluate("axe.run(document, { iframes: false })");
      const named = found.violations.map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary}`)}`);
      violations += named.length;
      assert.deepEqual(named, [], `axe-core at ${width} px, ${theme}`);
      const overflow = await target.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
      assert.equal(overflow, 0, `the page is wider than ${width} px`);
    }
  }
  return violations;
}

/** Wait until something in a page or a frame is true; by the debugger, as policies allow the page itself no evaluation. */
export async function waitFor(target, expression, patience = 30_000) {
  const until = Date.now() + patience;
  while (!(await target.evaluate(`Boolean(${expression})`))) {
    if (Date.now() > until) throw new Error(`this never became true: ${expression}\n${await target.evaluate("document.body.innerText")}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
