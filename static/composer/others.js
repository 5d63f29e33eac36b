// Who else has the draft open: asked, and told of oneself, every few seconds while the page is seen. No answer: nobody.
import { clock } from "./dom.js";
import { listed } from "./parts.js";

export const mount = (place, draft) => new Others(place, draft).start();

class Others {
  constructor(place, draft) {
    Object.assign(this, { place, draft, title: document.title });
  }

  start() {
    document.addEventListener("visibilitychange", () => this.beat());
    this.draft.addEventListener("created", () => this.beat());
    this.beat();
  }

  async beat() {
    clearTimeout(this.waiting);
    if (!this.draft.id || document.hidden || this.isOver) return;
    let others = [];
    try {
      const answer = await this.draft.send(this.draft.urls.presence, {});
      this.isOver = !answer.is_draft;
      others = answer.others;
    } catch (error) {
      this.isOver = [401, 403, 404].includes(error.status);
    }
    this.show(others);
    clearTimeout(this.waiting);
    if (!this.isOver) this.waiting = setTimeout(() => this.beat(), this.draft.data.beat_seconds * 1000);
  }

  // What has not changed is not read out again.
  show(others) {
    const words = said(others);
    if (this.place.textContent === words) return;
    this.place.textContent = words;
    document.title = others.length ? `${listed(others.map((one) => one.name))} too · ${this.title}` : this.title;
  }
}

const said = (others) => {
  if (!others.length) return "";
  if (others.length === 1) return `${others[0].name} has this open too, since ${clock(others[0].since)}`;
  return `${listed(others.map((one) => `${one.name} (since ${clock(one.since)})`))} have this open too`;
};
