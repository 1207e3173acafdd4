/** Runs through the host of an MCP App. Every call is read-only but `cancel_run`; none starts anything. */

import { copy } from "./dom";
import { isObject, readRun, toText } from "./facts";
import type { Host } from "./host";
import { HostError } from "./host";
import { readAnswer, toDataUri, type Answer } from "./tool-result";
import type { Facts, Output, Page, Query, Run, Source } from "./types";

const MAX_LISTED = 50;
const MAX_READ_BYTES = 8 * 1024 * 1024;

export class HostSource implements Source {
  readonly openLink: Source["openLink"];
  readonly #host: Host;
  readonly #files = new Map<string, Promise<string>>();
  readonly #inputs: string[] = [];
  #hasCalled = false;

  constructor(host: Host) {
    this.#host = host;
    this.openLink = this.#can("openLinks") ? (url) => this.#ask("ui/open-link", { url }) : null;
  }

  get canList(): boolean {
    return this.#canCall;
  }

  get cancel(): Source["cancel"] {
    return this.#canCall ? (id) => this.#cancel(id) : null;
  }

  /** Whether the state of a run can be requested. */
  get canFollow(): boolean {
    return this.#canCall || this.#can("serverResources");
  }

  /** Some hosts pass calls on without saying so: a call that worked shows it. */
  get #canCall(): boolean {
    return this.#hasCalled || this.#can("serverTools");
  }

  async list(query: Query, before: string | null, limit: number): Promise<Page> {
    if (before) return { runs: [], next: null };
    const state = query.state && query.state !== "live" ? { state: query.state } : {};
    const result = await this.#call("list_runs", { limit: Math.min(limit, MAX_LISTED), ...state });
    const facts = isObject(result["structuredContent"]) ? result["structuredContent"] : {};
    const listed = Array.isArray(facts["runs"]) ? facts["runs"].filter(isObject) : [];
    // A row has the number of outputs and names the first ones.
    const runs = listed.map(({ outputs: _, ...row }) => readRun(row as Facts)).filter((run): run is Run => run !== null);
    return { runs: runs.filter((run) => matches(run, query)), next: null };
  }

  async get(id: string): Promise<Run> {
    const answer = await this.getAnswer(id);
    if (!answer.run) throw new HostError(answer.text || "The run could not be read.");
    return answer.run;
  }

  /** Get a run by the read-only tool, else by its resource; with what it was made of where the host reads resources. */
  async getAnswer(id: string): Promise<Answer> {
    const isTried = this.#canCall || !this.#can("serverResources");
    const answer = isTried ? readAnswer(await this.#call("get_run", { run_id: id, wait: false })) : null;
    if (answer?.run && !answer.isStripped) {
      await this.addRecord(answer.run);
      return answer;
    }
    const record = await this.#readRecord(id);
    if (record) return { run: record, runId: id, isStripped: false, isError: false, text: record.summary };
    if (answer) return answer;
    throw new HostError("This host does not let the page read the run. Ask the assistant for it.");
  }

  /** Add what answers leave out and the run's resource has: its inputs, its date and its provider. */
  async addRecord(run: Run): Promise<void> {
    const record = await this.#readRecord(run.id);
    if (record) Object.assign(run, { arguments: record.arguments, acceptedAt: record.acceptedAt, provider: record.provider });
  }

  async getPicture(output: Output, isSmall: boolean): Promise<string> {
    return output.preview && isSmall ? output.preview : (await this.#readFile(output)) || output.preview;
  }

  getMedia(output: Output): Promise<string> {
    return this.#readFile(output);
  }

  download(output: Output): (() => Promise<void>) | null {
    if (this.#can("downloadFile")) {
      const name = output.savedPath.split(/[\\/]/).pop() || `${output.runId}-${output.n}`;
      const link = { type: "resource_link", uri: output.resource, name, ...(output.mimeType && { mimeType: output.mimeType }) };
      return () => this.#ask("ui/download-file", { contents: [link] });
    }
    const { openLink } = this;
    return openLink && output.url ? () => openLink(output.url) : null;
  }

  async useAsInput(output: Output): Promise<string> {
    const name = output.resource;
    const text = `The person chose ${name} (${output.kind}) as an input for the next run. Pass this name as the value of the input.`;
    if (this.#can("updateModelContext")) {
      // Each update replaces the one before.
      if (!this.#inputs.includes(text)) this.#inputs.push(text);
      await this.#ask("ui/update-model-context", { content: [{ type: "text", text: this.#inputs.join("\n") }] });
      return `The assistant knows ${name} with your next message.`;
    }
    if (this.#can("message")) {
      await this.#ask("ui/message", { role: "user", content: [{ type: "text", text: `Use ${name} as the input.` }] });
      return `${name} was sent to the conversation.`;
    }
    return (await copy(name)) ? `${name} was copied.` : `Name it in your next message: ${name}`;
  }

  /** Let the assistant know how a run ended that it was only given the id of. */
  async reportEnd(run: Run): Promise<void> {
    if (!this.#can("updateModelContext")) return;
    const names = run.outputs.map((output) => output.resource).join(", ");
    const text = `Run ${run.id} is over: ${run.state}.${names ? ` Its outputs: ${names}.` : ""} get_run has the details.`;
    this.#inputs.push(text);
    await this.#ask("ui/update-model-context", { content: [{ type: "text", text: this.#inputs.join("\n") }] });
  }

  async #cancel(id: string): Promise<string> {
    return readAnswer(await this.#call("cancel_run", { run_id: id })).text;
  }

  #can(capability: string): boolean {
    return isObject(this.#host.capabilities[capability]);
  }

  async #call(name: string, given: Facts): Promise<Record<string, unknown>> {
    const result = await this.#host.request("tools/call", { name, arguments: given });
    this.#hasCalled = true;
    return result;
  }

  async #ask(method: string, params: Record<string, unknown>): Promise<void> {
    const result = await this.#host.request(method, params);
    if (result["isError"] === true) throw new HostError("The host refused.");
  }

  async #readContents(uri: string): Promise<Facts[]> {
    const result = await this.#host.request("resources/read", { uri });
    return Array.isArray(result["contents"]) ? result["contents"].filter(isObject) : [];
  }

  async #readRecord(id: string): Promise<Run | null> {
    if (!this.#can("serverResources")) return null;
    try {
      const folder = id.startsWith("batch_") ? "batches" : "runs";
      const [content] = await this.#readContents(`flowport://${folder}/${id}`);
      const facts: unknown = JSON.parse(toText(content?.["text"]));
      return isObject(facts) ? readRun(facts) : null;
    } catch (error) {
      console.info("the run's record could not be read:", error);
      return null;
    }
  }

  /** Read an output through the host, once; empty when the host does not, or the file is too large. */
  #readFile(output: Output): Promise<string> {
    if (!this.#can("serverResources") || (output.sizeBytes ?? 0) > MAX_READ_BYTES * (output.kind === "image" ? 8 : 1)) {
      return Promise.resolve("");
    }
    let file = this.#files.get(output.resource);
    if (!file) {
      file = this.#readContents(output.resource)
        .then(([content]) => toDataUri(toText(content?.["mimeType"]), toText(content?.["blob"])))
        .catch(() => "");
      this.#files.set(output.resource, file);
    }
    return file;
  }
}

/** Flowport's list has no search of its own, so its rows are filtered here. */
function matches(run: Run, query: Query): boolean {
  const text = `${run.app} ${run.tool} ${run.id} ${run.summary}`.toLowerCase();
  const day = run.acceptedAt ? toDay(new Date(run.acceptedAt)) : "";
  return (
    query.text.toLowerCase().split(/\s+/).every((word) => text.includes(word)) &&
    `${run.app} ${run.tool}`.toLowerCase().includes(query.app.toLowerCase()) &&
    (query.state !== "live" || ["accepted", "starting", "queued", "running"].includes(run.state)) &&
    (!query.from || day >= query.from) &&
    (!query.to || day <= query.to)
  );
}

function toDay(date: Date): string {
  const pad = (number: number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
}
