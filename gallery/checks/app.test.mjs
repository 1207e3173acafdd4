// The page as an MCP App: the messages of a host that keeps to the specification, and of hosts that do not.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { checkEverywhere, openBrowser, waitFor } from "./browser.mjs";
import { Flowport } from "./flowport.mjs";
import { ALL_CAPABILITIES, Host, reshape, strip } from "./host.mjs";

const READ_ONLY = new Set(["get_run", "list_runs"]);
const PICTURE = "[...document.querySelectorAll('figure img')].some((image) => image.naturalWidth > 0)";
const isState = (state) => `document.querySelector('.run .state')?.textContent === '${state}'`;

let browser, flowport, impatient;

before(async () => {
  browser = await openBrowser();
  flowport = new Flowport({ FLOWPORT_WAIT_SECONDS: "50" });
  impatient = new Flowport({ FLOWPORT_WAIT_SECONDS: "1" });
  await Promise.all([flowport.greet(), impatient.greet()]);
});

after(async () => {
  await Promise.all([browser?.close(), flowport?.close(), impatient?.close()]);
});

function checkCalls(host) {
  assert.deepEqual(host.calls.filter((name) => !READ_ONLY.has(name)), [], "the view called a tool that is not read-only");
  assert.deepEqual(host.problems, []);
}

test("a run that is over is shown with its pictures, price, arguments and date", async () => {
  const host = await Host.open(browser, flowport);
  const prompt = "<img src=x onerror=\"parent.postMessage({jsonrpc:'2.0',id:1,method:'hacked'},'*')\">";
  await host.callForModel("sandbox_variations_on_a_theme", { prompt, count: 3 });
  await waitFor(host.frame, isState("succeeded"));
  await waitFor(host.frame, PICTURE);
  await waitFor(host.frame, "document.querySelectorAll('figure').length === 3");
  await waitFor(host.frame, "document.querySelector('dl').textContent.includes('Date')");
  const text = await host.frame.evaluate("document.body.textContent");
  assert.ok(text.includes(prompt), "untrusted text is text");
  assert.match(text, /8 credits/);
  assert.match(text, /768 × 768/);
  assert.ok(!host.methods.includes("hacked"));
  assert.ok(host.methods.includes("ui/notifications/size-changed"));
  assert.equal(await checkEverywhere(host.page, host.frame, (theme) => host.notify("ui/notifications/host-context-changed", { theme })), 0);
  checkCalls(host);
});

test("the view follows the host's theme, locale and variables", async () => {
  const host = await Host.open(browser, flowport, { context: { theme: "dark", locale: "de-DE", styles: { variables: { "--color-background-secondary": "rgb(1, 2, 3)", "--other": "x" } } } });
  await host.callForModel("sandbox_text_to_picture", { prompt: "a theme" });
  await waitFor(host.frame, PICTURE);
  assert.equal(await host.frame.evaluate("getComputedStyle(document.documentElement).colorScheme"), "dark");
  assert.equal(await host.frame.evaluate("getComputedStyle(document.querySelector('button')).backgroundColor"), "rgb(1, 2, 3)");
  await host.notify("ui/notifications/host-context-changed", { theme: "light" });
  await waitFor(host.frame, "getComputedStyle(document.documentElement).colorScheme === 'light'");
  checkCalls(host);
});

test("a host that strips structuredContent: the run is read by get_run", async () => {
  const host = await Host.open(browser, flowport, { change: strip, capabilities: { serverTools: {} } });
  await host.callForModel("sandbox_text_to_picture", { prompt: "stripped" });
  await waitFor(host.frame, isState("succeeded"));
  await waitFor(host.frame, PICTURE);
  assert.deepEqual(new Set(host.calls), new Set(["get_run"]));
  checkCalls(host);
});

test("a host that strips structuredContent everywhere: the run is read by its resource", async () => {
  const host = await Host.open(browser, flowport, { change: strip, changeAnswers: strip });
  await host.callForModel("sandbox_clip_and_jingle", { mood: "stripped" });
  await waitFor(host.frame, isState("succeeded"));
  await waitFor(host.frame, "document.querySelector('video')?.readyState > 0 && document.querySelector('audio')?.readyState > 0");
  checkCalls(host);
});

