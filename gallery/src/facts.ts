/** Read runs out of the facts of an answer, whatever their shape: a field that is missing or odd is left out. */

import { LIVE_STATES, STATES, type Batch, type Facts, type Json, type Output, type Row, type Run } from "./types";

const BATCH_COUNTS: readonly [key: string, label: string][] = [
  ["succeeded", "succeeded"],
  ["finished_in_part", "finished in part"],
  ["failed", "failed"],
  ["of_unknown_fate", "of unknown fate"],
  ["cancelled", "cancelled"],
  ["live", "running"],
  ["waiting", "waiting"],
  ["not_started", "not started"],
];
const KINDS: readonly string[] = ["image", "video", "audio", "text", "file"];

export function isObject(value: unknown): value is Facts {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function toText(value: unknown): string {
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : "";
}

function toNumber(value: unknown): number | null {
  const number = typeof value === "string" && value.trim() ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : null;
}

function toList(value: Json | undefined): Json[] {
  return Array.isArray(value) ? value : [];
}

export function readRun(facts: Facts): Run | null {
  const id = toText(facts["run_id"]);
  if (!/^[a-z0-9_]{1,64}$/.test(id)) return null;
  const state = toText(facts["state"]);
  const isKnown = STATES.includes(state);
  const outputs = toList(facts["outputs"] ?? facts["results"]).map((item, place) => readOutput(item, id, place + 1));
  return {
    id,
    app: toText(facts["app"]) || toText(facts["tool"]) || "App",
    tool: toText(facts["tool"]),
    provider: toText(facts["provider"]),
    state: isKnown ? state : "unknown",
    summary: toText(facts["summary"]) || toText(facts["batch"]),
    progress: toText(facts["progress"]),
    credits: toText(facts["credits"]),
    price: toText(facts["price_credits"]),
    seconds: toNumber(facts["seconds"]),
    acceptedAt: toText(facts["accepted_at"]),
    arguments: isObject(facts["arguments"]) ? facts["arguments"] : {},
    problems: texts(facts, "failure", "problem", "csv_problem", "stopped"),
    notes: texts(facts, "notes", "joined", "without_preview"),
    outputs: outputs.filter((output): output is Output => output !== null),
    outputsNotShown: toNumber(facts["outputs_not_shown"]) ?? 0,
    batch: id.startsWith("batch_") ? readBatch(facts) : null,
    // Only a run that is over and has a next step is still being saved.
    isSaving: isKnown && !LIVE_STATES.includes(state) && toText(facts["next_step"]) !== "",
  };
}

function texts(facts: Facts, ...keys: string[]): string[] {
  return keys.map((key) => toText(facts[key])).filter(Boolean);
}

export function readOutput(item: Json, runId: string, place: number): Output | null {
  // The shortest form of an output is its place, or its text.
  const facts: Facts = isObject(item) ? item : { text: item };
  const resource = toText(facts["resource"]);
  const n = toNumber(facts["n"]) ?? toNumber(/\/outputs\/([0-9]+)$/.exec(resource)?.[1]) ?? place;
  const kind = toText(facts["kind"]) || toText(facts["mime_type"]).split("/")[0] || "text";
  if (item === null) return null;
  return {
    n,
    kind: KINDS.includes(kind) ? kind : "file",
    resource: resource || `flowport://runs/${runId}/outputs/${n}`,
    runId,
    text: toText(facts["text"]),
    url: toText(facts["url"]),
    mimeType: toText(facts["mime_type"]),
    sizeBytes: toNumber(facts["size_bytes"]),
    width: toNumber(facts["width"]),
    height: toNumber(facts["height"]),
    durationSeconds: toNumber(facts["duration_seconds"]),
    savedPath: toText(facts["saved_path"]),
    saveProblem: toText(facts["save_problem"]),
    file: toText(facts["file"]),
    preview: "",
  };
}

function readBatch(facts: Facts): Batch {
  return {
    total: toNumber(facts["runs"]) ?? 0,
    done: toNumber(facts["done"]) ?? 0,
    counts: BATCH_COUNTS.map(([key, label]): [string, number] => [label, toNumber(facts[key]) ?? 0]).filter(
      ([, count]) => count > 0,
    ),
    rows: toList(facts["table"]).filter(isObject).map(readRow),
    rowsNotShown: toNumber(facts["rows_not_shown"]) ?? 0,
    csv: toText(facts["csv"]),
  };
}

function readRow(facts: Facts): Row {
  const runId = toText(facts["run_id"]);
  const outputs = toList(facts["outputs"]).map((item, place) => readOutput(item, runId, place + 1));
  const variation = toText(facts["variation"]);
  return {
    label: `Row ${toText(facts["row"])}${variation ? `, variation ${variation}` : ""}`,
    state: toText(facts["state"]),
    runId,
    problem: toText(facts["problem"]),
    arguments: isObject(facts["arguments"]) ? facts["arguments"] : {},
    outputs: outputs.filter((output): output is Output => output !== null),
  };
}
