// Comparing variants: who gets which, who gets nothing, what counts, and who decides. One variant: only an invitation.
import { estimate } from "./estimate.js";
import { make, number, percent, say, things } from "./parts.js";

export const mount = (root, draft) => {
  new Experiment(root, draft).start();
};

const VERBS = { opened: "open", clicked: "click", converted: "do it" };
const BLANK = { holdout: 0, test: 100, metric: "opened", goal: "", hours: 24, decide: "hand", fallback: "best" };
const KEYS = "ABCDE";

class Experiment {
  constructor(root, draft) {
    this.root = root;
    this.draft = draft;
    this.estimate = estimate(draft);
  }

  one(selector) { return this.root.querySelector(selector); }
  all(selector) { return [...this.root.querySelectorAll(selector)]; }
  plan() { return { ...BLANK, ...this.draft.get("experiment") }; }
  variants() { return this.draft.get("variants") ?? []; }

  start() {
    this.root.addEventListener("input", (event) => this.changed(event.target));
    this.one("[data-equal]").addEventListener("click", () => this.share(shares(this.variants().map(() => 1))));
    this.one("[data-add-variant]").addEventListener("click", () => this.addVariant());
    this.one("#p-goal").addEventListener("focus", () => this.offerGoals(), { once: true });
    this.draft.addEventListener("change", (event) => {
      const path = event.detail?.path ?? "";
      if (!path || /^(experiment|variants|schedule)/.test(path)) this.draw();
    });
    for (const name of ["answer", "lost"]) this.estimate.addEventListener(name, () => this.draw());
    this.draw();
  }

  changed(field) {
    const set = (name, value) => this.draft.set(`experiment.${name}`, value);
    if (field.dataset.share) this.share(moved(this.shares(), KEYS.indexOf(field.dataset.share), Number(field.value)));
    else if (field.id === "p-test") set("test", Number(field.value));
    else if (field.id === "p-holdout") set("holdout", Number(field.value));
    else if (field.id === "p-goal") set("goal", field.value.trim());
    else if (field.id === "p-hours") { if (field.value && field.checkValidity()) set("hours", Number(field.value)); }
    else if (field.id === "p-fallback") set("fallback", field.value);
    else if (field.name === "experiment-metric") set("metric", field.value);
    else if (field.name === "experiment-decide") set("decide", field.value);
  }

  shares() { return shares(this.variants().map((variant) => variant.share ?? 1)); }

  share(values) {
    this.draft.set("variants", this.variants().map((variant, at) => ({ ...variant, share: values[at] })));
    this.draw();
  }

  // The same words once more, to change.
  addVariant() {
    const all = this.variants();
    const copy = { ...structuredClone(all[0]), key: KEYS[all.length] };
    const values = shares([...all, copy].map(() => 1));
    this.draft.set("variants", [...all, copy].map((variant, at) => ({ ...variant, share: values[at] })));
  }

  async offerGoals() {
    try {
      const { suggestions } = await this.draft.post(this.draft.urls.segments, { builder: true });
      this.one("#p-goals").replaceChildren(...suggestions.events.map((value) => make("option", { value })));
    } catch { /* the field works without */ }
  }

  // --- drawing --------------------------------------------------------------------------------------
  draw() {
    const plan = this.plan();
    const isCompared = this.variants().length > 1;
    const isJudged = isCompared || plan.holdout > 0;
    const hasRest = isCompared && plan.test < 100;
    for (const [name, isShown] of [["invitation", !isCompared], ["compared", isCompared], ["judged", isJudged], ["decided", hasRest], ["holdout", true]]) {
      this.one(`[data-${name}]`).hidden = !isShown;
    }
    this.drawShares();
    this.fill("#p-test", plan.test);
    this.fill("#p-holdout", plan.holdout);
    this.fill("#p-goal", plan.goal);
    this.fill("#p-hours", plan.hours);
    this.fill("#p-fallback", plan.fallback);
    for (const [name, value] of [["metric", plan.metric], ["decide", plan.decide]]) this.one(`[name="experiment-${name}"][value="${value}"]`).checked = true;
    this.one("[data-goal]").hidden = plan.metric !== "converted";
    this.one("[data-fallback]").hidden = plan.decide !== "rule";
    this.drawWords(plan);
    say(this.one(".p-panel"), this.estimate.faults);
    this.summarise(plan, isCompared);
  }

  fill(selector, value) {
    const field = this.one(selector);
    if (field !== document.activeElement || field.type === "range") field.value = value;
  }

