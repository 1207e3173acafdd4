/** A list whose elements are kept while nothing about them changes: pictures stay, media play on, the focus is not lost. */
export class KeyedList<T> {
  readonly #element: Element;
  readonly #render: (item: T) => HTMLElement;
  #kept = new Map<string, { key: string; element: HTMLElement }>();

  constructor(element: Element, render: (item: T) => HTMLElement) {
    this.#element = element;
    this.#render = render;
  }

  update(items: T[], getId: (item: T) => string): void {
    const before = this.#kept;
    this.#kept = new Map();
    const elements = items.map((item) => {
      const [id, key] = [getId(item), JSON.stringify(item)];
      const kept = before.get(id);
      const element = kept?.key === key ? kept.element : this.#renew(item, kept?.element);
      this.#kept.set(id, { key, element });
      return element;
    });
    const { children } = this.#element;
    const isSame = elements.length === children.length && elements.every((element, place) => element === children[place]);
    if (!isSame) this.#element.replaceChildren(...elements);
  }

  /** The new element takes the place of the old one, and its focus. */
  #renew(item: T, old: HTMLElement | undefined): HTMLElement {
    const element = this.#render(item);
    if (old?.isConnected) {
      const hadFocus = old.contains(document.activeElement);
      old.replaceWith(element);
      if (hadFocus) element.querySelector<HTMLElement>("a, button")?.focus();
    }
    return element;
  }
}