test("a host that strips structuredContent and lets nothing be read: what the text says is shown", async () => {
  const host = await Host.open(browser, flowport, { change: strip, capabilities: {} });
  await host.callForModel("sandbox_text_to_picture", { prompt: "nothing can be read" });
  await waitFor(host.frame, isState("succeeded"));
  await waitFor(host.frame, PICTURE);
  assert.match(await host.frame.evaluate("document.body.textContent"), /2 credits/);
  await host.waitForMethod("tools/call");
  await host.page.waitForTimeout(3000);
  assert.deepEqual(host.methods.filter((method) => !method.startsWith("ui/")), ["tools/call"], "it is tried once");
  checkCalls(host);
});

test("a host that strips structuredContent, and passes calls on without saying so", async () => {
  const host = await Host.open(browser, impatient, { change: strip, capabilities: {}, isSilent: true });
  await host.callForModel("sandbox_text_to_picture", { prompt: "silent capabilities" });
  await waitFor(host.frame, isState("succeeded"));
  await waitFor(host.frame, PICTURE);
  assert.deepEqual(new Set(host.calls), new Set(["get_run"]));
  checkCalls(host);
});

test("content that is JSON needs no other call", async () => {
  const toJson = ({ structuredContent, content }) => ({ content: [{ type: "text", text: JSON.stringify(structuredContent) }, ...content.slice(1)] });
  const host = await Host.open(browser, flowport, { change: toJson, capabilities: {} });
  await host.callForModel("sandbox_text_to_picture", { prompt: "as JSON" });
  await waitFor(host.frame, isState("succeeded"));
  await waitFor(host.frame, PICTURE);
  checkCalls(host);
});

test("a host that reshapes pictures", async () => {
  const host = await Host.open(browser, flowport, { change: reshape, changeAnswers: reshape, capabilities: {} });
  await host.callForModel("sandbox_text_to_picture", { prompt: "reshaped" });
  await waitFor(host.frame, isState("succeeded"));
  await waitFor(host.frame, PICTURE);
  checkCalls(host);
});

test("a host without capabilities: the result is whole, and no button fails", async () => {
  const host = await Host.open(browser, flowport, { capabilities: {}, context: { availableDisplayModes: undefined } });
  await host.callForModel("sandbox_text_to_picture", { prompt: "bare" });
  await waitFor(host.frame, PICTURE);
  const labels = await host.frame.evaluate("[...document.querySelectorAll('button, figcaption a')].map((one) => one.textContent)");
  assert.deepEqual(labels, ["Open", "Copy link", "Use as input"]);
  await host.frame.click("text=Use as input");
  await waitFor(host.frame, "document.getElementById('notice').textContent.includes('flowport://runs/run_')");
  assert.deepEqual(host.methods.filter((method) => !method.startsWith("ui/notifications/") && method !== "ui/initialize"), []);
  checkCalls(host);
});

test("a run that goes on is followed to its end, and the assistant is informed", async () => {
  const host = await Host.open(browser, impatient);
  const result = await host.callForModel("sandbox_text_to_picture", { prompt: "followed" });
  assert.ok(!["succeeded"].includes(result.structuredContent.state));
  await waitFor(host.frame, "document.querySelector('.progress').textContent !== ''");
  await waitFor(host.frame, isState("succeeded"));
  await waitFor(host.frame, PICTURE);
  const { content } = await host.waitForMethod("ui/update-model-context");
  assert.match(content[0].text, new RegExp(`${result.structuredContent.run_id} is over: succeeded.*flowport://runs/`));
  checkCalls(host);
});

test("a batch is followed with its bar and its rows, and a row opens", async () => {
  const host = await Host.open(browser, impatient);
  await host.callForModel("run_batch", { app: "sandbox_text_to_picture", rows: [{ prompt: "one" }, { prompt: "two" }] });
  await waitFor(host.frame, isState("succeeded"));
  await waitFor(host.frame, "document.querySelectorAll('.row').length === 2 && document.querySelectorAll('.row img').length === 2");
  assert.equal(await checkEverywhere(host.page, host.frame, (theme) => host.notify("ui/notifications/host-context-changed", { theme })), 0);
  await host.frame.click("text=Row 2");
  await waitFor(host.frame, PICTURE);
  await host.frame.click("text=← Back");
  await waitFor(host.frame, "document.querySelectorAll('.row').length === 2");
  checkCalls(host);
});

test("a failed run says why, and a refused call shows its sentence", async () => {
  const host = await Host.open(browser, flowport);
  await host.callForModel("sandbox_always_fails", {});
  await waitFor(host.frame, isState("failed"));
  assert.match(await host.frame.evaluate("document.querySelector('.problem').textContent"), /exceeds maximum resolution/);
  const other = await Host.open(browser, flowport);
  await other.callForModel("sandbox_text_to_picture", {});
  await waitFor(other.frame, "document.querySelector('.progress').textContent.includes('prompt is missing')");
  checkCalls(host);
  checkCalls(other);
});

