/** The history: runs and batches, newest first, with search. */

import { h, setText } from "./dom";
import { formatCredits, formatDate, formatState, getPrompt } from "./format";
import { KeyedList } from "./keyed-list";
import { renderThumbnail } from "./output-view";
import { isLive, STATES, type Query, type Run, type Source } from "./types";

const PAGE_RUNS = 200;
const SEARCH_MS = 250;

export class HistoryView {
  readonly element = h("div", { class: "history" });
  readonly heading = h("h1", { tabindex: -1 }, "Runs");
  readonly #count = h("p", { class: "count", role: "status" });
  readonly #problem = h("p", { class: "problem", role: "alert" });
  readonly #list = h("ul", { class: "grid" });
  readonly #more = h("button", { type: "button", click: () => void this.#loadMore() }, "Show more");
  readonly #apps = h("datalist", { id: "apps" });
  readonly #form: HTMLFormElement;
  readonly #source: Source;
  readonly #cards = new KeyedList<Run>(this.#list, (run) => renderCard(this.#source, run));
  #runs: Run[] = [];
  #next: string | null = null;
  #search = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(source: Source) {
    this.#source = source;
    const states = ["live", ...STATES].map((state) => h("option", { value: state }, state === "live" ? "not over" : formatState(state)));
    this.#form = h(
      "form",
      { role: "search", input: () => this.#searchSoon(), submit: (event) => event.preventDefault() },
      field("Text", h("input", { type: "search", name: "text", autocomplete: "off" })),
      field("App", h("input", { name: "app", list: "apps", autocomplete: "off" })),
      field("State", h("select", { name: "state" }, h("option", { value: "" }, "any"), ...states)),
      field("From", h("input", { type: "date", name: "from" })),
      field("To", h("input", { type: "date", name: "to" })),
      this.#apps,
    );
    this.#more.hidden = true;
    this.element.append(this.heading, this.#form, this.#count, this.#problem, this.#list, this.#more);
    new IntersectionObserver(([entry]) => entry?.isIntersecting && void this.#loadMore(), { rootMargin: "800px" }).observe(this.#more);
  }

  get hasLive(): boolean {
    return this.#runs.some(isLive);
  }

  /** Read the newest runs again; those after them stay as they are. */
  async refresh(): Promise<void> {
    const search = this.#search;
    try {
      const page = await this.#source.list(this.#getQuery(), null, PAGE_RUNS);
      if (search !== this.#search) return;
      const ids = new Set(page.runs.map((run) => run.id));
      const older = page.next ? this.#runs.slice(this.#runs.findIndex((run) => run.id === page.next) + 1) : [];
      if (!this.#runs.length || !older.length) this.#next = page.next;
      this.#runs = [...page.runs, ...(this.#next === page.next ? [] : older.filter((run) => !ids.has(run.id)))];
      setText(this.#problem, "");
      this.#render();
    } catch (error) {
      setText(this.#problem, error instanceof Error ? error.message : String(error));
    }
  }

  async #loadMore(): Promise<void> {
    const before = this.#next;
    if (!before || this.#more.disabled) return;
    this.#more.disabled = true;
    const search = this.#search;
    try {
      const page = await this.#source.list(this.#getQuery(), before, PAGE_RUNS);
      if (search !== this.#search) return;
      this.#next = page.next;
      this.#runs = [...this.#runs, ...page.runs];
      this.#render();
    } catch (error) {
      setText(this.#problem, error instanceof Error ? error.message : String(error));
    } finally {
      this.#more.disabled = false;
    }
  }

  #getQuery(): Query {
    const data = new FormData(this.#form);
    const get = (name: string) => String(data.get(name) ?? "").trim();
    return { text: get("text"), app: get("app"), state: get("state"), from: get("from"), to: get("to") };
  }

  #searchSoon(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#search += 1;
      [this.#runs, this.#next] = [[], null];
      void this.refresh();
    }, SEARCH_MS);
  }

  #render(): void {
    this.#cards.update(this.#runs, (run) => run.id);
    this.#more.hidden = !this.#next;
    const some = `${this.#runs.length}${this.#next ? " or more" : ""} run${this.#runs.length === 1 ? "" : "s"}`;
    setText(this.#count, this.#runs.length ? some : "No runs.");
    const apps = [...new Set(this.#runs.map((run) => run.app))].sort();
    if (apps.length !== this.#apps.children.length) this.#apps.replaceChildren(...apps.map((app) => h("option", { value: app })));
  }
}

function renderCard(source: Source, run: Run): HTMLElement {
  const count = run.batch && run.batch.done < run.batch.total ? `${run.batch.done} of ${run.batch.total} over` : "";
  const live = isLive(run) ? run.progress || count : "";
  const facts = [live || formatDate(run.acceptedAt), isLive(run) ? "" : count, formatCredits(run.credits || run.price)];
  const card = h("li");
  card.append(
    h(
      "a",
      { href: `#${run.id}`, class: "card" },
      renderThumbnail(source, run.outputs[0], card),
      h("span", { class: "title" }, run.batch ? `${run.app} × ${run.batch.total}` : run.app),
      h("span", { class: "state", "data-state": run.state }, formatState(run.state)),
      h("span", { class: "excerpt" }, getPrompt(run.arguments) || run.problems[0] || ""),
      h("span", { class: "facts" }, facts.filter(Boolean).join(" · ")),
    ),
  );
  return card;
}

function field(label: string, input: HTMLElement): HTMLElement {
  return h("label", {}, h("span", {}, label), input);
}
