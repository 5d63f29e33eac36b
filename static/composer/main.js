// The composer's frame: steps, one section open at a time, what is saved, what stands in the way.
import { resolve } from "./conflict.js";
import { mount as mountContent } from "./content.js";
import { clock, icon, make, number, sentence } from "./dom.js";
import { Draft } from "./draft.js";
import { mount as mountOthers } from "./others.js";
import { mount as mountPreview } from "./preview.js";
import { View } from "./view.js";

const STEPS = { content: ["variants"], audience: ["audience", "experiment"], schedule: ["schedule", "safety"], review: [] };
const OF = { name: "content", category: "content", variants: "content", defaults: "content", missing: "content", audience: "audience", experiment: "audience", schedule: "schedule", safety: "schedule" };
const PANELS = ["audience", "experiment", "schedule", "safety"];
const WAIT = 20_000;

class Composer {
  constructor(root, data) {
    this.root = root;
    this.draft = new Draft(data);
    this.view = new View();
    this.visited = new Set();
    // The frame would look for a text field to write each file's name into, and fail or hit a wrong one.
    for (const input of this.all('input[type="file"]')) input.hasChangeListener = true;
    this.isStrict = false;
    this.content = mountContent(this.one("#k-content"), this.draft, this.view);
    this.preview = mountPreview(this.one("#k-preview"), this.draft, this.view);
    this.mountTop();
    this.mountSteps();
    this.mountSheet();
    this.listen();
    mountOthers(this.one("#k-others"), this.draft);
    this.open("content", false);
    this.drawState();
    this.drawSteps();
    this.offerKept();
    const mounted = PANELS.map((name) => this.mountPanel(name));
    if (!data.id) this.one("#k-title").focus({ preventScroll: true });
    // The checklist leads to a field by its place in the plan.
    if (location.hash.startsWith("#/")) Promise.all(mounted).then(() => this.show({ pointer: decodeURIComponent(location.hash.slice(1)) }));
  }

  one(selector) { return this.root.querySelector(selector); }
  all(selector) { return [...this.root.querySelectorAll(selector)]; }

  async mountPanel(name) {
    const root = this.one(`[data-panel="${name}"]`);
    root.hidden = !root.querySelector(":scope > :not(h3)"); // it has no markup: it is not there
    if (root.hidden) return;
    try {
      const { mount } = await import(`./${name}.js`);
      mount(root, this.draft);
    } catch (error) {
      console.warn(`The panel ${name} is not there:`, error);
    }
  }

  // --- top --------------------------------------------------------------------------------------
  mountTop() {
    const name = this.one("#k-name");
    name.addEventListener("input", () => this.draft.rename(name.value));
    this.one("#k-category").addEventListener("change", (event) => this.draft.classify(event.target.value));
    this.one("#k-app")?.addEventListener("change", (event) => { location.search = `?application=${encodeURIComponent(event.target.value)}`; });
    for (const button of this.all("[data-review]")) button.addEventListener("click", () => this.review());
    // Whoever leaves to test or to look has saved before.
    for (const link of this.all("#k-test, #k-history")) link.addEventListener("click", (event) => { if (this.draft.unsaved.size) { event.preventDefault(); this.leave(link.href); } });
  }

  async leave(url) {
    if (await this.draft.save()) location.assign(url);
  }

  drawState() {
    const { draft } = this;
    const place = this.one("#k-state");
    const words = { new: "Saves as you write", dirty: "Saving …", saving: "Saving …", saved: draft.savedAt ? `Saved ${clock(draft.savedAt)}` : "", unsaved: "Not saved", refused: "Not all is saved", conflict: "Not saved" }[draft.state];
    const symbol = { saved: "cloud_done", dirty: "sync", saving: "sync", new: "edit" }[draft.state] ?? "cloud_off";
    place.dataset.state = draft.state;
    if (place.dataset.words !== words) {
      place.dataset.words = words;
      place.replaceChildren(icon(symbol), make("span", {}, words));
    }
    this.bar("save", this.troubleBar());
  }

  troubleBar() {
    const { draft } = this;
    if (draft.state === "unsaved" || (draft.state === "saving" && this.bars?.save)) {
      return this.note("Not saved, text kept in this browser.", draft.trouble ? sentence(draft.trouble) : "The connection is lost; it is tried again by itself.", ["Retry", () => draft.save()]);
    }
    if (draft.state === "refused") return this.note("Not all is saved.", sentence(draft.trouble || "Something cannot be taken as it is"));
    if (draft.state === "conflict") return this.note(`${draft.trouble}.`, "Yours is kept in this browser.", ["Compare", () => this.compare()]);
    return null;
  }

  note(strong, words, ...deeds) {
    return make("div", { class: "c-note c-warn k-note-bar", role: "alert" }, icon("warning"), make("span", {}, make("strong", {}, strong), ` ${words}`), deeds.map(([said, deed]) => make("button", { type: "button", class: "c-btn", onclick: deed }, said)));
  }

