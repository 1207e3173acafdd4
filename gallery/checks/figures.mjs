// Measure the page of GALLERY_URL: the first paint of 200 runs, and the memory with 1,000. Prints one JSON document.

import { readFileSync } from "node:fs";
import { openBrowser, openPage, waitFor } from "./browser.mjs";

const url = process.env.GALLERY_URL;
const LOADS = 7;

const browser = await openBrowser();
const origins = [new URL(url).origin];

/** Milliseconds from the request of the page to the first frame with so many cards. */
async function measurePaint(count) {
  const { page } = await openPage(browser, origins);
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  await page.addInitScript((wanted) => {
    new MutationObserver((_, observer) => {
      if (document.querySelectorAll(".card").length < wanted) return;
      observer.disconnect();
      requestAnimationFrame(() => setTimeout(() => (window.paintedAt = performance.now())));
    }).observe(document, { childList: true, subtree: true });
  }, count);
  await page.goto(url);
  await waitFor(page, "window.paintedAt");
  const found = await page.evaluate(() => [window.paintedAt, performance.getEntriesByName("first-contentful-paint")[0]?.startTime]);
  const { metrics } = await session.send("Performance.getMetrics");
  const get = (name) => 1000 * (metrics.find((metric) => metric.name === name)?.value ?? 0);
  found.push(get("ScriptDuration"), get("LayoutDuration") + get("RecalcStyleDuration"), get("TaskDuration"));
  await page.context().close();
  return found;
}

/** Bytes that only this process holds, from Linux. */
function readPrivateBytes(pid) {
  const rows = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8").matchAll(/^Private_(?:Clean|Dirty):\s+(\d+) kB/gm);
  return [...rows].reduce((sum, [, kilobytes]) => sum + Number(kilobytes) * 1024, 0);
}

async function getRenderers() {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  return processInfo.filter((one) => one.type === "renderer").map((one) => one.id);
}

async function measureMemory(count) {
  const { page } = await openPage(browser, origins);
  await page.goto(url);
  await waitFor(page, "document.querySelectorAll('.card').length >= 200");
  let most = 0;
  const note = async () => (most = Math.max(most, ...(await getRenderers()).map(readPrivateBytes)));
  for (let step = 0; step < 600; step += 1) {
    const isEnd = await page.evaluate(() => (scrollBy(0, 700), document.querySelectorAll(".card").length));
    await page.waitForTimeout(60);
    if (step % 10 === 0) await note();
    if (isEnd >= count && (await page.evaluate(() => scrollY + innerHeight >= document.documentElement.scrollHeight - 5))) break;
  }
  await note();
  const heap = await page.evaluate(() => performance.memory.usedJSHeapSize);
  return { cards: await page.evaluate("document.querySelectorAll('.card').length"), most, heap, now: Math.max(...(await getRenderers()).map(readPrivateBytes)) };
}

const paints = [];
for (let load = 0; load < LOADS; load += 1) paints.push(await measurePaint(200));
const median = (numbers) => numbers.sort((one, other) => one - other)[Math.floor(numbers.length / 2)];
const memory = await measureMemory(1000);
await browser.close();
console.log(
  JSON.stringify({
    cards_of_200_painted_ms: Math.round(median(paints.map(([all]) => all))),
    slowest_of_loads_ms: Math.round(Math.max(...paints.map(([all]) => all))),
    first_contentful_paint_ms: Math.round(median(paints.map(([, first]) => first))),
    script_ms: Math.round(median(paints.map(([, , script]) => script))),
    style_and_layout_ms: Math.round(median(paints.map(([, , , layout]) => layout))),
    main_thread_ms: Math.round(median(paints.map(([, , , , task]) => task))),
    cards: memory.cards,
    renderer_private_mb_most: Math.round(memory.most / 1e6),
    renderer_private_mb_end: Math.round(memory.now / 1e6),
    js_heap_mb: Math.round(memory.heap / 1e6),
  }),
);
