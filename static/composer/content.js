// What is said: texts by variant and language, their picture, link and buttons. Platforms' own options: platforms.js.
import { drawActions } from "./actions.js";
import { icon, language, letters, make, number, same, sentence } from "./dom.js";
import { Picture } from "./picture.js";
import { mountPlatforms } from "./platforms.js";
import { mountPopovers } from "./popovers.js";
import * as tags from "./tags.js";

const KEYS = "ABCDE";
const LOCALE = /^[a-z]{2,3}([-_][a-z0-9]{2,8})*$/i;
// Where a text is cut, in letters: [how many are seen, where]. Approximate, as fonts and screens differ.
const CUTS = {
  title: () => [[35, "An iPhone’s lock screen"], [49, "Android"]],
  body: (hasImage) => [[49, "Unopened, Android"], [hasImage ? 154 : 178, "an iPhone’s lock screen"], [500, "opened, Android"]],
};

export const mount = (root, draft, view) => new Content(root, draft, view);

class Content {
  constructor(root, draft, view) {
    Object.assign(this, { root, draft, view, isStrict: false });
    this.picture = new Picture(this);
    this.pops = mountPopovers(this);
    this.drawPlatforms = mountPlatforms(this.one("#k-platforms"), draft, view);
    root.addEventListener("input", (event) => this.typed(event.target));
    root.addEventListener("click", (event) => this.pressed(event.target.closest("[role=tab]")));
    root.addEventListener("keydown", (event) => this.moved(event));
    this.one("#k-add-variant").addEventListener("click", () => this.addVariant());
    this.one("#k-remove-variant").addEventListener("click", () => this.removeVariant());
    this.one("#k-add-language").addEventListener("click", () => this.askLanguage(this.one("#k-language-form").hidden));
    this.one("#k-language-form").addEventListener("submit", (event) => { event.preventDefault(); this.addLanguage(this.one("#k-language").value); });
    this.one("#k-remove-language").addEventListener("click", () => this.removeLanguage());
    this.one("#k-add-action").addEventListener("click", () => this.addAction());
    this.one("#k-locales").append(...draft.data.locales.map((name) => make("option", { value: name }, language(name))));
    draft.addEventListener("change", (event) => { if (["variants", "defaults", "missing"].includes(event.detail.path)) this.draw(); });
    draft.addEventListener("faults", () => this.drawFaults());
    view.addEventListener("change", () => this.draw());
    this.draw();
  }

  one(selector) { return this.root.querySelector(selector); }
  get at() { return `variants.${this.view.variant}`; }
  get variants() { return this.draft.plan.variants; }
  get variant() { return this.variants[this.view.variant]; }
  get base() { return this.variant.content ?? {}; }
  get texts() { return this.view.locale ? this.base.locales?.[this.view.locale] ?? {} : this.base; }

  // An empty text of a language is left out: then the default's is sent.
  write(field, value) {
    const isEmpty = value === "" || (Array.isArray(value) && !value.length);
    const place = this.view.locale ? `${this.at}.content.locales.${this.view.locale}` : `${this.at}.content`;
    this.draft.set(`${place}.${field}`, isEmpty ? undefined : value);
  }

  // --- drawing ----------------------------------------------------------------------------------
  draw() {
    if (!this.variant) return this.view.show({ variant: 0, locale: "" });
    if (this.view.locale && !this.base.locales?.[this.view.locale]) return this.view.show({ locale: "" });
    this.drawTabs();
    const fallback = this.fallback();
    for (const field of this.root.querySelectorAll("[data-text]")) {
      const name = field.dataset.text;
      field.dataset.placeholder ??= field.placeholder;
      if (field.value !== (this.texts[name] ?? "")) field.value = this.texts[name] ?? "";
      field.placeholder = (this.view.locale && fallback[name]) || field.dataset.placeholder;
      field.lang = this.view.locale || this.draft.data.locale;
      field.dir = "auto";
    }
    drawActions(this);
    this.drawPlatforms();
    this.drawWords();
    this.picture.draw();
    this.drawFaults();
  }

  // What de-AT leaves out is as in de, then as in the default.
  fallback() {
    const found = { ...this.base };
    const parts = this.view.locale.split("-");
    for (let n = 1; n < parts.length; n++) Object.assign(found, this.base.locales?.[parts.slice(0, n).join("-")] ?? {});
    return found;
  }

