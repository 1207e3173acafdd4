// A real Flowport as a child process, spoken to over standard input and output as a host of MCP Apps does.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const EXTENSION = { "io.modelcontextprotocol/ui": { mimeTypes: ["text/html;profile=mcp-app"] } };

export class Flowport {
  #process;
  #waiting = new Map();
  #lastId = 0;

  constructor(environment = {}) {
    const command = process.env.PYTHON;
    const env = { ...process.env, ...environment };
    this.#process = spawn(command, ["-m", "flowport", "serve"], { env, stdio: ["pipe", "pipe", "ignore"] });
    process.once("exit", () => this.#process.kill("SIGKILL"));
    createInterface({ input: this.#process.stdout }).on("line", (line) => {
      const message = JSON.parse(line);
      const found = this.#waiting.get(message.id);
      if (!found || message.method) return;
      this.#waiting.delete(message.id);
      if (message.error) found.reject(Object.assign(new Error(message.error.message), message.error));
      else found.resolve(message.result);
    });
  }

  async greet() {
    const clientInfo = { name: "test host", version: "1" };
    await this.ask("initialize", { protocolVersion: "2025-11-25", capabilities: { extensions: EXTENSION }, clientInfo });
    this.#send({ method: "notifications/initialized" });
  }

  ask(method, params = {}) {
    const id = ++this.#lastId;
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#send({ id, method, params });
    return answer;
  }

  call(name, given = {}) {
    return this.ask("tools/call", { name, arguments: given });
  }

  async close() {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill();
    await ended;
  }

  #send(message) {
    this.#process.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  }
}
