// Sign in at the issuer of a server with the official TypeScript SDK, and call a tool: `node sign_in.mjs KIND URL TOOL`.
// KIND is `v1`, or `v2-legacy` and `v2-modern` for the two eras of the newer SDK.

const [kind, url, tool] = process.argv.slice(2);
const callback = "http://127.0.0.1:1/callback";
const kept = {};

// A person who agrees at once stands in the place of the browser.
const authProvider = {
  redirectUrl: callback,
  clientMetadata: { client_name: "verify", redirect_uris: [callback], token_endpoint_auth_method: "none" },
  state: () => "state",
  clientInformation: () => kept.client,
  saveClientInformation: (client) => void (kept.client = client),
  tokens: () => kept.tokens,
  saveTokens: (tokens) => void (kept.tokens = tokens),
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => void (kept.verifier = verifier),
  discoveryState: () => kept.discovery,
  saveDiscoveryState: (discovery) => void (kept.discovery = discovery),
  async redirectToAuthorization(page) {
    const answer = await fetch(page, { redirect: "manual" });
    kept.answer = new URL(answer.headers.get("location")).searchParams;
  },
};

const isOlder = kind === "v1";
const sdk = isOlder
  ? {
      ...(await import("@modelcontextprotocol/sdk/client/index.js")),
      ...(await import("@modelcontextprotocol/sdk/client/streamableHttp.js")),
    }
  : await import("@modelcontextprotocol/client");
const versionNegotiation = { mode: kind === "v2-modern" ? { pin: "2026-07-28" } : "legacy" };
const build = () => new sdk.Client({ name: "verify", version: "1" }, isOlder ? {} : { versionNegotiation });
const open = () => new sdk.StreamableHTTPClientTransport(new URL(url), { authProvider });

const first = open();
const refused = await build().connect(first).then(
  () => "",
  (error) => error.constructor.name,
);
await first.finishAuth(isOlder ? kept.answer.get("code") : kept.answer);
const client = build();
await client.connect(open());
const params = { name: tool, arguments: { prompt: "a lake" } };
const answer = await (isOlder ? client.callTool(params, undefined, { timeout: 60_000 }) : client.callTool(params, { timeout: 60_000 }));
process.stdout.write(JSON.stringify({ refused, state: answer.structuredContent.state }));
process.exit(0);
