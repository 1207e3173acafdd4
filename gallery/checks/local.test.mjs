// The page of a real `flowport gallery`, on a home with runs of the built-in sandbox that another process made.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { checkEverywhere, openBrowser, openPage, waitFor } from "./browser.mjs";
import { Flowport } from "./flowport.mjs";
import { makeRuns, openGallery } from "./home.mjs";

let browser, flowport, gallery;

before(async () => {
  flowport = new Flowport();
  await flowport.greet();
  await makeRuns(flowport);
  [browser, gallery] = await Promise.all([openBrowser(), openGallery()]);
});

after(() => Promise.all([browser?.close(), gallery?.close(), flowport?.close()]));

async function open(hash = "", options = {}) {
  const opened = await openPage(browser, [new URL(gallery.url).origin], options);
  await opened.page.goto(gallery.url + hash);
  return opened;
}

async function openRun(app, options) {
  const { page, problems } = await open("", options);
  await page.click(`.card:has(.title:text-is("${app}"))`);
  await waitFor(page, `document.activeElement?.textContent === ${JSON.stringify(app.replace(/ × .*/, ""))}`);
  return { page, problems };
}

const cards = "document.querySelectorAll('.card').length";

test("the history shows every run with its picture, and is searched by text, app, state and date", async () => {
  const { page, problems } = await open();
  await waitFor(page, `${cards} >= 7`);
  await waitFor(page, "document.querySelectorAll('.card img').length >= 4");
  const all = await page.evaluate(cards);
  const prompt = await page.evaluate("[...document.querySelectorAll('.excerpt')].some((one) => one.textContent.includes('<img src=x onerror='))");
  assert.ok(prompt, "untrusted text is text");
  assert.equal(await page.evaluate("document.querySelectorAll('img[src=x]').length"), 0);
  await page.fill("[name=text]", "HARBOUR");
  await waitFor(page, `${cards} === 1`);
  await page.fill("[name=text]", "");
  await page.fill("[name=app]", "clip");
  await waitFor(page, `${cards} === 1`);
  await page.fill("[name=app]", "");
  await page.selectOption("[name=state]", "failed");
  await waitFor(page, `${cards} === 1`);
  await page.selectOption("[name=state]", "");
  await page.fill("[name=to]", "2020-01-01");
  await waitFor(page, "document.querySelector('.count').textContent === 'No runs.'");
  await page.fill("[name=to]", "");
  await page.fill("[name=from]", "2020-01-01");
  await waitFor(page, `${cards} === ${all}`);
  assert.deepEqual(problems, []);
});

test("the history has no violation at any width, in either theme", async () => {
  const { page, problems } = await open();
  await waitFor(page, "document.querySelectorAll('.card img').length >= 4");
  assert.equal(await checkEverywhere(page, page), 0);
  assert.deepEqual(problems, []);
});

for (const [app, selector] of [
  ["Variations on a Theme", "figure img"],
  ["Clip and Jingle", "video"],
  ["Always Fails", ".problem"],
  ["Text to Picture × 3", ".row img"],
]) {
  test(`${app} has no violation at any width, in either theme`, async () => {
    const { page, problems } = await openRun(app);
    await page.waitForSelector(selector);
    assert.equal(await checkEverywhere(page, page), 0);
    assert.deepEqual(problems, []);
  });
}

test("a run shows its results with size, price, arguments and date", async () => {
  const { page, problems } = await openRun("Variations on a Theme");
  await waitFor(page, "[...document.querySelectorAll('figure img')].filter((image) => image.naturalWidth === 768).length === 4");
  const text = await page.evaluate("document.body.innerText");
  for (const part of ["768 × 768", "KB", "8 credits", "harbour", "Date", "succeeded"]) assert.ok(text.includes(part), part);
  assert.deepEqual(problems, []);
});

test("a video and a sound are played, and any part of them is reached", async () => {
  const { page, problems } = await openRun("Clip and Jingle");
  for (const kind of ["video", "audio"]) {
    await waitFor(page, `document.querySelector('${kind}')?.readyState >= 1`);
    await page.evaluate(`document.querySelector('${kind}').currentTime = 1.5`);
    await waitFor(page, `document.querySelector('${kind}').readyState >= 2 && !document.querySelector('${kind}').seeking`);
    assert.ok(Math.abs((await page.evaluate(`document.querySelector('${kind}').currentTime`)) - 1.5) < 0.2);
  }
  assert.deepEqual(problems, []);
});

test("download, copy link and use as input", async () => {
  const { page, problems } = await openRun("My Storyboard", { permissions: ["clipboard-read", "clipboard-write"] });
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("text=Download")]);
  assert.match(download.suggestedFilename(), /\.png$/);
  await page.click("text=Use as input");
  await waitFor(page, "document.getElementById('notice').textContent.includes('was copied')");
  assert.match(await page.evaluate("navigator.clipboard.readText()"), /^flowport:\/\/runs\/run_[a-z0-9]+\/outputs\/1$/);
  await page.click("text=Copy link");
  await waitFor(page, "document.getElementById('notice').textContent === 'Copied.'");
  assert.match(await page.evaluate("navigator.clipboard.readText()"), /^https?:/);
  assert.deepEqual(problems, []);
});

test("everything is reached by the keyboard, and the focus is kept", async () => {
  const { page, problems } = await open();
  await waitFor(page, `${cards} >= 7`);
  const focus = "document.activeElement?.name || document.activeElement?.className || document.activeElement?.tagName";
  const seen = [];
  for (let step = 0; step < 14 && seen.at(-1) !== "card"; step += 1) {
    await page.keyboard.press("Tab");
    seen.push(await page.evaluate(focus));
  }
  assert.deepEqual([...new Set(seen)], ["text", "app", "state", "from", "to", "card"]);
  const id = await page.evaluate("document.activeElement.hash");
  await page.keyboard.press("Enter");
  await waitFor(page, "document.activeElement?.tagName === 'H1' && document.querySelector('.run')");
  await page.waitForTimeout(3500);
  assert.equal(await page.evaluate("document.activeElement?.tagName"), "H1", "a refresh does not take the focus");
  await page.keyboard.press("Escape");
  await waitFor(page, `document.activeElement?.hash === ${JSON.stringify(id)}`);
  assert.deepEqual(problems, []);
});

test("a run that goes on shows its progress, and is cancelled by its button", async () => {
  const { page, problems } = await openRun("Slow Cinema Still");
  await waitFor(page, "/running, \\d+ s/.test(document.querySelector('.progress').textContent)");
  const before = await page.evaluate("document.querySelector('.progress').textContent");
  await waitFor(page, `document.querySelector('.progress').textContent !== ${JSON.stringify(before)}`);
  await page.click("button:text-is('Cancel')");
  await waitFor(page, "document.getElementById('notice').textContent.includes('cannot cancel')");
  assert.deepEqual(problems, []);
});

test("a run that is unknown, and a gallery that has ended, are explained", async () => {
  const { page } = await open("#run_none");
  await waitFor(page, "document.body.innerText.includes('no such run')");
  const { page: other } = await open();
  await waitFor(other, `${cards} >= 7`);
  await other.route("**/api/**", (route) => route.abort());
  await waitFor(other, "document.querySelector('[role=alert]').textContent.includes('flowport gallery')");
});