  drawShares() {
    const variants = this.variants();
    const values = this.shares();
    const place = this.one("[data-shares]");
    if (place.children.length !== variants.length) {
      place.replaceChildren(...variants.map(({ key }) => make("div", { class: "p-share" },
        make("label", { for: `p-share-${key}`, class: "p-key" }, key),
        make("input", { type: "range", id: `p-share-${key}`, class: "p-range", min: 1, max: 101 - variants.length, "data-share": key, "aria-label": `Share of version ${key}, in per cent` }),
        make("output", { class: "c-num", for: `p-share-${key}` }))));
    }
    const arms = this.estimate.answer?.experiment?.arms ?? [];
    [...place.children].forEach((row, at) => {
      row.querySelector("input").value = values[at];
      const devices = arms.length === variants.length ? ` · ${number(arms[at].devices)}` : "";
      row.querySelector("output").textContent = `${values[at]}%${devices}`;
    });
    this.one("[data-bar]").replaceChildren(...values.map((value, at) => {
      const part = make("i", { class: `p-arm-${at}` }, variants[at].key);
      part.style.flexGrow = value;
      return part;
    }));
  }

  drawWords(plan) {
    const found = this.estimate.answer?.experiment;
    const of = (count) => (found ? ` (${things(count, "device")})` : "");
    this.one("[data-test-words]").textContent = `${plan.test}%`;
    this.one("[data-holdout-words]").textContent = `${plan.holdout}%`;
    this.one("[data-rest]").textContent = plan.test < 100
      ? `The other ${100 - plan.test}%${of(found?.rest)} wait, and get the version that wins.`
      : "Everybody gets one of the versions at once; nobody waits for a winner.";
    this.one("[data-holdout-help]").textContent = plan.holdout
      ? `${plan.holdout}%${of(found?.holdout)} get nothing, by lot, so that you see what the message as such brings about.`
      : "Nobody is left out. With some left out you see what the message as such brings about.";
    const power = this.one("[data-power]");
    const isKnown = found && this.variants().length > 1;
    power.hidden = !isKnown;
    if (isKnown) power.replaceChildren(...powerWords(found, plan.metric));
  }

  summarise(plan, isCompared) {
    const parts = [];
    if (isCompared) parts.push(`${this.variants().map((variant, at) => `${variant.key} ${this.shares()[at]}%`).join(", ")}${plan.test < 100 ? ` among ${plan.test}%` : ""}`);
    if (plan.holdout) parts.push(`${plan.holdout}% left out`);
    this.draft.summary("experiment", parts.join(", ") || "One version for all");
  }
}

const powerWords = ({ smallest, lift, needed, usual, wanted_lift: wanted }, metric) => {
  const base = `where ${percent(usual)} usually ${VERBS[metric]}`;
  const can = lift === null
    ? ["With ", strong(things(smallest, "device")), ` per version no difference can be told from chance, ${base}.`]
    : ["With ", strong(things(smallest, "device")), " per version you can detect ", strong(`+${Math.ceil(lift * 100 - 1e-6)}% or more`), `, ${base}.`];
  return lift !== null && lift <= wanted ? can : [...can, ` For +${Math.round(wanted * 100)}% it takes ${number(needed)} per version: compare among more people, or fewer versions.`];
};
const strong = (words) => make("strong", { class: "c-num" }, words);

// Weights as per cent that add up to 100, none below 1.
const shares = (weights) => {
  const total = weights.reduce((sum, one) => sum + one, 0) || 1;
  const values = weights.map((one) => Math.max(1, Math.floor((one * 100) / total)));
  for (let at = 0, left = 100 - values.reduce((sum, one) => sum + one, 0); left !== 0; at = (at + 1) % values.length) {
    if (left < 0 && values[at] === 1) continue;
    values[at] += Math.sign(left);
    left -= Math.sign(left);
  }
  return values;
};

// One is set; the others keep their proportions within what is left.
const moved = (values, at, value) => {
  if (values.length < 2) return [100];
  const set = Math.min(Math.max(1, value), 101 - values.length);
  const others = values.map((one, each) => (each === at ? 0 : one));
  const total = others.reduce((sum, one) => sum + one, 0) || 1;
  const found = others.map((one, each) => (each === at ? set : Math.max(1, Math.floor((one * (100 - set)) / total))));
  for (let each = 0, left = 100 - found.reduce((sum, one) => sum + one, 0); left !== 0; each = (each + 1) % found.length) {
    if (each === at || (left < 0 && found[each] === 1)) continue;
    found[each] += Math.sign(left);
    left -= Math.sign(left);
  }
  return found;
};