  // One bar for each subject; null takes it away.
  bar(subject, element) {
    this.bars ??= {};
    const words = element?.textContent;
    if (this.bars[subject]?.textContent === words) return;
    this.bars[subject]?.remove();
    delete this.bars[subject];
    if (element) {
      this.bars[subject] = element;
      this.one("#k-bars").append(element);
    }
  }

  offerKept() {
    const left = this.draft.kept.found();
    if (!left) return;
    const done = (deed) => () => { deed(); this.bar("kept", null); };
    this.bar("kept", this.note(`Text from ${clock(left.at)} was not saved.`, "It was kept in this browser.",
      ["Bring it back", done(() => { this.draft.kept.use(left); this.refill(); })], ["Discard", done(() => this.draft.kept.dismiss())]));
  }

  refill() {
    this.one("#k-name").value = this.draft.name;
    this.one("#k-category").value = this.draft.category;
    this.content.draw();
  }

  compare() {
    if (this.theirs) resolve(this.one("#k-conflict"), this.draft, this.theirs);
  }

  // --- steps ------------------------------------------------------------------------------------
  mountSteps() {
    for (const button of this.all("[data-go]")) button.addEventListener("click", () => this.open(button.dataset.go));
    for (const section of this.all(".k-section")) {
      section.querySelector(".k-head button").addEventListener("click", () => this.open(section.dataset.step));
      section.querySelector("[data-next]")?.addEventListener("click", () => this.open(Object.keys(STEPS)[Object.keys(STEPS).indexOf(section.dataset.step) + 1]));
    }
  }

  open(step, isFocused = true) {
    if (this.step) this.visited.add(this.step);
    this.step = step;
    this.root.dataset.step = step;
    for (const section of this.all(".k-section")) {
      const isOpen = section.dataset.step === step;
      section.classList.toggle("is-open", isOpen);
      section.querySelector(".k-body").hidden = !isOpen;
      section.querySelector(".k-head button").setAttribute("aria-expanded", String(isOpen));
      if (isOpen && isFocused) {
        section.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
        section.querySelector(".k-head button").focus({ preventScroll: true });
      }
    }
    for (const button of this.all("[data-go]")) {
      if (button.dataset.go === step) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
    }
    this.drawSteps();
  }

  faultsOf(step) { return this.draft.faults.filter((one) => OF[one.pointer.split("/")[1]] === step); }

  drawSteps() {
    for (const button of this.all("[data-go]")) {
      const step = button.dataset.go;
      const found = step === "review" ? this.draft.faults : this.faultsOf(step);
      const isSeen = this.isStrict || (step !== this.step && this.visited.has(step));
      let state = "open";
      if (step !== "review" && this.draft.id && !found.length && (step === "content" || this.visited.has(step))) state = "done";
      else if (step !== "review" && found.length && isSeen) state = "wrong";
      button.dataset.state = state;
      button.querySelector(".k-mark").textContent = { done: "✓", wrong: "!", open: Object.keys(STEPS).indexOf(step) + 1 }[state];
      button.querySelector("[data-tick]").textContent = { done: ": done", wrong: `: ${found.length} to do`, open: "" }[state];
    }
    for (const section of this.all(".k-section")) this.drawSummary(section);
    this.drawOpen();
  }

  drawSummary(section) {
    const { step } = section.dataset;
    const words = step === "review" ? (this.draft.faults.length ? `${this.draft.faults.length} to do before it can go out` : "") : STEPS[step].map((name) => this.draft.summaries[name]).filter(Boolean).join(" · ");
    section.querySelector("[data-summary]").textContent = words;
  }

  drawOpen() {
    const faults = this.draft.faults;
    const list = faults.map((one) => make("li", {}, icon("error"), make("button", { type: "button", class: "c-link", onclick: () => this.show(one) }, sentence(one.detail))));
    this.one("#k-open").replaceChildren(
      faults.length ? make("p", {}, "Still to do:") : make("p", {}, this.draft.id ? "Everything is filled in. Next you see who gets it, what was checked, and the button that sends." : "Write something first; then it can be reviewed."),
      faults.length ? make("ul", { class: "k-todo" }, list) : "",
      !faults.length && this.draft.id ? make("button", { type: "button", class: "c-btn", onclick: () => this.review() }, "Look at it all") : "");
  }

  show(fault) {
    this.isStrict = this.content.isStrict = true;
    const [, section, number] = fault.pointer.split("/");
    if (section === "variants" && /^\d+$/.test(number ?? "")) this.view.show({ variant: Number(number), locale: "" });
    const step = OF[section] ?? "content";
    this.open(step, false);
    this.content.drawFaults();
    const place = section === "name" ? this.one("#k-name") : this.fieldOf(step, fault.pointer);
    const details = place.closest("details");
    if (details) details.open = true;
    place.scrollIntoView({ block: "center" });
    place.focus({ preventScroll: true });
    this.drawName();
  }

  drawName() {
    const fault = this.isStrict ? this.draft.faults.find((one) => one.pointer === "/name") : null;
    this.one("#k-name").classList.toggle("is-missing", Boolean(fault));
    this.one("#k-name-says").textContent = fault ? sentence(fault.detail) : "";
  }

