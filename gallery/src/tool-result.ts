/**
 * Read the result of a tool call as hosts pass it on: some strip `structuredContent` and `_meta` (ext-apps#696), some
 * reshape pictures (claude-code#78387).
 */

import { isObject, readRun, toText } from "./facts";
import type { Facts, Json, Output, Run } from "./types";

export interface Answer {
  /** Null when the result does not hold a run. */
  run: Run | null;
  /** The run that the result is about, also when its facts were stripped; empty when there is none. */
  runId: string;
  /** Whether the facts were stripped, so that they have to be requested. */
  isStripped: boolean;
  isError: boolean;
  /** What the result says, for a person. */
  text: string;
}

const SHOWN_TYPE = /^(image\/(png|jpeg|webp|gif|avif)|video\/(mp4|webm|quicktime)|audio\/[a-z0-9.+-]{1,40})$/;
const BASE64 = /^[A-Za-z0-9+/=\s]+$/;

/** The bytes as an address for an element; empty for types that could carry a program. */
export function toDataUri(mimeType: string, data: string): string {
  return SHOWN_TYPE.test(mimeType) && BASE64.test(data) ? `data:${mimeType};base64,${data}` : "";
}

export function readAnswer(result: Record<string, unknown>): Answer {
  const blocks = toBlocks(result["content"]);
  const text = blocks.filter((block) => block["type"] === "text").map((block) => toText(block["text"]));
  const whole = findFacts(result["structuredContent"], text[0] ?? "");
  const facts = whole ?? readLines(text[0] ?? "");
  const run = readRun(facts);
  if (run) {
    if (!whole) run.outputs = readLinks(blocks, run.id);
    addPreviews(run, blocks.map(readPicture).filter(Boolean));
  }
  return {
    run,
    runId: run?.id ?? "",
    isStripped: whole === null,
    isError: result["isError"] === true,
    text: toText(facts["message"]) || toText(facts["summary"]) || (text[0] ?? "").slice(0, 2000),
  };
}

function toBlocks(content: unknown): Facts[] {
  if (typeof content === "string") return [{ type: "text", text: content }];
  return Array.isArray(content) ? content.filter(isObject) : isObject(content) ? [content] : [];
}

function findFacts(structured: unknown, text: string): Facts | null {
  if (isObject(structured)) return structured;
  const fenced = /^\s*```(?:json)?\s*([\s\S]*?)```\s*$/.exec(text)?.[1] ?? text;
  if (!fenced.trimStart().startsWith("{")) return null;
  try {
    const found: Json = JSON.parse(fenced);
    return isObject(found) ? found : null;
  } catch {
    return null;
  }
}

/** Read the lines `name: value` that Flowport writes; values of several lines are indented. */
function readLines(text: string): Facts {
  const facts: Facts = {};
  for (const line of text.split("\n")) {
    const found = /^([a-z_]{1,40}): (.*)$/.exec(line);
    if (found && !(found[1]! in facts)) facts[found[1]!] = found[2]!;
  }
  return facts;
}

/** The outputs that a stripped answer links to. */
function readLinks(blocks: Facts[], runId: string): Output[] {
  const links = blocks.filter((block) => block["type"] === "resource_link");
  return links.map((link, place) => ({
    n: place + 1,
    kind: toText(link["mimeType"]).split("/")[0] || "file",
    resource: `flowport://runs/${runId}/outputs/${place + 1}`,
    runId,
    text: "",
    url: toText(link["uri"]),
    mimeType: toText(link["mimeType"]),
    sizeBytes: typeof link["size"] === "number" ? link["size"] : null,
    width: null,
    height: null,
    durationSeconds: null,
    savedPath: "",
    saveProblem: "",
    file: "",
    preview: "",
  }));
}

/** The address of the picture in a block, in each of the shapes that hosts give it. */
function readPicture(block: Facts): string {
  const source = isObject(block["source"]) ? block["source"] : isObject(block["resource"]) ? block["resource"] : block;
  const type = toText(source["mimeType"] ?? source["media_type"] ?? source["mime_type"] ?? block["mimeType"]);
  const data = toText(source["data"] ?? source["blob"]);
  const uri = toText(source["url"] ?? block["image_url"]);
  const isPicture = block["type"] === "image" || type.startsWith("image/");
  const parts = /^data:([^;,]+);base64,(.*)$/s.exec(data || uri);
  if (!isPicture) return "";
  return parts ? toDataUri(parts[1]!, parts[2]!) : toDataUri(type, data);
}

/** Give the pictures to the outputs that they show: the images and the videos with a cover, in their order. */
function addPreviews(run: Run, pictures: string[]): void {
  const outputs = [...run.outputs, ...(run.batch?.rows ?? []).flatMap((row) => row.outputs)];
  const images = outputs.filter((output) => output.kind === "image");
  const isOnlyImages = images.length >= pictures.length && !outputs.some((output) => output.kind === "video");
  const shown = isOnlyImages ? images : outputs.filter((output) => output.kind === "image" || output.kind === "video");
  // With fewer pictures than outputs that may have one, it is unknown which is whose; of images alone, the first have one.
  if (!isOnlyImages && shown.length !== pictures.length) return;
  pictures.forEach((picture, place) => {
    const output = shown[place];
    if (output) output.preview = picture;
  });
}
