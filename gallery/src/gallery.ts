/** The local gallery: the history, and a run behind each card; both are read again while the page is visible. */

import { h } from "./dom";
import { HistoryView } from "./history-view";
import { RunView } from "./run-view";
import { isLive, type Source } from "./types";
import { LocalSource } from "./local-source";

const LIVE_MS = 1500;
const IDLE_MS = 5000;

export function startGallery(main: HTMLElement): void {
  const source = new LocalSource();
  browse(main, source, new HistoryView(source));
}

/** Show the history, and the run that the address names after `#`. */
export function browse(main: HTMLElement, source: Source, history: HistoryView): void {
  let run: { id: string; view: RunView } | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let turn = 0;
  let scrolled = 0;

  const refresh = async () => {
    clearTimeout(timer);
    const mine = ++turn;
    let isBusy = false;
    if (!document.hidden) {
      if (run) {
        const { id, view } = run;
        try {
          const found = await source.get(id);
          isBusy = isLive(found);
          if (run?.id === id) view.update(found);
          document.title = `${found.app} · Flowport`;
        } catch (error) {
          if (run?.id === id) view.explain("Run", error instanceof Error ? error.message : String(error));
        }
      } else {
        document.title = "Runs · Flowport";
        await history.refresh();
        isBusy = history.hasLive;
      }
    }
    if (mine === turn) timer = setTimeout(() => void refresh(), isBusy ? LIVE_MS : IDLE_MS);
  };

  const route = async () => {
    const id = location.hash.slice(1);
    if (!run) scrolled = scrollY;
    const wasRun = run;
    run = /^[a-z0-9_]{1,64}$/.test(id) ? { id, view: new RunView(source, (row) => (location.hash = row)) } : null;
    const back = h("a", { href: "#", class: "back" }, "← All runs");
    main.replaceChildren(...(run ? [h("nav", {}, back), run.view.element] : [history.element]));
    await refresh();
    if (run) {
      scrollTo(0, 0);
      run.view.heading.focus({ preventScroll: true });
    } else if (wasRun) {
      scrollTo(0, scrolled);
      const card = [...history.element.querySelectorAll("a")].find((link) => link.hash === `#${wasRun.id}`);
      (card ?? history.heading).focus({ preventScroll: true });
    }
  };

  addEventListener("hashchange", () => void route());
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && run) location.hash = "";
  });
  document.addEventListener("visibilitychange", () => void (document.hidden || refresh()));
  void route();
}
