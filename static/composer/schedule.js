// When the campaign goes out. What that means on every clock, and for how long, campaigns/composer_schedule.py says.
import { estimate } from "./estimate.js";
import { DAYS, parsed, weekday, written } from "./rule.js";
import { begins, effect, summary } from "./schedule_words.js";
import { city, later, make, newest, put, refused, say } from "./parts.js";

export const mount = (root, draft) => {
  new Schedule(root, draft).start();
};

const BLANK = { kind: "now", starts: "", time_zone: "", rule: "", is_local: false, window: null, lifetime_hours: null, per_second: null, undo: true };
// A switch with its number: what is chosen when it is switched on.
const SWITCHES = { lifetime: ["lifetime_hours", 24], speed: ["per_second", 500] };
const TICK = 15_000;

class Schedule {
  constructor(root, draft) {
    this.root = root;
    this.draft = draft;
    this.answer = null;
    this.faults = [];
    this.fetch = newest(() => draft.post(draft.urls.moments));
    this.soon = later(() => this.ask(), 350);
    this.asked = "";
  }

  one(selector) { return this.root.querySelector(selector); }
  all(selector) { return [...this.root.querySelectorAll(selector)]; }
  plan() { return { ...BLANK, ...this.draft.get("schedule") }; }
  set(name, value) { this.draft.set(`schedule.${name}`, value); }

  start() {
    this.one("[data-days]").append(...DAYS.map(([day, words]) => make("label", {}, make("input", { type: "checkbox", name: "schedule-day", value: day }), make("span", {}, words))));
    this.root.addEventListener("input", (event) => { this.changed(event.target); this.draw(); });
    this.root.addEventListener("focusout", () => setTimeout(() => this.draw())); // a field left empty shows what holds
    this.one("[data-simplify]").addEventListener("click", () => { this.set("rule", this.usualRule(this.plan().starts)); this.draw(); });
    this.draft.addEventListener("change", () => this.look());
    setInterval(() => this.drawWords(), TICK);
    this.draw();
    this.ask();
  }

  // --- fields ---------------------------------------------------------------------------------------
  changed(field) {
    const isWhole = field.value !== "" && field.checkValidity();
    const number = Number(field.value);
    if (field.name === "schedule-kind") this.become(field.value);
    else if (field.id === "p-starts") this.set("starts", field.value.slice(0, 16));
    else if (field.id === "p-zone") this.set("time_zone", field.value);
    else if (field.id === "p-raw") this.set("rule", field.value.trim().replace(/^RRULE:/, ""));
    else if (field.id === "p-is-local") this.set("is_local", field.checked);
    else if (field.id === "p-window-on") this.set("window", field.checked ? { start: "09:00", end: "20:00" } : null);
    else if (field.id === "p-window-start" && isWhole) this.set("window", { ...this.plan().window, start: field.value });
    else if (field.id === "p-window-end" && isWhole) this.set("window", { ...this.plan().window, end: field.value });
    else if (field.closest(".p-rule")) this.rule();
    for (const [name, [key, usual]] of Object.entries(SWITCHES)) {
      if (field.id === `p-${name}-on`) this.set(key, field.checked ? usual : null);
      else if (field.id === `p-${name}` && isWhole) this.set(key, number);
    }
  }

  become(kind) {
    const { starts, rule } = this.plan();
    this.set("kind", kind);
    if (kind === "now") return;
    const at = starts || tomorrow();
    if (!starts) this.set("starts", at);
    if (kind === "recurring" && !rule) this.set("rule", this.usualRule(at));
  }

  usualRule(starts) { return `FREQ=WEEKLY;BYDAY=${weekday(starts || tomorrow())}`; }

  rule() {
    const ends = this.one("#p-ends").value;
    this.set("rule", written({
      unit: this.one("#p-unit").value,
      every: Math.max(1, Number(this.one("#p-every").value) || 1),
      days: this.all('[name="schedule-day"]:checked').map((box) => box.value),
      monthDay: this.one("#p-month-day").value,
      count: ends === "count" ? Math.max(1, Number(this.one("#p-count").value) || 10) : null,
      until: ends === "until" ? this.one("#p-until").value || this.plan().starts.slice(0, 10) : "",
    }));
  }

  // --- asking ---------------------------------------------------------------------------------------
  subject() {
    const { schedule, audience, experiment, variants = [] } = this.draft.plan;
    return JSON.stringify([this.draft.application, this.draft.category, schedule, audience, experiment, variants.length]);
  }

  look() {
    if (this.subject() === this.asked) return;
    this.draw();
    this.one("[data-moments]").setAttribute("aria-busy", "true");
    this.soon();
  }

