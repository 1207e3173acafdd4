// A host of MCP Apps: it frames the view as the specification says, and passes its requests on to a real Flowport.

import { openPage } from "./browser.mjs";

/** The policy of a view that declares no origin. */
const POLICY =
  "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
  "media-src 'self' data:; connect-src 'none'; frame-src 'none'; object-src 'none'; base-uri 'self'";

export const ALL_CAPABILITIES = {
  openLinks: {},
  downloadFile: {},
  serverTools: {},
  serverResources: {},
  updateModelContext: { text: {} },
  message: { text: {} },
};

const PAGE = `<!doctype html><html lang="en"><title>Host</title><style>body{margin:0}iframe{border:0;width:100%;height:900px}</style><body></body></html>`;

export const asItIs = (result) => result;
/** ext-apps#696 */
export const strip = ({ structuredContent: _, _meta: __, ...rest }) => rest;
/** claude-code#78387 */
export const reshape = (result) => ({
  ...result,
  content: result.content.map((block) =>
    block.type === "image"
      ? { type: "image", source: { type: "base64", media_type: block.mimeType, data: block.data } }
      : block,
  ),
});

export class Host {
  /** Every request and notification of the view: [method, params]. */
  received = [];
  problems = [];

  static async open(browser, flowport, options = {}) {
    const host = new Host();
    host.flowport = flowport;
    host.capabilities = options.capabilities ?? ALL_CAPABILITIES;
    host.change = options.change ?? asItIs;
    host.isSilent = options.isSilent ?? false;
    host.changeAnswers = options.changeAnswers ?? asItIs;
    host.context = { theme: "light", displayMode: "inline", availableDisplayModes: ["inline", "fullscreen"], ...options.context };
    const { page, problems } = await openPage(browser, []);
    host.page = page;
    host.problems = problems;
    await page.setContent(PAGE);
    await page.exposeFunction("answer", (method, params) => host.#answer(method, params));
    await page.exposeFunction("note", (method, params) => void host.received.push([method, params]));
    const [{ text, _meta }] = (await flowport.ask("resources/read", { uri: "ui://flowport/run.html" })).contents;
    host.meta = _meta;
    const html = text.replace("<head>", `<head><meta http-equiv="Content-Security-Policy" content="${POLICY}">`);
    await page.evaluate(frameView, html);
    host.frame = await (await page.waitForSelector("iframe")).contentFrame();
    await page.waitForFunction("window.isReady === true");
    return host;
  }

  get methods() {
    return this.received.map(([method]) => method);
  }

  /** The names of the tools that the view called. */
  get calls() {
    return this.received.filter(([method]) => method === "tools/call").map(([, params]) => params.name);
  }

  notify(method, params) {
    return this.page.evaluate(([name, given]) => window.sendToView({ method: name, params: given }), [method, params]);
  }

  /** Call a tool as the assistant does, and hand its result to the view. */
  async callForModel(name, given) {
    await this.notify("ui/notifications/tool-input", { arguments: given });
    const result = await this.flowport.call(name, given);
    await this.notify("ui/notifications/tool-result", this.change(result));
    return result;
  }

  async waitForMethod(method, count = 1) {
    const until = Date.now() + 30_000;
    while (this.methods.filter((one) => one === method).length < count) {
      if (Date.now() > until) throw new Error(`the view sent no ${method}`);
      await this.page.waitForTimeout(50);
    }
    return this.received.findLast(([one]) => one === method)[1];
  }

  async #answer(method, params) {
    this.received.push([method, params]);
    const needed = { "tools/call": "serverTools", "resources/read": "serverResources", "ui/open-link": "openLinks",
      "ui/download-file": "downloadFile", "ui/message": "message", "ui/update-model-context": "updateModelContext" }[method];
    if (needed && !this.capabilities[needed] && !this.isSilent) return { error: { code: -32601, message: `no ${needed} here` } };
    try {
      if (method === "ui/initialize") {
        return {
          result: {
            protocolVersion: "2026-01-26",
            hostInfo: { name: "test host", version: "1" },
            hostCapabilities: this.capabilities,
            hostContext: this.context,
          },
        };
      }
      if (method === "ui/request-display-mode") return { result: { mode: params.mode } };
      if (method === "tools/call") return { result: this.changeAnswers(await this.flowport.ask(method, params)) };
      if (method === "resources/read") return { result: await this.flowport.ask(method, params) };
      return { result: {} };
    } catch (error) {
      return { error: { code: error.code ?? -32603, message: error.message } };
    }
  }
}

/** Runs in the host's page. */
function frameView(html) {
  const frame = document.createElement("iframe");
  frame.title = "view";
  frame.sandbox.add("allow-scripts");
  window.sendToView = (message) => frame.contentWindow.postMessage({ jsonrpc: "2.0", ...message }, "*");
  addEventListener("message", async ({ source, data }) => {
    if (source !== frame.contentWindow || data.jsonrpc !== "2.0") return;
    if (data.method === "ui/notifications/initialized") window.isReady = true;
    if (data.method && data.id !== undefined) window.sendToView({ id: data.id, ...(await window.answer(data.method, data.params)) });
    else if (data.method) await window.note(data.method, data.params);
    else await window.note("answer", data);
  });
  frame.srcdoc = html;
  document.body.append(frame);
}
