// How much is risked at once: a few devices first, a limit at which it stops, a minute to take it back. And what happens.
import { estimate } from "./estimate.js";
import { make, number, say, things } from "./parts.js";

export const mount = (root, draft) => {
  new Safety(root, draft).start();
};

const USUAL_CANARY = 1000;
const USUAL_STOP = 10;

class Safety {
  constructor(root, draft) {
    this.root = root;
    this.draft = draft;
    this.estimate = estimate(draft);
  }

  one(selector) { return this.root.querySelector(selector); }
  plan() { return { canary: null, stop_percent: USUAL_STOP, ...this.draft.get("safety") }; }
  schedule() { return { kind: "now", undo: true, ...this.draft.get("schedule") }; }

  start() {
    this.root.addEventListener("input", (event) => this.changed(event.target));
    this.root.addEventListener("focusout", () => setTimeout(() => this.draw())); // a field left empty shows what holds
    this.draft.addEventListener("change", (event) => {
      if (/^(safety|schedule|experiment|variants|$)/.test(event.detail?.path ?? "")) this.draw();
    });
    for (const name of ["answer", "lost"]) this.estimate.addEventListener(name, () => this.draw());
    this.draw();
  }

  changed(field) {
    const kept = field.value && field.checkValidity();
    if (field.id === "p-canary-on") this.draft.set("safety.canary", field.checked ? USUAL_CANARY : null);
    else if (field.id === "p-stop-on") this.draft.set("safety.stop_percent", field.checked ? USUAL_STOP : null);
    else if (field.id === "p-undo") this.draft.set("schedule.undo", field.checked);
    else if (field.id === "p-canary" && kept) this.draft.set("safety.canary", Number(field.value));
    else if (field.id === "p-stop" && kept) this.draft.set("safety.stop_percent", Number(field.value));
    this.draw();
  }

  draw() {
    const { canary, stop_percent: stop } = this.plan();
    const { kind, undo } = this.schedule();
    this.set("canary", canary);
    this.set("stop", stop);
    this.one("[data-undo]").hidden = kind !== "now";
    this.one("#p-undo").checked = undo;
    this.one("[data-steps]").replaceChildren(...this.steps(canary, stop, kind, undo).map((words) => make("li", {}, words)));
    const reachable = this.estimate.answer?.reach?.reachable ?? 0;
    const isMost = canary && reachable && canary > reachable / 2;
    const most = { pointer: "/safety/canary", level: "warn", detail: `that is most of the ${things(reachable, "device")} reached, so all go at once: choose fewer` };
    say(this.one(".p-panel"), [...this.estimate.faults, ...(isMost ? [most] : [])]);
    this.summarise(canary, stop, kind, undo);
  }

  set(name, value) {
    this.one(`#p-${name}-on`).checked = value !== null;
    this.one(`[data-${name}]`).hidden = value === null;
    const field = this.one(`#p-${name}`);
    if (field !== document.activeElement) field.value = value ?? "";
  }

  steps(canary, stop, kind, undo) {
    const reach = this.estimate.answer?.reach;
    const found = this.estimate.answer?.steps ?? [];
    return [
      kind === "now" && undo ? "You press “Send”. For 60 seconds nothing leaves, and “Undo send” takes it all back." : "",
      ...(found.length || !reach ? found : [`All ${reach.is_estimate ? "about " : ""}${things(reach.reachable, "device")} get it, as fast as the schedule says.`]),
      stop ? `If more than ${number(stop)}% of those tried are refused, it pauses by itself: the others have got nothing yet, and you decide.`
        : "However many are refused, it goes on until somebody pauses it.",
    ].filter(Boolean);
  }

  summarise(canary, stop, kind, undo) {
    const parts = [canary ? `First ${things(canary, "device")}` : "All at once", stop ? `stops above ${stop}% refused` : "does not stop by itself"];
    if (kind === "now") parts.push(undo ? "a minute to undo" : "no undo");
    this.draft.summary("safety", parts.join(", "));
  }
}