  async ask() {
    this.asked = this.subject();
    if (!this.draft.application) return;
    await estimate(this.draft).settled;
    try {
      const answer = await this.fetch();
      if (!answer) return;
      this.answer = answer;
      // Server and browser may disagree about the time: countdowns go by the server's.
      this.skew = new Date(answer.now).getTime() - Date.now();
      this.faults = answer.faults;
    } catch (error) {
      this.asked = "";
      this.faults = refused(error, "/schedule");
    }
    this.one("[data-moments]").setAttribute("aria-busy", "false");
    this.draw();
  }

  // --- drawing --------------------------------------------------------------------------------------
  draw() {
    const plan = this.plan();
    this.one(`[name="schedule-kind"][value="${plan.kind}"]`).checked = true;
    for (const block of this.all("[data-kinds]")) block.hidden = !block.dataset.kinds.split(" ").includes(plan.kind);
    this.one("[data-starts-label]").textContent = plan.kind === "recurring" ? "First run" : "Date and time";
    this.fill("#p-starts", plan.starts);
    this.drawZones(plan);
    this.drawRule(plan);
    this.one("#p-window-on").checked = Boolean(plan.window);
    this.one("[data-window]").hidden = !plan.window;
    this.fill("#p-window-start", plan.window?.start ?? "");
    this.fill("#p-window-end", plan.window?.end ?? "");
    for (const [name, [key]] of Object.entries(SWITCHES)) {
      this.one(`#p-${name}-on`).checked = plan[key] !== null;
      this.one(`[data-${name}]`).hidden = plan[key] === null;
      this.fill(`#p-${name}`, plan[key] ?? "");
    }
    say(this.one(".p-panel"), [...this.faults, ...(this.answer?.notes ?? [])]);
    this.drawWords();
  }

  fill(selector, value) {
    const field = this.one(selector);
    if (field !== document.activeElement && field.value !== String(value)) field.value = value;
  }

  drawZones({ time_zone: chosen }) {
    const own = this.answer?.default_zone ?? "UTC";
    const select = this.one("#p-zone");
    if (select.dataset.of !== own) {
      select.dataset.of = own;
      select.replaceChildren(...zoneOptions(own));
    }
    if (chosen && ![...select.options].some((option) => option.value === chosen)) select.append(make("option", { value: chosen }, chosen));
    if (select !== document.activeElement) select.value = chosen;
  }

  drawRule({ rule, kind }) {
    const simple = parsed(rule || "FREQ=DAILY");
    for (const block of this.all("[data-simple]")) block.hidden = !simple;
    this.one("[data-custom]").hidden = Boolean(simple) || kind !== "recurring";
    this.fill("#p-raw", rule);
    if (!simple) return;
    this.fill("#p-every", simple.every);
    this.one("#p-unit").value = simple.unit;
    this.one("[data-days]").hidden = simple.unit !== "WEEKLY";
    for (const box of this.all('[name="schedule-day"]')) box.checked = simple.days.includes(box.value);
    const month = this.one("#p-month-day");
    month.hidden = simple.unit !== "MONTHLY";
    if (![...month.options].some((option) => option.value === simple.monthDay)) month.append(make("option", { value: simple.monthDay }, `on day ${simple.monthDay}`));
    month.value = simple.monthDay;
    const ends = simple.count ? "count" : simple.until ? "until" : "never";
    this.one("#p-ends").value = ends;
    this.one("#p-count").hidden = ends !== "count";
    this.one("#p-until").hidden = ends !== "until";
    this.fill("#p-count", simple.count ?? "");
    this.fill("#p-until", simple.until);
    this.one("#p-is-local").checked = this.plan().is_local;
  }

  drawWords() {
    const plan = this.plan();
    const now = Date.now() + (this.skew ?? 0);
    if (this.answer) {
      put(this.one("[data-begins]"), begins(plan, this.answer, now));
      put(this.one("[data-effect]"), effect(plan, this.answer));
    }
    const words = summary(plan, this.answer);
    const said = this.one("[data-spoken]");
    if (said.textContent !== words) said.textContent = words;
    this.draft.summary("schedule", words);
  }
}

const tomorrow = () => {
  const day = new Date(Date.now() + 86_400_000);
  return `${day.getFullYear()}-${String(day.getMonth() + 1).padStart(2, "0")}-${String(day.getDate()).padStart(2, "0")}T09:00`;
};

const zoneOptions = (own) => {
  const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const first = [make("option", { value: "" }, `${city(own)} (the app’s)`)];
  if (here && here !== own) first.push(make("option", { value: here }, `${city(here)} (yours)`));
  if (own !== "UTC" && here !== "UTC") first.push(make("option", { value: "UTC" }, "UTC"));
  const regions = new Map();
  for (const zone of Intl.supportedValuesOf?.("timeZone") ?? []) {
    const region = zone.split("/")[0];
    regions.set(region, [...(regions.get(region) ?? []), zone]);
  }
  return [...first, ...[...regions].map(([region, zones]) =>
    make("optgroup", { label: region }, zones.map((zone) => make("option", { value: zone }, zone.slice(region.length + 1).replaceAll("_", " ") || zone))))];
};
