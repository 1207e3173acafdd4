/** The messages between an MCP App and its host (SEP-1865): JSON-RPC 2.0 over postMessage. */

import { isObject } from "./facts";

export const PROTOCOL = "2026-01-26";
const ANSWER_MS = 60_000;

type Params = Record<string, unknown>;
type Notify = (params: Params) => void;

export interface Host {
  readonly capabilities: Params;
  readonly context: Params;
  request(method: string, params: Params): Promise<Params>;
  notify(method: string, params: Params): void;
}

export class HostError extends Error {}

/** Greet the host and return it. Notifications that come before the greeting's answer are handled as well. */
export async function connect(handlers: Record<string, Notify>): Promise<Host> {
  const host = window.parent;
  const waiting = new Map<number, { resolve: (result: Params) => void; reject: (error: Error) => void }>();
  let lastId = 0;

  const send = (message: Params) => host.postMessage({ jsonrpc: "2.0", ...message }, "*");

  const request = (method: string, params: Params) =>
    new Promise<Params>((resolve, reject) => {
      const id = ++lastId;
      const timer = setTimeout(() => settle(id)?.reject(new HostError("The host did not answer.")), ANSWER_MS);
      const end = <T>(work: (value: T) => void) => (value: T) => (clearTimeout(timer), work(value));
      waiting.set(id, { resolve: end(resolve), reject: end(reject) });
      send({ id, method, params });
    });

  const settle = (id: number) => {
    const found = waiting.get(id);
    waiting.delete(id);
    return found;
  };

  window.addEventListener("message", (event) => {
    const message: unknown = event.data;
    if (event.source !== host || !isObject(message) || message["jsonrpc"] !== "2.0") return;
    const { id, method } = message;
    const params: Params = isObject(message["params"]) ? message["params"] : {};
    if (typeof method !== "string") {
      const found = typeof id === "number" ? settle(id) : undefined;
      const error = message["error"];
      if (isObject(error)) found?.reject(new HostError(String(error["message"] ?? "The host refused.").slice(0, 300)));
      else found?.resolve(isObject(message["result"]) ? message["result"] : {});
      return;
    }
    if (Object.hasOwn(handlers, method)) handlers[method]?.(params);
    if (id === undefined || id === null) return;
    if (method === "ping" || method === "ui/resource-teardown") send({ id, result: {} });
    else send({ id, error: { code: -32601, message: `The view has no method ${method}.` } });
  });

  const greeting = await request("ui/initialize", {
    protocolVersion: PROTOCOL,
    appInfo: { name: "flowport", title: "Flowport", version: "1" },
    appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
  });
  const result: Host = {
    capabilities: isObject(greeting["hostCapabilities"]) ? greeting["hostCapabilities"] : {},
    context: isObject(greeting["hostContext"]) ? greeting["hostContext"] : {},
    request,
    notify: (method, params) => send({ method, params }),
  };
  result.notify("ui/notifications/initialized", {});
  return result;
}
