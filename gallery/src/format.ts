/** Numbers, dates and states as a person reads them. */

import type { Facts, Json, Output } from "./types";

let locale: string | undefined;
let timeZone: string | undefined;

export function setLocale(given: { locale?: unknown; timeZone?: unknown }): void {
  try {
    const found = typeof given.locale === "string" ? given.locale : undefined;
    const zone = typeof given.timeZone === "string" ? given.timeZone : undefined;
    new Intl.DateTimeFormat(found, zone ? { timeZone: zone } : {});
    [locale, timeZone] = [found, zone];
  } catch {
    // The host's names are unknown here: the browser's own stay.
  }
}

export function formatDate(iso: string): string {
  const date = new Date(iso);
  if (!iso || Number.isNaN(date.getTime())) return "";
  return new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short", ...(timeZone && { timeZone }) }).format(date);
}

export function formatBytes(bytes: number | null): string {
  if (bytes === null) return "";
  const units = ["bytes", "KB", "MB", "GB"];
  let size = bytes;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit ? size.toFixed(1) : size} ${units[unit]}`;
}

export function formatSeconds(seconds: number | null): string {
  if (seconds === null) return "";
  if (seconds < 90) return `${seconds < 10 ? Math.round(seconds * 10) / 10 : Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

export function formatCredits(credits: string): string {
  if (!credits) return "";
  return credits === "unknown" ? "unknown cost" : `${credits} credit${credits === "1" ? "" : "s"}`;
}

export function formatState(state: string): string {
  return { accepted: "waiting", partial: "finished in part" }[state] ?? state;
}

export function describeOutput(output: Output): string {
  const size = output.width && output.height ? `${output.width} × ${output.height}` : "";
  return [size, formatSeconds(output.durationSeconds), formatBytes(output.sizeBytes)].filter(Boolean).join(", ");
}

export function formatValue(value: Json): string {
  return typeof value === "string" ? value : JSON.stringify(value).slice(0, 600);
}

/** The argument that says most: a prompt, else a text or a title by its name, else the longest text. */
export function getPrompt(given: Facts): string {
  const isFile = /^(flowport|https?|data|run|file):|^(\/|[A-Za-z]:\\)/;
  const texts = Object.entries(given).filter((one): one is [string, string] => typeof one[1] === "string" && !isFile.test(one[1]) && one[1].trim() !== "");
  const rank = (name: string) => 1 + ["prompt", "text", "title"].indexOf(name.toLowerCase()) || 9;
  texts.sort(([one, short], [other, long]) => rank(one) - rank(other) || long.length - short.length);
  return texts[0]?.[1].slice(0, 200) ?? "";
}
