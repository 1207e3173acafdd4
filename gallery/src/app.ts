/** The MCP App: the run of the call that it was opened for, followed to its end through the host. */

import { h, notify } from "./dom";
import { isObject, toText } from "./facts";
import { formatValue, setLocale } from "./format";
import { HistoryView } from "./history-view";
import { connect, type Host } from "./host";
import { HostSource } from "./host-source";
import { action } from "./output-view";
import { RunView } from "./run-view";
import { readAnswer } from "./tool-result";
import { isLive, type Run } from "./types";

const FIRST_MS = 1500;
const MOST_MS = 10_000;
const MAX_FAILURES = 5;

export async function startApp(main: HTMLElement): Promise<void> {
  document.documentElement.classList.add("app");
  const early: [string, Record<string, unknown>][] = [];
  let handle = (method: string, params: Record<string, unknown>): void => {
    early.push([method, params]);
  };
  const names = ["tool-input", "tool-input-partial", "tool-result", "tool-cancelled", "host-context-changed"];
  const handlers = names.map((name) => [`ui/notifications/${name}`, (params: Record<string, unknown>) => handle(name, params)]);
  const host = await connect({ ...Object.fromEntries(handlers), "ui/resource-teardown": () => handle("teardown", {}) });
  const app = new App(main, host);
  handle = (method, params) => app.handle(method, params);
  early.forEach(([method, params]) => app.handle(method, params));
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

class App {
  readonly #host: Host;
  readonly #source: HostSource;
  readonly #main: HTMLElement;
  readonly #bar = h("nav", {});
  #view: RunView;
  #id = "";
  #arguments: Run["arguments"] = {};
  #isFollowed = false;
  #isGone = false;
  #failures = 0;
  #displayMode = "inline";
  #timer: ReturnType<typeof setTimeout> | undefined;
  #history: HistoryView | null = null;
  #first = "";

  constructor(main: HTMLElement, host: Host) {
    this.#main = main;
    this.#host = host;
    this.#source = new HostSource(host);
    this.#view = new RunView(this.#source, (id) => this.#open(id));
    main.replaceChildren(this.#bar, this.#view.element);
    this.#applyContext(host.context);
    const tool = isObject(host.context["toolInfo"]) ? host.context["toolInfo"]["tool"] : null;
    this.#view.explain((isObject(tool) && (toText(tool["title"]) || toText(tool["name"]))) || "Flowport", "Waiting for the call.");
    this.#reportSize();
  }

  handle(name: string, params: Record<string, unknown>): void {
    switch (name) {
      case "tool-input":
      case "tool-input-partial":
        if (isObject(params["arguments"])) this.#noteArguments(params["arguments"]);
        break;
      case "tool-result":
        void this.#show(params);
        break;
      case "tool-cancelled":
        if (!this.#id) this.#view.explain(this.#view.heading.textContent ?? "", "The call was cancelled. A run that was started goes on.");
        break;
      case "host-context-changed":
        this.#applyContext(params);
        break;
      case "teardown":
        this.#isGone = true;
        clearTimeout(this.#timer);
        break;
    }
  }

  #noteArguments(all: Run["arguments"]): void {
    // `run_app` has the app's inputs inside; what names a run is no input of it.
    const given = "run_id" in all ? {} : isObject(all["arguments"]) ? all["arguments"] : all;
    this.#arguments = given;
    if (this.#id) return;
    const named = Object.entries(given).map(([name, value]) => `${name}: ${formatValue(value)}`);
    this.#view.explain(this.#view.heading.textContent ?? "", `Starting. ${named.join(", ").slice(0, 300)}`);
  }

  /** Show the result of the call; what the host has stripped is requested. */
  async #show(result: Record<string, unknown>): Promise<void> {
    const answer = readAnswer(result);
    if (!answer.runId) {
      this.#view.explain(this.#view.heading.textContent ?? "", answer.text || "The call has no result.");
      return;
    }
    const { run } = answer;
    this.#id = this.#first = answer.runId;
    this.#isFollowed = run !== null && isLive(run);
    if (run) this.#update(run);
    this.#renderBar();
    if (answer.isStripped || !run || isLive(run)) {
      await this.#refresh(FIRST_MS);
    } else if (this.#source.canFollow) {
      await this.#source.addRecord(run);
      if (this.#id === run.id) this.#update(run);
    }
  }

  #open(id: string): void {
    this.#id = id;
    this.#isFollowed = false;
    this.#history = null;
    this.#view = new RunView(this.#source, (other) => this.#open(other));
    this.#main.replaceChildren(this.#bar, this.#view.element);
    this.#renderBar();
    void this.#refresh(FIRST_MS).then(() => this.#view.heading.focus());
  }

  async #refresh(waitMs: number): Promise<void> {
    clearTimeout(this.#timer);
    const id = this.#id;
    let isBusy = true;
    try {
      const { run, text } = await this.#source.getAnswer(id);
      if (id !== this.#id || this.#history) return;
      if (!run) return this.#view.explain(this.#view.heading.textContent ?? "", text);
      this.#update(run);
      isBusy = isLive(run);
      if (!isBusy && this.#isFollowed) await this.#source.reportEnd(run);
      this.#isFollowed = isBusy;
      this.#failures = 0;
      this.#renderBar();
    } catch (error) {
      this.#failures += 1;
      if (this.#isFollowed) notify(`The run cannot be followed here. Ask the assistant for its result. (${describe(error)})`);
      else console.info("the run could not be read:", error);
    }
    if (isBusy && !this.#isGone && this.#failures < MAX_FAILURES && this.#source.canFollow) {
      this.#timer = setTimeout(() => void this.#refresh(Math.min(MOST_MS, waitMs * 1.3)), waitMs);
    }
  }

  #update(run: Run): void {
    if (!Object.keys(run.arguments).length && run.id === this.#first) run.arguments = this.#arguments;
    this.#view.update(run);
  }

  #showHistory(): void {
    clearTimeout(this.#timer);
    this.#history = new HistoryView(this.#source);
    this.#history.element.addEventListener("click", (event) => {
      const link = event.target instanceof Element ? event.target.closest("a") : null;
      if (!link?.hash) return;
      event.preventDefault();
      this.#open(link.hash.slice(1));
    });
    this.#main.replaceChildren(this.#bar, this.#history.element);
    this.#renderBar();
    void this.#history.refresh().then(() => this.#history?.heading.focus());
  }

  #applyContext(context: Record<string, unknown>): void {
    const root = document.documentElement;
    const { theme, styles, displayMode, safeAreaInsets } = context;
    if (theme === "light" || theme === "dark") root.style.colorScheme = theme;
    const variables = isObject(styles) && isObject(styles["variables"]) ? styles["variables"] : {};
    for (const [name, value] of Object.entries(variables)) {
      if (/^--(color|font|border)-[a-z0-9-]+$/.test(name) && typeof value === "string") root.style.setProperty(name, value);
    }
    if (isObject(safeAreaInsets)) {
      const sides = ["top", "right", "bottom", "left"].map((side) => `${Number(safeAreaInsets[side]) || 0}px`);
      document.body.style.padding = sides.join(" ");
    }
    if (typeof displayMode === "string") this.#displayMode = displayMode;
    setLocale(context);
    this.#renderBar();
  }

  #renderBar(): void {
    const modes = this.#host.context["availableDisplayModes"];
    const canFill = Array.isArray(modes) && modes.includes("fullscreen") && modes.includes("inline");
    const mode = this.#displayMode === "fullscreen" ? "inline" : "fullscreen";
    const buttons = [
      this.#first && (this.#history || this.#id !== this.#first) && action("← Back", "", async () => this.#open(this.#first)),
      this.#source.canList && !this.#history && action("All runs", "", async () => this.#showHistory()),
      canFill && action(mode === "fullscreen" ? "Full screen" : "Smaller", "", () => this.#setMode(mode)),
    ];
    this.#bar.replaceChildren(...buttons.filter((button): button is HTMLButtonElement => button instanceof Node));
  }

  async #setMode(mode: string): Promise<void> {
    const result = await this.#host.request("ui/request-display-mode", { mode });
    this.#displayMode = toText(result["mode"]) || this.#displayMode;
    this.#renderBar();
  }

  #reportSize(): void {
    let last = 0;
    const report = () => {
      const height = Math.ceil(document.documentElement.getBoundingClientRect().height);
      if (height !== last) this.#host.notify("ui/notifications/size-changed", { width: innerWidth, height });
      last = height;
    };
    new ResizeObserver(report).observe(document.documentElement);
    report();
  }
}
