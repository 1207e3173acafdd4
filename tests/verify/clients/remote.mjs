// Drive the official TypeScript SDK over HTTP: `node remote.mjs KIND URL TOKEN`, with one JSON object a line, as
// tests/verify/remote/client.py does. KIND is `v1`, or `v2-legacy` and `v2-modern` for the two eras of the newer SDK.

import { createInterface } from "node:readline";

const [kind, url, token] = process.argv.slice(2);
const requestInit = { headers: { Authorization: `Bearer ${token}` } };
const info = { name: "verify", version: "1" };
const report = (event, facts = {}) => process.stdout.write(`${JSON.stringify({ event, ...facts })}\n`);
const onUpdated = (notification) => report("updated", { uri: notification.params.uri });

let client;
if (kind === "v1") {
  const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
  const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
  const { ResourceUpdatedNotificationSchema } = await import("@modelcontextprotocol/sdk/types.js");
  client = new Client(info);
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, onUpdated);
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
} else {
  const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  client = new Client(info, { versionNegotiation: { mode: kind === "v2-modern" ? { pin: "2026-07-28" } : "legacy" } });
  client.setNotificationHandler("notifications/resources/updated", onUpdated);
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
}
report("connected");

async function call(tool, args, options = {}) {
  const onprogress = (progress) => report("progress", { message: progress.message });
  const params = { name: tool, arguments: args };
  const all = { onprogress, timeout: 60_000, ...options };
  const answer = await (kind === "v1" ? client.callTool(params, undefined, all) : client.callTool(params, all));
  return answer.structuredContent;
}

let abort;
const actions = {
  list: async () => report("tools", { names: (await client.listTools()).tools.map((tool) => tool.name) }),
  call: async ({ tool, arguments: args }) => {
    abort = new AbortController();
    call(tool, args, { signal: abort.signal }).then(
      (facts) => report("result", { facts }),
      (error) => abort.signal.aborted || report("failed", { error: String(error) }),
    );
  },
  cancel: async () => {
    abort.abort();
    report("cancelled");
  },
  ask: async ({ tool, arguments: args }) => report("answer", { facts: await call(tool, args) }),
  read: async ({ uri }) => {
    const [content] = (await client.readResource({ uri })).contents;
    report("content", { size: (content.blob ?? content.text).length });
  },
  watch: async ({ uri }) => {
    if (kind === "v2-modern") await client.listen({ resourceSubscriptions: [uri] });
    else await client.subscribeResource({ uri });
    report("watching");
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { action, ...given } = JSON.parse(line);
  await actions[action](given);
}
process.exit(0);
