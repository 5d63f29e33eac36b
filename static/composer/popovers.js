// The emoji picker and the menu of personal fields, over a text. Esc and a click beside them close them.
import { make } from "./dom.js";
import * as tags from "./tags.js";

const DATA = new URL("../vendor/emoji-picker-element-data/en.json", import.meta.url).href;

export const mountPopovers = (content) => new Popovers(content);

class Popovers {
  constructor(content) {
    this.content = content;
    this.pop = content.one("#k-pop");
    content.root.addEventListener("click", (event) => {
      const opener = event.target.closest("[data-emoji], [data-tag]");
      if (opener) this.toggle(opener);
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !this.pop.hidden) { event.stopPropagation(); this.close(true); }
    }, true);
    document.addEventListener("pointerdown", (event) => {
      if (!this.pop.hidden && !this.pop.contains(event.target) && !event.target.closest("[data-emoji], [data-tag]")) this.close();
    });
  }

  toggle(opener) {
    const isSame = this.opener === opener;
    if (!this.pop.hidden) this.close(isSame);
    if (isSame) { this.opener = null; return; }
    this.opener = opener;
    this.field = document.getElementById(opener.dataset.emoji ?? opener.dataset.tag);
    this.field.closest(".c-field").append(this.pop);
    this.pop.setAttribute("aria-label", opener.dataset.emoji ? "Emoji" : "Personal field");
    this.pop.hidden = false;
    opener.setAttribute("aria-expanded", "true");
    if (opener.dataset.emoji) this.emoji();
    else this.tags();
  }

  close(isFocused = false) {
    this.pop.hidden = true;
    this.pop.replaceChildren();
    this.opener?.setAttribute("aria-expanded", "false");
    if (isFocused) this.opener?.focus();
    this.opener = null;
  }

  insert(text) {
    const { field } = this;
    const [start, end] = [field.selectionStart ?? field.value.length, field.selectionEnd ?? field.value.length];
    field.setRangeText(text, start, end, "end");
    this.close();
    field.focus();
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  async emoji() {
    await import("../vendor/emoji-picker-element/index.js");
    if (this.pop.hidden) return;
    const isDark = document.documentElement.classList.contains("dark");
    const picker = make("emoji-picker", { class: isDark ? "dark" : "light", "data-source": DATA });
    picker.addEventListener("emoji-click", (event) => this.insert(event.detail.unicode));
    this.pop.replaceChildren(picker);
    requestAnimationFrame(() => picker.shadowRoot?.querySelector("input")?.focus());
  }

  tags() {
    const { draft } = this.content;
    const known = tags.offered(draft.data.attributes);
    const choice = make("select", { id: "k-tag-name", class: "c-input" }, known.map(([name, words]) => make("option", { value: name }, words)));
    const otherwise = make("input", { id: "k-tag-default", class: "c-input", maxlength: "1000", autocomplete: "off", placeholder: "there" });
    const error = make("p", { class: "c-errors", role: "alert" });
    const remember = () => { otherwise.value = draft.plan.defaults[choice.value] ?? ""; };
    choice.addEventListener("change", remember);
    remember();
    const add = () => {
      if (!otherwise.value.trim()) {
        error.textContent = "Say what people without a value read instead.";
        otherwise.focus();
        return;
      }
      this.content.setDefault(choice.value, otherwise.value.trim());
      this.insert(tags.tag(choice.value));
    };
    otherwise.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); add(); } });
    this.pop.replaceChildren(make("div", { class: "k-tag-form" },
      make("label", { class: "c-label", for: "k-tag-name" }, "Insert for each person"), choice,
      make("label", { class: "c-label", for: "k-tag-default" }, "If somebody has none"), otherwise, error,
      make("button", { type: "button", class: "c-btn", onclick: add }, "Insert")));
    choice.focus();
  }
}
