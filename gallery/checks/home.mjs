// A home with runs of the built-in sandbox, and a real `flowport gallery` on it. The home is that of the environment.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

export const HOSTILE = "<img src=x onerror=document.title='hacked'>";

const RUNS = [
  ["sandbox_text_to_picture", { prompt: HOSTILE }],
  ["sandbox_clip_and_jingle", { mood: "calm" }],
  ["sandbox_my_storyboard", { premise: "A fox crosses the ice" }],
  ["sandbox_variations_on_a_theme", { prompt: "Boats in the harbour", count: 4 }],
  ["sandbox_always_fails", {}],
  ["sandbox_retro_poster", { photo: "last", title: "Holiday by the sea" }],
  ["run_batch", { app: "sandbox_text_to_picture", rows: [{ prompt: "A quiet bay" }, { prompt: "High peaks" }, { prompt: "Dunes" }] }],
];

/** Make one run of each kind, and begin one that takes a minute. */
export async function makeRuns(flowport, { prompt = HOSTILE } = {}) {
  for (const [name, given] of RUNS) await flowport.call(name, given.prompt === HOSTILE ? { prompt } : given);
  void flowport.call("sandbox_slow_cinema_still", { prompt: "A night train" });
}

/** Start `flowport gallery` and return its address and how to end it. */
export async function openGallery() {
  const gallery = spawn(process.env.PYTHON, ["-m", "flowport", "gallery", "--no-open"], { stdio: ["ignore", "pipe", "ignore"] });
  process.once("exit", () => gallery.kill("SIGKILL"));
  const ended = new Promise((resolve) => gallery.once("exit", resolve));
  const url = await new Promise((resolve, reject) => {
    createInterface({ input: gallery.stdout }).once("line", resolve);
    ended.then((code) => reject(new Error(`the gallery ended with ${code}`)));
  });
  return { url, close: () => (gallery.kill("SIGINT"), ended) };
}
