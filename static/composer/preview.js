// What one person gets: at once as it is typed, then as the code that sends renders it.
import { icon, language, later, make, number, sentence } from "./dom.js";
import { LINK_OF } from "./platforms.js";
import { draw, PROVIDERS } from "./surfaces.js";
import * as tags from "./tags.js";

const PAUSE = 400; // milliseconds
const LABELS = { apns: "Apple", fcm: "Android", webpush: "Browser" };

export const mount = (root, draft, view) => new Preview(root, draft, view);

class Preview {
  constructor(root, draft, view) {
    Object.assign(this, { root, draft, view, people: [], person: null, answer: null, asked: 0, at: -1 });
    this.soon = later(() => this.ask(), PAUSE);
    this.find = later(() => this.search(), 250);
    this.one("#k-theme").addEventListener("click", (event) => this.turn(event.currentTarget));
    for (const choice of root.querySelectorAll('[name="k-surface"]')) choice.addEventListener("change", () => this.draw());
    this.one("#k-next-person").addEventListener("click", () => this.next());
    this.mountSearch();
    draft.addEventListener("change", () => { this.typed(); });
    view.addEventListener("change", () => this.typed());
    this.typed();
    this.start();
  }

  one(selector) { return this.root.querySelector(selector); }
  get variant() { return this.draft.plan.variants[this.view.variant] ?? this.draft.plan.variants[0]; }
  get surface() { return this.root.querySelector('[name="k-surface"]:checked').value; }

  async start() {
    this.people = await this.peopleOf("");
    if (this.people.length && !this.person) this.become(this.people[0], 0);
    else this.drawPerson();
  }

  // --- what is shown ----------------------------------------------------------------------------
  typed() {
    this.answer = null;
    this.draw();
    this.drawPerson();
    this.soon();
  }

  // What is typed, filled in here until the server's answer is there.
  own() {
    const content = this.variant.content ?? {};
    const parts = this.view.locale.split("-");
    let texts = content;
    for (let n = 1; n <= parts.length; n++) texts = { ...texts, ...content.locales?.[parts.slice(0, n).join("-")] };
    const fill = (text) => tags.filled(text, this.person, this.draft.plan.defaults);
    return { ...texts, title: fill(texts.title), body: fill(texts.body), url: fill(texts.url), actions: (texts.actions ?? []).map((one) => ({ ...one, title: fill(one.title) })) };
  }

  draw() {
    const said = this.answer?.content ?? this.own();
    const provider = PROVIDERS[this.surface];
    const override = this.variant.overrides?.[provider] ?? {};
    draw(this.one("#k-stage"), this.surface, {
      app: this.draft.data.application_name, title: override.title ?? said.title ?? "", body: override.body ?? said.body ?? "", subtitle: override.subtitle,
      image: override.image ?? said.image, actions: said.actions ?? [],
    }, this.isDark ?? false);
    this.drawLink(override[LINK_OF[provider]] || said.url);
    this.drawSizes();
  }

  drawLink(url) {
    const words = url ? `A tap opens ${tags.withoutHoles(url)}` : "";
    const place = this.one("#k-opens");
    if (place.dataset.words === words) return;
    place.dataset.words = words;
    place.replaceChildren(...(url ? [icon("touch_app"), make("span", { class: "c-break" }, words)] : []));
  }

  turn(button) {
    this.isDark = !this.isDark;
    button.setAttribute("aria-pressed", String(this.isDark));
    this.draw();
  }

  async ask() {
    const asked = ++this.asked;
    try {
      // The language that is being written, whatever the person's own.
      const extra = { variant: this.variant.key, person: this.person?.id ?? "", locale: this.view.locale || this.draft.data.locale || "en" };
      const answer = await this.draft.post(this.draft.urls.preview, extra);
      if (asked !== this.asked) return;
      this.answer = answer.faults ? { faults: answer.faults } : answer;
      this.lost = false;
    } catch (error) {
      if (asked !== this.asked) return;
      this.lost = true;
      if (error.status === 422) this.answer = { faults: error.problem.errors ?? [] };
    }
    this.draw();
    this.drawPerson();
  }

