/** What the page knows of runs. The names are those of Flowport's answers; every text is untrusted. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Facts = { [key: string]: Json };

export const LIVE_STATES: readonly string[] = ["accepted", "starting", "queued", "running"];
export const STATES: readonly string[] = [...LIVE_STATES, "succeeded", "partial", "failed", "cancelled", "unknown"];

export interface Output {
  n: number;
  kind: string;
  /** `flowport://runs/ID/outputs/N`, by which later calls name it. */
  resource: string;
  runId: string;
  text: string;
  url: string;
  mimeType: string;
  sizeBytes: number | null;
  width: number | null;
  height: number | null;
  durationSeconds: number | null;
  savedPath: string;
  saveProblem: string;
  /** Where the local gallery serves the file; empty elsewhere. */
  file: string;
  /** A small copy that came with the answer, as a data URI; empty if none did. */
  preview: string;
}

export interface Row {
  label: string;
  state: string;
  runId: string;
  problem: string;
  arguments: Facts;
  outputs: Output[];
}

export interface Batch {
  total: number;
  done: number;
  counts: [label: string, count: number][];
  rows: Row[];
  rowsNotShown: number;
  csv: string;
}

export interface Run {
  id: string;
  app: string;
  tool: string;
  provider: string;
  state: string;
  summary: string;
  progress: string;
  credits: string;
  price: string;
  seconds: number | null;
  acceptedAt: string;
  arguments: Facts;
  /** Sentences: why it failed, what is wrong, how inputs were changed, which outputs are not shown. */
  problems: string[];
  notes: string[];
  outputs: Output[];
  outputsNotShown: number;
  batch: Batch | null;
  isSaving: boolean;
}

export interface Query {
  text: string;
  app: string;
  state: string;
  /** Days as `2026-11-30`, both included; empty for no limit. */
  from: string;
  to: string;
}

export interface Page {
  runs: Run[];
  /** Continues the list; null at its end. */
  next: string | null;
}

/** Where runs come from, and what the person can do with them: the local gallery, or the host of an MCP App. */
export interface Source {
  readonly canList: boolean;
  list(query: Query, before: string | null, limit: number): Promise<Page>;
  get(id: string): Promise<Run>;
  /** Null when runs cannot be cancelled from here. */
  cancel: ((id: string) => Promise<string>) | null;
  /** The address of a picture for an <img>; small for lists. Empty when there is none. */
  getPicture(output: Output, isSmall: boolean): Promise<string>;
  /** The address of a video or a sound; empty when it cannot be played here. */
  getMedia(output: Output): Promise<string>;
  /** Null when the output cannot be downloaded from here. */
  download(output: Output): (() => Promise<void>) | null;
  /** Null when an ordinary link works. */
  openLink: ((url: string) => Promise<void>) | null;
  /** Hand the output's name over as an input; returns the sentence to show. */
  useAsInput(output: Output): Promise<string>;
}

export function isLive(run: Run): boolean {
  return LIVE_STATES.includes(run.state) || run.isSaving;
}
