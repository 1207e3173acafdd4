/** One result: the picture, video, sound or text, what is known of it, and what can be done with it. */

import { copy, h, notify, toLink, whenNear } from "./dom";
import { describeOutput } from "./format";
import type { Output, Source } from "./types";

export function renderOutput(source: Source, output: Output, title: string): HTMLElement {
  const name = `Result ${output.n} of ${title}`;
  return h(
    "figure",
    { class: "output" },
    renderContent(source, output, name),
    h("figcaption", {}, h("span", { class: "facts" }, `${output.n}. ${output.kind}`, describe(output)), renderActions(source, output, name)),
  );
}

/** A small picture for lists, read while `card` is near; a sign of the kind where there is none. */
export function renderThumbnail(source: Source, output: Output | undefined, card: Element): HTMLElement {
  const box = h("span", { class: "thumbnail", "aria-hidden": "true" });
  if (output?.kind === "text") {
    box.append(h("span", { class: "excerpt" }, output.text.slice(0, 240)));
    return box;
  }
  const signs: Record<string, string> = { image: "▦", video: "▶", audio: "♪" };
  const sign = h("span", { class: "sign" }, output ? (signs[output.kind] ?? "≡") : "–");
  box.append(sign);
  if (!output || (output.kind !== "image" && output.kind !== "video")) return box;
  const image = h("img", { alt: "", decoding: "async", error: () => image.remove(), load: () => box.append(image) });
  // Far pictures give their memory back.
  const observer = new IntersectionObserver(
    ([entry]) => {
      if (!card.isConnected) observer.disconnect();
      else if (!entry?.isIntersecting) image.removeAttribute("src"), image.remove();
      else void source.getPicture(output, true).then((address) => address && image.setAttribute("src", address));
    },
    { rootMargin: "400px" },
  );
  // Not the box: what is in a card far away is not laid out.
  observer.observe(card);
  return box;
}

function describe(output: Output): string {
  const facts = describeOutput(output);
  return facts && `, ${facts}`;
}

function renderContent(source: Source, output: Output, name: string): HTMLElement {
  switch (output.kind) {
    case "text":
      return h("pre", { class: "text", tabindex: 0, role: "region", "aria-label": name }, output.text);
    case "image":
      return renderImage(source, output, name);
    case "video":
    case "audio":
      return renderMedia(source, output, name, output.kind);
    default:
      return h("p", { class: "missing" }, output.text || output.savedPath.split(/[\\/]/).pop() || "A file.");
  }
}

function renderImage(source: Source, output: Output, name: string): HTMLElement {
  const box = h("div", { class: "media" });
  if (output.width && output.height) box.style.aspectRatio = `${output.width} / ${output.height}`;
  const image = h("img", { alt: name, decoding: "async", error: () => box.replaceWith(renderMissing(output)) });
  if (output.preview) image.src = output.preview;
  if (output.preview) box.append(image);
  whenNear(box, () => {
    void source.getPicture(output, false).then((address) => {
      if (address) image.src = address;
      if (address) box.append(image);
      else if (!output.preview) box.replaceWith(renderMissing(output));
    });
  });
  return box;
}

function renderMedia(source: Source, output: Output, name: string, kind: "video" | "audio"): HTMLElement {
  const box = h("div", { class: `media ${kind}` });
  if (kind === "video" && output.width && output.height) box.style.aspectRatio = `${output.width} / ${output.height}`;
  whenNear(box, () => {
    void source.getMedia(output).then((address) => {
      if (!address) {
        const cover = output.preview && h("img", { alt: `${name}, its cover`, src: output.preview });
        box.replaceWith(cover ? h("div", { class: "media" }, cover) : renderMissing(output));
        return;
      }
      box.append(h(kind, { controls: true, preload: "metadata", playsinline: true, src: address, "aria-label": name }));
    });
  });
  return box;
}

function renderMissing(output: Output): HTMLElement {
  const why = output.saveProblem || (output.savedPath ? `It is saved as ${output.savedPath}.` : "It is not shown here.");
  return h("p", { class: "missing" }, why);
}

function renderActions(source: Source, output: Output, name: string): HTMLElement {
  const link = toLink(output.url);
  const download = source.download(output);
  const { openLink } = source;
  const buttons = [
    download && action("Download", name, download),
    link && openLink && action("Open", name, () => openLink(link)),
    link && !openLink && h("a", { href: link, target: "_blank", rel: "noopener noreferrer", "aria-label": `Open ${name}` }, "Open"),
    action(link ? "Copy link" : "Copy name", name, async () => {
      const text = link || output.resource;
      notify((await copy(text)) ? "Copied." : text);
    }),
    output.kind !== "file" && action("Use as input", name, async () => notify(await source.useAsInput(output))),
  ];
  return h("span", { class: "actions" }, ...buttons);
}

/** A button whose failure is shown. */
export function action(label: string, subject: string, work: () => Promise<void>): HTMLButtonElement {
  const run = async () => {
    try {
      await work();
    } catch (error) {
      notify(error instanceof Error ? error.message : String(error));
    }
  };
  return h("button", { type: "button", "aria-label": subject ? `${label}: ${subject}` : label, click: () => void run() }, label);
}