  drawTabs() {
    const all = this.variants;
    const whole = all.reduce((sum, one) => sum + (one.share ?? 1), 0);
    const tab = (attributes, ...words) => make("button", { type: "button", role: "tab", class: "k-tab", "aria-controls": "k-texts", ...attributes }, ...words);
    const chosen = (is) => ({ "aria-selected": String(is), tabindex: is ? "0" : "-1" });
    this.keepFocus("#k-variants", all.map((one, at) => tab({ "data-variant": at, ...chosen(at === this.view.variant) },
      one.key, all.length > 1 ? make("small", {}, ` ${Math.round((100 * (one.share ?? 1)) / whole)}%`) : null,
      at && !same([one.content, one.overrides], [all[0].content, all[0].overrides]) ? make("span", { class: "k-dot", title: "Differs from A" }, make("span", { class: "c-vh" }, " differs from A")) : null)));
    this.one("#k-variants").closest(".k-tabs-row").classList.toggle("is-single", all.length === 1);
    this.one("#k-add-variant").hidden = all.length >= KEYS.length;
    this.one("#k-remove-variant").hidden = all.length === 1;
    this.one("#k-remove-variant span:last-child").textContent = `Remove ${this.variant.key}`;
    const locales = Object.keys(this.base.locales ?? {});
    const main = language(this.draft.data.locale || "en");
    this.keepFocus("#k-languages", ["", ...locales].map((name) => tab({ "data-locale": name, lang: "en", ...chosen(name === this.view.locale) },
      name ? language(name) : main, name && this.lacks(name).length ? make("span", { class: "k-gap", title: "Not all is translated" }, make("span", { class: "c-vh" }, " not all is translated")) : null)));
    this.one("#k-remove-language").hidden = !this.view.locale;
    this.one("#k-remove-language span:last-child").textContent = this.view.locale ? `Remove ${language(this.view.locale)}` : "Remove";
    const lacking = this.view.locale ? this.lacks(this.view.locale) : [];
    this.one("#k-falls").hidden = !lacking.length;
    this.one("#k-falls").replaceChildren(icon("translate"), `Missing here: ${lacking.join(", ")}. It falls back to ${main}.`);
    for (const field of this.root.querySelectorAll("[data-text]")) {
      const differs = this.view.variant > 0 && !this.view.locale && !same(this.base[field.dataset.text], all[0].content?.[field.dataset.text]);
      this.root.querySelector(`label[for="${field.id}"]`).classList.toggle("is-changed", differs);
    }
  }

  keepFocus(selector, children) {
    const list = this.one(selector);
    const hadFocus = list.contains(document.activeElement);
    list.replaceChildren(...children);
    if (hadFocus) list.querySelector('[aria-selected="true"]')?.focus();
  }

  lacks(locale) {
    const own = this.base.locales[locale] ?? {};
    return [["title", "title"], ["body", "text"]].filter(([name]) => this.base[name] && !own[name]).map(([, said]) => said);
  }

  // What follows from the texts: counters, personal fields, the section's summary.
  drawWords() {
    const texts = { ...this.fallback(), ...this.texts };
    for (const name of ["title", "body"]) {
      const used = letters(tags.withoutHoles(tags.filled(texts[name], this.view.person, this.draft.plan.defaults)));
      const cuts = CUTS[name](Boolean(texts.image));
      const cut = cuts.filter(([most]) => used > most);
      const counter = this.one(`#k-${name}-count`);
      const next = cuts.find(([most]) => used <= most);
      counter.textContent = cut.length ? `${number(used)} letters. ${cut.map(([most, where]) => `${where} shows ${number(most)}`).join(", ")}.` : `${used} / ${next?.[0] ?? ""}`;
      counter.classList.toggle("is-long", cut.length > 0);
    }
    this.drawPersonal();
    const count = this.variants.length, languages = Object.keys(this.base.locales ?? {}).length;
    const first = this.variants[0].content ?? {};
    const more = [count > 1 ? `${count} versions` : "", languages ? `${languages + 1} languages` : ""].filter(Boolean).join(", ");
    const said = tags.withoutHoles(tags.filled(first.title || first.body, null, this.draft.plan.defaults));
    this.draft.summary("variants", [said || "Nothing written yet", more].filter(Boolean).join(" · "));
  }

  drawPersonal() {
    const names = tags.used(this.draft.plan);
    this.one("#k-personal").hidden = !names.length;
    const list = this.one("#k-defaults");
    const shown = [...list.querySelectorAll("[data-default]")].map((field) => field.dataset.default);
    if (shown.join() !== names.join()) {
      list.replaceChildren(...names.map((name, at) => make("div", { class: "k-default" },
        make("label", { for: `k-default-${at}` }, make("code", { class: "c-code" }, tags.words(name)), " otherwise"),
        make("input", { id: `k-default-${at}`, class: "c-input", "data-default": name, maxlength: "1000", autocomplete: "off", placeholder: "say this instead" }),
        make("p", { class: "c-help k-unknown" }, sentenceOrNothing(tags.unknown(name, this.draft.data.attributes))))));
    }
    for (const field of list.querySelectorAll("[data-default]")) {
      const value = this.draft.plan.defaults[field.dataset.default] ?? "";
      if (field !== document.activeElement) field.value = value;
    }
    for (const choice of this.root.querySelectorAll('[name="k-missing"]')) choice.checked = choice.value === this.draft.plan.missing;
  }

