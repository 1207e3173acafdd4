/** One run or batch: how it stands, its results, and what it was made of. It is updated in place while it goes on. */

import { append, h, notify, setText } from "./dom";
import { formatCredits, formatDate, formatSeconds, formatState, formatValue } from "./format";
import { KeyedList } from "./keyed-list";
import { action, renderOutput, renderThumbnail } from "./output-view";
import { isLive, type Facts, type Row, type Run, type Source } from "./types";

export class RunView {
  readonly element = h("article", { class: "run" });
  readonly heading = h("h1", { tabindex: -1 });
  readonly #state = h("span", { class: "state", role: "status" });
  readonly #progress = h("p", { class: "progress" });
  readonly #bar = h("progress", { "aria-label": "Rows that are over" });
  readonly #actions = h("div", { class: "actions" });
  readonly #sentences = h("div", { class: "sentences" });
  readonly #outputs = h("section", { class: "outputs", "aria-label": "Results" });
  readonly #list = h("ol", { class: "rows" });
  readonly #rows = new KeyedList<Row>(this.#list, (row) => this.#renderRow(row));
  readonly #facts = h("dl");
  readonly #source: Source;
  readonly #openRun: (id: string) => void;
  readonly #shown = new Map<Element, string>();

  constructor(source: Source, openRun: (id: string) => void) {
    this.#source = source;
    this.#openRun = openRun;
    this.element.append(
      h("header", {}, this.heading, this.#state, this.#actions),
      this.#progress,
      this.#bar,
      this.#sentences,
      this.#outputs,
      h("section", { "aria-label": "Details" }, this.#facts),
    );
  }

  update(run: Run): void {
    const { batch } = run;
    setText(this.heading, run.app);
    setText(this.#state, formatState(run.state));
    this.#state.dataset["state"] = run.state;
    setText(this.#progress, describeProgress(run));
    this.#bar.hidden = !batch || !isLive(run);
    if (batch) [this.#bar.max, this.#bar.value] = [Math.max(1, batch.total), batch.done];
    this.#fill(this.#actions, [isLive(run), run.id], () => this.#renderActions(run));
    this.#fill(this.#sentences, [run.problems, run.notes, run.outputsNotShown, batch?.rowsNotShown], () => renderSentences(run));
    if (batch) this.#updateRows(batch.rows);
    else this.#fill(this.#outputs, run.outputs, () => run.outputs.map((one) => renderOutput(this.#source, one, run.app)));
    this.#fill(this.#facts, [run, isLive(run) ? 0 : run.seconds], () => renderFacts(run));
  }

  /** Show a sentence in the place of a run. */
  explain(title: string, text: string): void {
    setText(this.heading, title);
    setText(this.#progress, text);
    this.#bar.hidden = true;
  }

  /** Fill an element anew only if what it shows has changed: media go on playing, and the focus stays. */
  #fill(element: Element, shown: unknown, render: () => (Node | string)[]): void {
    const key = JSON.stringify(shown);
    if (this.#shown.get(element) === key) return;
    this.#shown.set(element, key);
    element.replaceChildren(...render());
  }

  #renderActions(run: Run): Node[] {
    const { cancel } = this.#source;
    if (!cancel || !isLive(run) || run.isSaving) return [];
    return [action("Cancel", run.app, async () => notify(await cancel(run.id)))];
  }

  #updateRows(rows: Row[]): void {
    if (this.#outputs.firstChild !== this.#list) this.#outputs.replaceChildren(...(rows.length ? [this.#list] : []));
    this.#rows.update(rows, (row) => row.label);
  }

  #renderRow(row: Row): HTMLElement {
    const open = row.runId
      ? h("button", { type: "button", class: "open", click: () => this.#openRun(row.runId) }, row.label)
      : h("span", {}, row.label);
    const card = h("li", { class: "row" });
    append(card, [
      h("span", { class: "thumbnails" }, ...row.outputs.slice(0, 4).map((one) => renderThumbnail(this.#source, one, card))),
      open,
      h("span", { class: "state", "data-state": row.state }, formatState(row.state)),
      row.problem && h("span", { class: "problem" }, row.problem),
      h("span", { class: "excerpt" }, describeArguments(row.arguments)),
    ]);
    return card;
  }
}

function describeProgress(run: Run): string {
  if (run.batch) {
    const counts = run.batch.counts.map(([label, count]) => `${count} ${label}`).join(", ");
    return [`${run.batch.done} of ${run.batch.total} over`, counts, formatCredits(run.credits)].filter(Boolean).join(" · ");
  }
  return run.progress || run.summary;
}

function renderSentences(run: Run): Node[] {
  const missing = run.outputsNotShown ? [`${run.outputsNotShown} more results are not shown.`] : [];
  const rows = run.batch?.rowsNotShown ? [`${run.batch.rowsNotShown} more rows are not shown.`] : [];
  return [
    ...run.problems.map((text) => h("p", { class: "problem" }, text)),
    ...[...run.notes, ...missing, ...rows].map((text) => h("p", {}, text)),
  ];
}

function renderFacts(run: Run): Node[] {
  const facts: [string, string][] = [
    ["Price", formatCredits(run.price)],
    ["Cost", formatCredits(run.credits)],
    ["Date", formatDate(run.acceptedAt)],
    ["Took", isLive(run) ? "" : formatSeconds(run.seconds)],
    ["Provider", run.provider],
    ["Tool", run.tool],
    ["Run", run.id],
    ["Table", run.batch?.csv ?? ""],
    ...Object.entries(run.arguments).map(([name, value]): [string, string] => [name, formatValue(value)]),
  ];
  return facts.filter(([, text]) => text).map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text)));
}

function describeArguments(given: Facts): string {
  return Object.entries(given)
    .map(([name, value]) => `${name}: ${formatValue(value)}`)
    .join(", ")
    .slice(0, 200);
}
