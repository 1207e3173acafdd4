// The upload page of a server in a real Chromium: by its script, by dropping a file, and without scripts.
// `UPLOADS` holds the links, `PICTURE` and `VIDEO_LINK` a file to send and the link of a saved video.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { checkEverywhere, openBrowser, openPage, waitFor } from "./browser.mjs";

const links = JSON.parse(process.env.UPLOADS);
const picture = process.env.PICTURE;
let browser;

before(async () => { browser = await openBrowser(); });
after(() => browser?.close());

async function open(options = {}) {
  const link = links.shift();
  const opened = await openPage(browser, [new URL(link).origin], options);
  await opened.page.goto(link);
  return opened;
}

const note = "document.getElementById('note').textContent";

test("a file is chosen and sent, and the page says what to do next", async () => {
  const { page, problems } = await open();
  await checkEverywhere(page, page);
  assert.equal(await page.evaluate("document.querySelectorAll('img').length"), 0, "the purpose is text");
  await page.setInputFiles("input", picture);
  await page.click("button");
  await waitFor(page, `${note}.includes('Go back to the chat')`);
  assert.match(await page.evaluate(note), /upload:[a-z0-9]{12}/);
  assert.equal(await page.isVisible("form"), false);
  await checkEverywhere(page, page);
  await page.reload();
  assert.match(await page.evaluate(note), /This link was used/);
  await checkEverywhere(page, page);
  // The answer to the reload is a conflict, and Chromium says so in its console.
  assert.deepEqual(problems.filter((one) => !one.includes("status of 409")), []);
});

test("a file is dropped on the page", async () => {
  const { page, problems } = await open();
  const drop = `(() => {
    const transfer = new DataTransfer();
    const bytes = Uint8Array.from(atob("${process.env.PICTURE_BASE64}"), (one) => one.charCodeAt(0));
    transfer.items.add(new File([bytes], "cup.png", { type: "image/png" }));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
  })()`;
  await page.evaluate(drop);
  await waitFor(page, `${note}.includes('Go back to the chat')`);
  assert.deepEqual(problems, []);
});

test("a file that is refused is named as such, and another can be sent", async () => {
  const { page, problems } = await open();
  await page.click("button");
  assert.equal(await page.evaluate("document.querySelector('input').validity.valueMissing"), true);
  await page.setInputFiles("input", { name: "a.png", mimeType: "image/png", buffer: Buffer.from("<svg/>") });
  await page.click("button");
  await waitFor(page, `${note}.includes('SVG')`);
  await checkEverywhere(page, page);
  await page.evaluate("document.querySelector('form').dataset.most = '10'");
  assert.deepEqual(problems.filter((one) => !one.includes("status of 415")), []);
  await page.setInputFiles("input", picture);
  await page.click("button");
  await waitFor(page, `${note}.includes('Go back to the chat')`);
});

test("the form works without scripts", async () => {
  const { page, problems } = await open({ javaScriptEnabled: false });
  await page.setInputFiles("input", picture);
  await page.click("button");
  await page.waitForURL(/uploads/);
  await page.waitForSelector(".done");
  assert.match(await page.textContent("main"), /upload:[a-z0-9]{12}/);
  assert.deepEqual(problems, []);
});

test("a saved video that is opened by its link plays", async () => {
  const { page } = await openPage(browser, [new URL(process.env.VIDEO_LINK).origin]);
  await page.goto(process.env.VIDEO_LINK);
  await waitFor(page, "document.querySelector('video')?.readyState >= 1");
});