  // --- faults -----------------------------------------------------------------------------------
  // That nothing is written yet, one sees; it is said once somebody wants to go on.
  drawFaults() {
    const places = [...this.root.querySelectorAll("[data-at]")];
    for (const place of places) place.replaceChildren();
    const mine = `/variants/${this.view.variant}`;
    for (const { pointer, detail } of this.draft.faults) {
      if (!/^\/(variants|defaults|missing)/.test(pointer) || (!this.isStrict && detail.startsWith("write a title"))) continue;
      const isElsewhere = pointer.startsWith("/variants/") && !(pointer === mine || pointer.startsWith(`${mine}/`));
      const own = isElsewhere ? "" : pointer.replace(mine, "");
      const place = places.filter((one) => own.startsWith(one.dataset.at)).sort((a, b) => b.dataset.at.length - a.dataset.at.length)[0];
      const other = isElsewhere ? `Version ${KEYS[Number(pointer.split("/")[2])]}: ` : "";
      place.append(make("p", { class: "k-said" }, icon("error"), make("span", {}, sentence(`${other}${detail}`))));
    }
  }

  // --- deeds ------------------------------------------------------------------------------------
  typed(field) {
    if (field.dataset.text) {
      this.write(field.dataset.text, field.value);
      if (field.dataset.text === "image") this.picture.draw();
    } else if (field.dataset.default) {
      this.setDefault(field.dataset.default, field.value);
    } else if (field.name === "k-missing") {
      this.draft.set("missing", field.value);
    } else return;
    this.drawTabs();
    this.drawWords();
  }

  setDefault(name, value) {
    const { [name]: _, ...others } = this.draft.get("defaults");
    this.draft.plan.defaults = others;
    this.draft.set("defaults", value === "" ? others : { ...others, [name]: value });
  }

  pressed(tab) {
    if (!tab) return;
    this.view.show("variant" in tab.dataset ? { variant: Number(tab.dataset.variant) } : { locale: tab.dataset.locale });
  }

  moved(event) {
    const tab = event.target.closest("[role=tab]");
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!tab || !step) return;
    const all = [...tab.parentElement.children];
    const next = all[(all.indexOf(tab) + step + all.length) % all.length];
    next.focus();
    this.pressed(next);
  }

  addVariant() {
    const copy = structuredClone(this.variant);
    this.draft.set("variants", [...this.variants, { ...copy, key: KEYS[this.variants.length], share: Math.max(1, Math.min(...this.variants.map((one) => one.share ?? 1))) }]);
    this.view.show({ variant: this.variants.length - 1 });
    this.one("#k-title").focus();
  }

  removeVariant() {
    const left = this.variants.filter((_, at) => at !== this.view.variant).map((one, at) => ({ ...one, key: KEYS[at] }));
    const [at, gone] = [this.view.variant, structuredClone(this.variant)];
    this.view.variant = Math.max(0, at - 1);
    this.draft.set("variants", left);
    const undo = () => {
      this.draft.set("variants", this.variants.toSpliced(at, 0, gone).map((one, n) => ({ ...one, key: KEYS[n] })));
      this.view.show({ variant: at });
    };
    this.root.dispatchEvent(new CustomEvent("undoable", { bubbles: true, detail: { words: "The version is gone.", undo } }));
  }

  askLanguage(isOpen) {
    this.one("#k-language-form").hidden = !isOpen;
    this.one("#k-add-language").setAttribute("aria-expanded", String(isOpen));
    this.one("#k-language-error").textContent = "";
    this.one("#k-language").value = "";
    (isOpen ? this.one("#k-language") : this.one("#k-add-language")).focus();
  }

  addLanguage(typed) {
    const name = typed.trim().replaceAll("_", "-").toLowerCase().replace(/-([a-z]{2})$/, (_, country) => `-${country.toUpperCase()}`);
    if (!LOCALE.test(name)) {
      this.one("#k-language-error").textContent = "Write a language like de, or with a country like pt-BR.";
      return;
    }
    if (!this.base.locales?.[name]) this.draft.set(`${this.at}.content.locales.${name}`, {});
    this.askLanguage(false);
    this.view.show({ locale: name });
    this.one("#k-title").focus();
  }

  removeLanguage() {
    const { locale } = this.view;
    const texts = structuredClone(this.texts);
    const at = this.at;
    this.draft.set(`${at}.content.locales.${locale}`, undefined);
    this.view.show({ locale: "" });
    this.root.dispatchEvent(new CustomEvent("undoable", { bubbles: true, detail: { words: `${language(locale)} is gone.`, undo: () => { this.draft.set(`${at}.content.locales.${locale}`, texts); this.view.show({ locale }); } } }));
  }

  addAction() {
    const own = this.base.actions ?? [];
    const taken = new Set(own.map((one) => one.id));
    const id = [1, 2, 3, 4, 5].map((n) => `button-${n}`).find((one) => !taken.has(one));
    this.draft.set(`${this.at}.content.actions`, [...own, { id, title: "" }]);
    drawActions(this);
    this.root.querySelector("#k-actions > :last-child input")?.focus();
  }
}

const sentenceOrNothing = (words) => (words ? sentence(words) : "");
