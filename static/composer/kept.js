// What is not saved yet, in this browser, by campaign: a lost connection, a closed lid or a crash costs no text.
import { same } from "./dom.js";

export class Kept {
  constructor(draft) {
    this.draft = draft;
    // A new tab's first words must not be written over what an earlier one has left.
    const left = this.read(this.key);
    if (left) {
      this.store(`${this.key}:found`, left);
      this.store(this.key, null);
    }
    this.foundKey = `${this.key}:found`;
  }

  get key() { return `carillon:draft:${this.draft.id ?? `new:${this.draft.application}`}`; }

  write() {
    const { draft } = this;
    const fields = Object.fromEntries([...draft.unsaved].map((field) => [field, draft.value(field)]));
    this.store(this.key, Object.keys(fields).length ? { version: draft.version, key: draft.id ? "" : draft.key, at: new Date().toISOString(), fields } : null);
  }

  forget() { this.store(this.key, null); }

  // What an earlier visit has left and the server does not have, or null.
  found() {
    const left = this.read(this.foundKey);
    if (!left?.fields) return null;
    const news = Object.entries(left.fields).filter(([field, value]) => !same(value, this.draft.value(field)));
    if (!news.length) {
      this.dismiss();
      return null;
    }
    return { ...left, fields: Object.fromEntries(news) };
  }

  dismiss() { this.store(this.foundKey, null); }

  // It is saved as an edit of the version it was written on: if that has changed since, the two are compared.
  use(left) {
    const { draft } = this;
    if (draft.id) draft.version = Math.min(left.version || draft.version, draft.version);
    else if (left.key) draft.key = left.key; // it may be stored, and only its answer lost
    for (const [field, value] of Object.entries(left.fields)) draft.put(field, value);
    this.dismiss();
    draft.touch(Object.keys(left.fields));
    for (const field of Object.keys(left.fields)) draft.say("change", { path: field });
  }

  // Private windows and full disks may refuse; then there is no safety net, and nothing else changes.
  read(key) {
    try { return JSON.parse(localStorage.getItem(key)); } catch { return null; }
  }
  store(key, value) {
    try {
      if (value === null) localStorage.removeItem(key);
      else localStorage.setItem(key, JSON.stringify(value));
    } catch { /* see above */ }
  }
}
