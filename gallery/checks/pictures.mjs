// Take pictures of the gallery and of the MCP App at three widths and in both themes: node pictures.mjs FOLDER

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { openBrowser, openPage, waitFor } from "./browser.mjs";
import { Flowport } from "./flowport.mjs";
import { makeRuns, openGallery } from "./home.mjs";
import { Host } from "./host.mjs";

const folder = process.argv[2];
mkdirSync(folder, { recursive: true });

const flowport = new Flowport();
await flowport.greet();
await makeRuns(flowport, { prompt: "A lighthouse at dusk" });
const [browser, gallery] = await Promise.all([openBrowser(), openGallery()]);

async function take(name, width, height, colorScheme, open) {
  const { page } = await openPage(browser, [new URL(gallery.url).origin], { colorScheme, viewport: { width, height } });
  await page.goto(gallery.url);
  await waitFor(page, "document.querySelectorAll('.card img').length >= 2");
  await open?.(page);
  await page.waitForTimeout(1200);
  await page.screenshot({ path: join(folder, `${name}.png`) });
  await page.close();
}

const openRun = (app) => async (page) => {
  await page.click(`.card:has(.title:text-is("${app}"))`);
  await page.waitForSelector(".run figure, .run .row");
};

await take("gallery-1600-light", 1600, 820, "light");
await take("gallery-320-dark", 320, 640, "dark");
await take("run-800-light", 800, 760, "light", openRun("Variations on a Theme"));
await take("clip-800-dark", 800, 620, "dark", openRun("Clip and Jingle"));
await take("batch-1600-dark", 1600, 410, "dark", openRun("Text to Picture × 3"));

const host = await Host.open(browser, flowport, { context: { theme: "light" } });
await host.page.setViewportSize({ width: 800, height: 760 });
await host.callForModel("sandbox_text_to_picture", { prompt: "A harbour in the morning", shape: "wide" });
await waitFor(host.frame, "[...document.querySelectorAll('figure img')].some((image) => image.naturalWidth > 0)");
await host.page.waitForTimeout(800);
await host.page.screenshot({ path: join(folder, "app-800-light.png") });

await Promise.all([browser.close(), gallery.close(), flowport.close()]);