  // --- bytes ------------------------------------------------------------------------------------
  drawSizes() {
    const place = this.one("#k-sizes");
    if (this.answer?.faults) {
      place.replaceChildren(...this.answer.faults.slice(0, 3).map((one) => make("p", { class: "k-said" }, sentence(one.detail))));
      return;
    }
    if (!this.answer?.sizes) return; // what was there stays until it is known anew
    const { sizes, worst = {} } = this.answer;
    const isOne = this.draft.plan.variants.length === 1 && !Object.keys(this.variant.content?.locales ?? {}).length;
    place.replaceChildren(make("h3", { class: "c-label" }, "Size"), ...Object.entries(sizes).map(([name, size]) => {
      const most = worst[name]?.bytes > size.bytes ? worst[name] : { ...size, of: worst[name]?.of ?? "" };
      const [version, locale = this.draft.data.locale || "en"] = most.of.split(" ");
      const of = isOne || !version ? "" : [locale, version].join(", ");
      const isOver = most.bytes > most.limit;
      return make("p", { class: isOver ? "k-size is-over" : "k-size" }, make("span", {}, LABELS[name] ?? name), make("meter", { min: "0", max: most.limit, value: Math.min(most.bytes, most.limit), "aria-label": `${LABELS[name]}: share of the limit` }),
        make("span", { class: "c-num" }, `${number(most.bytes)} of ${number(most.limit)} bytes${of ? ` (${of})` : ""}`));
    }));
  }

  // --- as whom ----------------------------------------------------------------------------------
  async peopleOf(query) {
    try {
      return (await this.draft.post(this.draft.urls.search, { query })).people;
    } catch { return []; }
  }

  become(person, at = -1) {
    this.person = person;
    this.view.person = person;
    this.at = at;
    this.one("#k-person").value = person?.id ?? "";
    this.close();
    this.typed();
    this.drawPerson();
  }

  async next() {
    if (this.at + 1 >= this.people.length) this.people = await this.peopleOf("");
    if (this.people.length) this.become(this.people[(this.at + 1) % this.people.length], (this.at + 1) % this.people.length);
  }

  drawPerson() {
    const { person } = this;
    const facts = person ? [person.locale && language(person.locale.replaceAll("_", "-")), person.country].filter(Boolean).join(", ") : "Nobody in particular: what is personal shows its stand-in";
    const own = this.ownLanguage();
    const missing = (this.answer?.missing ?? []).map(tags.words);
    const words = [facts, own, missing.length ? `has no ${missing.join(", ")}` : "", this.lost ? "as typed: the server could not be asked" : ""].filter(Boolean).join("; ");
    const place = this.one("#k-person-words");
    if (place.textContent !== words) place.textContent = words;
  }

  // Where the person gets another language than the one that is being written.
  ownLanguage() {
    const name = (this.person?.locale ?? "").replaceAll("_", "-").toLowerCase();
    const known = Object.keys(this.variant.content?.locales ?? {}).filter((one) => `${name}-`.startsWith(`${one.toLowerCase()}-`)).sort((a, b) => b.length - a.length);
    if (!this.person || (known[0] ?? "") === this.view.locale) return "";
    return `will get the ${language(known[0] ?? (this.draft.data.locale || "en"))} text`;
  }

  // --- search -----------------------------------------------------------------------------------
  mountSearch() {
    const field = this.one("#k-person");
    field.addEventListener("input", () => this.find());
    field.addEventListener("focus", () => { field.select(); });
    field.addEventListener("click", () => this.search(true));
    field.addEventListener("blur", () => setTimeout(() => this.close(), 150));
    field.addEventListener("keydown", (event) => this.key(event));
  }

  async search(isFresh = false) {
    const field = this.one("#k-person");
    const found = await this.peopleOf(isFresh ? "" : field.value.trim());
    if (document.activeElement !== field) return;
    this.offered = [null, ...found];
    this.marked = -1;
    this.one("#k-people").replaceChildren(...this.offered.map((one, at) => make("li", { role: "option", id: `k-person-${at}`, "aria-selected": "false", onmousedown: (event) => { event.preventDefault(); this.become(one); } },
      one ? one.id : make("em", {}, "Nobody in particular"), one?.locale ? make("small", {}, one.locale) : null)));
    this.one("#k-people").hidden = false;
    field.setAttribute("aria-expanded", "true");
  }

  key(event) {
    const isOpen = !this.one("#k-people").hidden;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      if (isOpen) this.mark((this.marked + step + this.offered.length) % this.offered.length);
      else this.search(true);
    } else if (event.key === "Enter" && isOpen) {
      event.preventDefault();
      this.become(this.offered[this.marked < 0 ? Math.min(1, this.offered.length - 1) : this.marked]);
    } else if (event.key === "Escape" && isOpen) {
      event.stopPropagation();
      this.close();
    }
  }

  mark(at) {
    this.marked = at;
    [...this.one("#k-people").children].forEach((one, n) => one.setAttribute("aria-selected", String(n === at)));
    this.one("#k-person").setAttribute("aria-activedescendant", `k-person-${at}`);
  }

  close() {
    this.find.stop();
    this.one("#k-people").hidden = true;
    this.one("#k-person").setAttribute("aria-expanded", "false");
    this.one("#k-person").removeAttribute("aria-activedescendant");
  }
}