  fieldOf(step, pointer) {
    const section = this.one(`.k-section[data-step="${step}"]`);
    const own = pointer.replace(/^\/variants\/\d+/, "");
    const place = [...section.querySelectorAll("[data-at]")].filter((one) => one.dataset.at && own.startsWith(one.dataset.at)).sort((a, b) => b.dataset.at.length - a.dataset.at.length)[0];
    const field = document.getElementById(place?.dataset.of ?? "") ?? place?.closest(".c-field, .k-option")?.querySelector("input, textarea, select");
    return field ?? section.querySelector(".k-head button");
  }

  // Always possible: it goes to what is missing first, else on.
  async review() {
    const isSaved = await this.draft.save();
    this.isStrict = this.content.isStrict = true;
    if (!this.draft.id) {
      this.show({ pointer: "/variants/0/content/title", detail: "" });
      this.draft.faults = [{ pointer: "/variants/0/content/title", detail: "write a title or a text" }];
      this.draft.say("faults");
    } else if (this.draft.state === "conflict") this.compare();
    else if (this.draft.faults.length) this.show(this.draft.faults[0]);
    else if (isSaved) location.assign(this.draft.urls.review);
  }

  // --- preview as a sheet on phones -----------------------------------------------------------------
  mountSheet() {
    const aside = this.one("#k-aside");
    const opener = this.one("#k-show-preview");
    this.sheet = (isOpen) => {
      const wasOpen = aside.classList.contains("is-open");
      aside.classList.toggle("is-open", isOpen);
      document.body.classList.toggle("k-has-sheet", isOpen);
      if (isOpen) this.one("#k-hide-preview").focus();
      else if (wasOpen) opener.focus();
    };
    opener.addEventListener("click", () => this.sheet(true));
    this.one("#k-hide-preview").addEventListener("click", () => this.sheet(false));
  }

  // --- events -----------------------------------------------------------------------------------
  listen() {
    const { draft } = this;
    draft.addEventListener("state", () => this.drawState());
    draft.addEventListener("faults", () => { this.drawSteps(); this.drawName(); });
    draft.addEventListener("summary", () => this.all(".k-section").forEach((one) => this.drawSummary(one)));
    draft.addEventListener("estimate", (event) => this.drawReach(event.detail?.reach));
    draft.addEventListener("created", () => this.created());
    draft.addEventListener("conflict", (event) => { this.theirs = event.detail; this.compare(); });
    draft.addEventListener("change", (event) => { if (["name", "category"].includes(event.detail.path)) this.follow(); });
    this.root.addEventListener("undoable", (event) => this.offerUndo(event.detail));
    window.addEventListener("online", () => { if (draft.state === "unsaved") draft.save(); });
    window.addEventListener("beforeunload", (event) => { if (["unsaved", "conflict", "refused"].includes(draft.state)) event.preventDefault(); });
    document.addEventListener("visibilitychange", () => { if (document.hidden) draft.save(); });
    document.addEventListener("keydown", (event) => this.key(event));
  }

  follow() {
    for (const [id, value] of [["#k-name", this.draft.name], ["#k-category", this.draft.category]]) {
      if (this.one(id) !== document.activeElement) this.one(id).value = value;
    }
  }

  key(event) {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s") {
      event.preventDefault();
      this.draft.save();
    } else if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
      event.preventDefault();
      this.review();
    } else if (event.key === "Escape") {
      this.sheet(false);
      if (!this.one("#k-language-form").hidden) this.content.askLanguage(false);
    }
  }

  created() {
    this.one("#k-start")?.remove();
    this.one("#k-app")?.setAttribute("disabled", "");
    for (const [id, url] of [["#k-test", this.draft.urls.test], ["#k-history", this.draft.urls.history]]) {
      this.one(id).href = url ?? "";
      this.one(id).hidden = !url;
    }
  }

  offerUndo({ words, undo }) {
    const bar = make("div", { class: "c-note k-note-bar", role: "status" }, icon("undo"), make("span", {}, words), make("button", { type: "button", class: "c-btn", onclick: () => { undo(); this.bar("undo", null); } }, "Undo"));
    this.bar("undo", null);
    this.bar("undo", bar);
    setTimeout(() => { if (this.bars.undo === bar) this.bar("undo", null); }, WAIT);
  }

  drawReach(reach) {
    if (!reach) return;
    for (const place of this.all("[data-reach-count]")) place.textContent = `${reach.is_estimate ? "≈ " : ""}${number(reach.reachable)}`;
    const noun = reach.reachable === 1 ? "device" : "devices";
    this.one("[data-reach-unit]").textContent = noun;
    this.one("[data-reach-words]").textContent = `${noun}${reach.matched > reach.reachable ? ` of ${number(reach.matched)} that match` : ""}`;
  }
}

const data = document.getElementById("composer-data");
if (data) {
  const composer = new Composer(document.getElementById("composer"), JSON.parse(data.textContent));
  composer.root.dataset.ready = "";
}
