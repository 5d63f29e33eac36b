// Choose one of a list by typing: a combobox (ARIA 1.2, list autocomplete). Options: {value, words, detail}.
import { later, make } from "./parts.js";

let pickers = 0;

export class Picker {
  // find: query → options, may take time. chosen: called with the option.
  constructor(root, { label, placeholder, find, chosen }) {
    this.id = `picker-${++pickers}`;
    this.find = find;
    this.chosen = chosen;
    this.options = [];
    this.active = -1;
    this.soon = later(() => this.isTyping && this.open(), 150);
    this.input = make("input", {
      type: "text", class: "c-input p-search", role: "combobox", autocomplete: "off", spellcheck: "false", placeholder,
      "aria-label": label, "aria-expanded": "false", "aria-controls": this.id, "aria-autocomplete": "list",
      onclick: () => this.open(), oninput: () => { this.isTyping = true; this.soon(); }, onkeydown: (event) => this.key(event),
      onblur: () => setTimeout(() => this.close(), 150),
    });
    this.list = make("ul", { id: this.id, class: "p-options", role: "listbox", "aria-label": label, hidden: true });
    root.replaceChildren(make("div", { class: "p-picker" }, this.input, this.list));
  }

  start() {
    this.input.focus();
    this.open();
  }

  async open() {
    const query = this.input.value.trim();
    const options = await this.find(query);
    if (document.activeElement !== this.input || query !== this.input.value.trim()) return;
    this.options = options;
    this.shownFor = query;
    this.show(query ? 0 : -1);
    this.list.replaceChildren(...(options.length
      ? options.map((option, at) => this.row(option, at))
      : [make("li", { class: "p-none", role: "option", "aria-disabled": "true", "aria-selected": "false" }, query ? "No segment of that name" : "There is nothing left to choose")]));
    this.list.hidden = false;
    this.input.setAttribute("aria-expanded", "true");
    this.show(this.active);
  }

  row(option, at) {
    const choose = (event) => {
      event.preventDefault(); // the field keeps the focus
      this.choose(at);
    };
    return make("li", { id: `${this.id}-${at}`, role: "option", "aria-selected": "false", onmousedown: choose },
      make("span", {}, option.words), make("small", { class: "c-num" }, option.detail));
  }

  show(at) {
    this.active = Math.min(at, this.options.length - 1);
    [...this.list.children].forEach((row, number) => row.setAttribute("aria-selected", String(number === this.active)));
    const row = this.active >= 0 ? this.list.children[this.active] : null;
    if (row?.id) this.input.setAttribute("aria-activedescendant", row.id);
    else this.input.removeAttribute("aria-activedescendant");
    row?.scrollIntoView({ block: "nearest" });
  }

  key(event) {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (this.list.hidden) this.open();
      else this.show(event.key === "ArrowDown" ? this.active + 1 : Math.max(0, this.active - 1));
    } else if (event.key === "Enter") {
      event.preventDefault();
      this.enter();
    } else if (event.key === "Escape" && !this.list.hidden) {
      event.stopPropagation();
      this.close();
    }
  }

  // Who types fast presses Enter before the answer has come.
  async enter() {
    if (!this.list.hidden || this.input.value) {
      if (this.shownFor !== this.input.value.trim()) await this.open();
      if (this.active >= 0) this.choose(this.active);
    }
  }

  choose(at) {
    const option = this.options[at];
    if (!option) return;
    this.input.value = "";
    this.close();
    this.chosen(option);
  }

  close() {
    this.list.hidden = true;
    this.shownFor = null;
    this.isTyping = false;
    this.active = -1;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }
}
