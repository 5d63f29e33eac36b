// Whom the draft would reach, asked once for all panels, a moment after the last change that matters to it.
// Events: "asking"; "answer", then `answer` is what campaigns/composer_audience.py says; "lost", then `faults` says why
// and `answer` is the one before. The draft dispatches "estimate" as well, with the answer as its detail.
import { later, newest, refused } from "./parts.js";

const known = new WeakMap();

export const estimate = (draft) => {
  if (!known.has(draft)) known.set(draft, new Estimate(draft));
  return known.get(draft);
};

class Estimate extends EventTarget {
  answer = null;
  faults = [];

  constructor(draft) {
    super();
    this.draft = draft;
    this.asked = "";
    this.fetch = newest(() => draft.post(draft.urls.estimate));
    this.settled = Promise.resolve(); // what else counts the same people waits for it: the server then remembers
    this.soon = later(() => this.begin(), 350);
    draft.addEventListener("change", () => this.look());
    queueMicrotask(() => this.begin());
  }

  // What the answer depends on: texts do not change whom it reaches.
  subject() {
    const { audience, schedule, experiment, safety, variants = [] } = this.draft.plan;
    const arms = variants.map((variant) => [variant.key, variant.share]);
    return JSON.stringify([this.draft.application, this.draft.category, audience, schedule, experiment, safety, arms]);
  }

  look() {
    if (this.subject() === this.asked) return;
    this.dispatchEvent(new Event("asking"));
    this.soon();
  }

  begin() {
    this.settled = this.ask();
  }

  async ask() {
    this.asked = this.subject();
    if (!this.draft.application) {
      this.faults = [{ pointer: "/audience", detail: "choose an app first", level: "note" }];
      this.dispatchEvent(new Event("lost"));
      return;
    }
    try {
      const answer = await this.fetch();
      if (!answer) return;
      this.answer = answer;
      this.faults = answer.faults;
      this.dispatchEvent(new Event("answer"));
      this.draft.dispatchEvent(new CustomEvent("estimate", { detail: answer }));
    } catch (error) {
      this.asked = "";
      this.faults = refused(error, "/audience");
      this.dispatchEvent(new Event("lost"));
    }
  }
}