test("a cancelled call is explained", async () => {
  const host = await Host.open(browser, flowport);
  await host.notify("ui/notifications/tool-input", { arguments: { prompt: "a lake" } });
  await waitFor(host.frame, "document.querySelector('.progress').textContent.includes('a lake')");
  await host.notify("ui/notifications/tool-cancelled", { reason: "user action" });
  await waitFor(host.frame, "document.querySelector('.progress').textContent.includes('cancelled')");
  checkCalls(host);
});

test("the buttons ask the host: link, download, use as input, full screen", async () => {
  const host = await Host.open(browser, flowport);
  const { structuredContent } = await host.callForModel("sandbox_text_to_picture", { prompt: "buttons" });
  await waitFor(host.frame, PICTURE);
  const [output] = structuredContent.outputs;
  await host.frame.click("figcaption button:text-is('Open')");
  assert.equal((await host.waitForMethod("ui/open-link")).url, output.url);
  await host.frame.click("text=Download");
  assert.equal((await host.waitForMethod("ui/download-file")).contents[0].uri, output.resource);
  await host.frame.click("text=Use as input");
  assert.match((await host.waitForMethod("ui/update-model-context")).content[0].text, new RegExp(output.resource));
  await host.frame.click("text=Full screen");
  assert.deepEqual(await host.waitForMethod("ui/request-display-mode"), { mode: "fullscreen" });
  await waitFor(host.frame, "[...document.querySelectorAll('nav button')].some((one) => one.textContent === 'Smaller')");
  checkCalls(host);

  const { updateModelContext: _, ...rest } = ALL_CAPABILITIES;
  const other = await Host.open(browser, flowport, { capabilities: rest });
  await other.callForModel("get_run", { run_id: structuredContent.run_id });
  await waitFor(other.frame, PICTURE);
  await other.frame.click("text=Use as input");
  assert.match((await other.waitForMethod("ui/message")).content[0].text, new RegExp(output.resource));
  checkCalls(other);
});

test("the history is searched, a run of it opens, and a run is cancelled only by its button", async () => {
  const host = await Host.open(browser, impatient);
  await host.callForModel("sandbox_slow_cinema_still", { prompt: "too slow" });
  await waitFor(host.frame, "[...document.querySelectorAll('button')].some((one) => one.textContent === 'Cancel')");
  await host.frame.click("text=All runs");
  await waitFor(host.frame, "document.querySelectorAll('.card').length > 3");
  await host.frame.selectOption("select", "failed");
  await waitFor(host.frame, "document.querySelectorAll('.card').length === 1");
  await host.frame.click(".card");
  await waitFor(host.frame, isState("failed"));
  await host.frame.click("text=← Back");
  checkCalls(host);
  await host.frame.click("button:text-is('Cancel')");
  await waitFor(host.frame, "document.getElementById('notice').textContent !== ''");
  assert.equal(host.calls.filter((name) => name === "cancel_run").length, 1);
});

test("a torn down view asks no more, and answers", async () => {
  const host = await Host.open(browser, impatient);
  await host.callForModel("sandbox_slow_cinema_still", { prompt: "torn down" });
  await host.waitForMethod("tools/call");
  await host.page.evaluate("window.sendToView({ id: 99, method: 'ui/resource-teardown', params: {} })");
  const answer = await host.waitForMethod("answer");
  assert.deepEqual([answer.id, answer.result], [99, {}]);
  const calls = host.calls.length;
  await host.page.waitForTimeout(4000);
  assert.ok(host.calls.length <= calls + 1);
});

test("odd messages change nothing", async () => {
  const host = await Host.open(browser, flowport);
  for (const params of [null, [], { content: null }, { content: "text" }, { content: [null, 1, { type: "image" }] }, { structuredContent: { run_id: "../x" } }]) {
    await host.notify("ui/notifications/tool-result", params);
  }
  await host.page.evaluate("window.sendToView({ method: 'constructor', params: {} }); window.sendToView({ id: 'x', method: 'ui/unknown' })");
  const answer = await host.waitForMethod("answer");
  assert.equal(answer.error.code, -32601);
  await host.callForModel("sandbox_text_to_picture", { prompt: "after odd messages" });
  await waitFor(host.frame, PICTURE);
  checkCalls(host);
});
