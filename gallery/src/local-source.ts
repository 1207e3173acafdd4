/** Runs of the local gallery, which serves this page: its address holds the token of every request. */

import { copy } from "./dom";
import { isObject, readRun, toText } from "./facts";
import type { Output, Page, Query, Run, Source } from "./types";

export class LocalSource implements Source {
  readonly canList = true;
  readonly openLink = null;

  async list(query: Query, before: string | null, limit: number): Promise<Page> {
    const params = new URLSearchParams({ limit: String(limit) });
    const since = query.from ? new Date(`${query.from}T00:00`).getTime() / 1000 : null;
    const until = query.to ? new Date(`${query.to}T00:00`).setDate(new Date(`${query.to}T00:00`).getDate() + 1) / 1000 : null;
    const given = { text: query.text, app: query.app, state: query.state, before, since, until };
    for (const [name, value] of Object.entries(given)) if (value !== null && value !== "") params.set(name, String(value));
    const page = await request(`api/runs?${params}`);
    const runs = Array.isArray(page["runs"]) ? page["runs"].filter(isObject).map(readRun) : [];
    return { runs: runs.filter((run): run is Run => run !== null), next: toText(page["next"]) || null };
  }

  async get(id: string): Promise<Run> {
    const run = readRun(await request(`api/runs/${encodeURIComponent(id)}`));
    if (!run) throw new Error("The run could not be read.");
    return run;
  }

  async cancel(id: string): Promise<string> {
    return toText((await request(`api/runs/${encodeURIComponent(id)}/cancel`, { method: "POST" }))["summary"]);
  }

  async getPicture(output: Output, isSmall: boolean): Promise<string> {
    return output.file && (isSmall ? `${output.file}/preview` : output.file);
  }

  async getMedia(output: Output): Promise<string> {
    return output.file;
  }

  download(output: Output): (() => Promise<void>) | null {
    if (!output.file) return null;
    return async () => {
      const link = document.createElement("a");
      link.href = `${output.file}?download`;
      link.click();
    };
  }

  async useAsInput(output: Output): Promise<string> {
    const isCopied = await copy(output.resource);
    return isCopied ? `${output.resource} was copied: paste it as an input.` : `Name it as an input: ${output.resource}`;
  }
}

async function request(path: string, options: RequestInit = {}): Promise<Record<string, import("./types").Json>> {
  let response: Response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The gallery has ended. Start it again with: flowport gallery");
  }
  const body: unknown = await response.json().catch(() => ({}));
  if (!isObject(body)) throw new Error("The gallery gave no answer that can be read.");
  if (!response.ok) throw new Error(toText(isObject(body["error"]) ? body["error"]["message"] : "") || `Error ${response.status}`);
  return body;
}
