// The draft that all panels share: read with `get`, change with `set`; it saves itself.
// Events: "change" {path}, "faults", "summary" {section}, "state", "conflict" (theirs as detail), "created".
import { copied, later, nonce, same } from "./dom.js";
import { Kept } from "./kept.js";

export const SECTIONS = ["variants", "defaults", "missing", "audience", "schedule", "experiment", "safety"];
const OWN = ["name", "category"];
const PAUSE = 800; // milliseconds without a change before it is saved
const RETRY = 10_000;

export class Refused extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? problem?.title ?? "The server could not be reached.");
    this.status = status;
    this.problem = problem ?? { detail: this.message };
  }
}

export class Draft extends EventTarget {
  constructor(data) {
    super();
    this.data = data;
    this.id = data.id;
    this.key = data.id ? "" : nonce(); // of the first save: sent again, it makes no second draft
    this.version = data.version;
    this.application = data.application;
    this.urls = data.urls;
    this.faults = data.faults ?? [];
    this.savedAt = data.saved_at;
    this.plan = copied(data.plan);
    this.name = data.name;
    this.category = data.category;
    this.base = this.snapshot(); // as the server has it
    this.summaries = {};
    this.dirty = new Set();
    this.sending = new Set();
    this.held = new Set(); // refused; not sent again until changed
    this.state = data.id ? "saved" : "new";
    this.trouble = ""; // the words of what went wrong
    this.kept = new Kept(this);
    this.soon = later(() => this.save(), PAUSE);
    this.again = later(() => this.save(), RETRY);
  }

  // --- reading and writing ----------------------------------------------------------------------
  get(path) {
    return copied(path.split(".").reduce((place, key) => place?.[key], this.plan));
  }

  // undefined takes the value away.
  set(path, value) {
    const keys = path.split(".");
    const last = keys.pop();
    let place = this.plan;
    for (const key of keys) place = place[key] ??= {};
    if (value === undefined) delete place[last];
    else place[last] = copied(value);
    this.touch([keys[0] ?? last]);
    this.say("change", { path });
  }

  rename(name) { this.name = name; this.touch(["name"]); this.say("change", { path: "name" }); }
  classify(category) { this.category = category; this.touch(["category"]); this.say("change", { path: "category" }); }

  touch(sections) {
    for (const section of sections) {
      this.dirty.add(section);
      this.held.delete(section);
    }
    this.kept.write();
    if (!["saving", "unsaved", "conflict"].includes(this.state)) this.become("dirty");
    this.soon();
  }

  value(field) { return OWN.includes(field) ? this[field] : this.plan[field]; }
  put(field, value) {
    if (OWN.includes(field)) this[field] = value;
    else this.plan[field] = copied(value);
  }
  snapshot() { return { name: this.name, category: this.category, ...copied(this.plan) }; }
  get unsaved() { return new Set([...this.dirty, ...this.sending]); }

  summary(section, text) {
    this.summaries[section] = text;
    this.say("summary", { section });
  }

  say(event, detail) { this.dispatchEvent(new CustomEvent(event, { detail })); }
  become(state, trouble = "") {
    this.state = state;
    this.trouble = trouble;
    this.say("state");
  }

  // --- saving -----------------------------------------------------------------------------------
  // One request at a time. Resolves to whether everything is stored.
  async save() {
    this.soon.stop();
    this.again.stop();
    if (this.state === "conflict") return false;
    if (this.running) { await this.running; return this.dirty.size ? this.save() : this.state === "saved"; }
    const fields = [...this.dirty].filter((field) => !this.held.has(field));
    if (!fields.length) return this.dirty.size === 0;
    this.running = this.deliver(fields);
    const isStored = await this.running;
    this.running = null;
    if (isStored && [...this.dirty].some((field) => !this.held.has(field))) this.soon();
    return isStored && this.dirty.size === 0;
  }

  async deliver(fields) {
    this.sending = new Set(fields);
    this.dirty = new Set([...this.dirty].filter((field) => !this.sending.has(field)));
    this.become("saving");
    const body = Object.fromEntries(fields.map((field) => [field, this.value(field)]));
    try {
      const answer = await (this.id ? this.send(this.urls.save, { version: this.version, ...body }) : this.create(body));
      this.sending = new Set();
      if (answer.is_known) this.missed(answer, body);
      this.stored(answer);
      return true;
    } catch (error) {
      for (const field of this.sending) this.dirty.add(field);
      this.sending = new Set();
      this.failed(error, fields);
      return false;
    } finally {
      this.kept.write();
    }
  }

  async create(body) {
    const answer = await this.send(this.urls.create, { key: this.key, application: this.application, category: this.category, ...body });
    this.kept.forget();
    this.id = answer.id;
    this.urls = { ...this.urls, ...answer.urls };
    history.replaceState(null, "", answer.url);
    this.say("created");
    return answer;
  }

  // The draft was made by an earlier try, whose answer got lost: what was written since is still to be saved.
  missed(answer, body) {
    for (const [field, value] of Object.entries(body)) {
      if (!same(value, OWN.includes(field) ? answer[field] : answer.plan[field])) this.dirty.add(field);
    }
    if (answer.by) throw new Refused(409, { ...answer, stale: true });
  }

  stored(answer) {
    this.version = answer.version;
    this.base = { name: answer.name, category: answer.category, ...answer.plan };
    this.savedAt = answer.saved_at;
    this.faults = answer.faults;
    this.become(this.dirty.size ? "dirty" : "saved");
    this.say("faults");
  }

  failed(error, fields) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 409 && error.problem.stale) {
      this.become("conflict", `${error.problem.by || "Somebody"} changed this draft meanwhile`);
      this.say("conflict", error.problem);
    } else if (error.status === 422) {
      this.refuse(error.problem.errors ?? [], fields);
    } else if ([401, 403, 409].includes(error.status)) {
      this.become("unsaved", error.message);
    } else {
      this.become("unsaved", "");
      this.again();
    }
  }

  // What is wrong in one section keeps no other from being saved.
  refuse(errors, fields) {
    const wrong = errors.map((one) => one.pointer.split("/")[1]).filter((field) => fields.includes(field));
    for (const field of wrong.length ? wrong : fields) this.held.add(field);
    this.faults = [...this.faults.filter((one) => !errors.some((each) => each.pointer === one.pointer)), ...errors];
    this.become("refused", errors[0]?.detail ?? "");
    this.say("faults");
    if ([...this.dirty].some((field) => !this.held.has(field))) this.soon();
  }

  // --- asking -----------------------------------------------------------------------------------
  // Of the draft as it stands on the page. Throws Refused {status, problem}; status 0: no connection.
  post(url, extra = {}) {
    return this.send(url, { application: this.application, category: this.category, plan: this.plan, ...extra });
  }

  send(url, body) {
    return request(url, { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
  }

  upload(url, form) { return request(url, { body: form, headers: {} }); }

  // --- two people -------------------------------------------------------------------------------
  differing(theirs) {
    const other = { name: theirs.name, category: theirs.category, ...theirs.plan };
    return [...OWN, ...SECTIONS]
      .filter((field) => !same(this.value(field), other[field]))
      .map((field) => ({ field, mine: this.value(field), theirs: other[field], isMine: this.unsaved.has(field) }));
  }

  // chosen: field → "mine" or "theirs".
  settle(theirs, chosen) {
    this.version = theirs.version;
    this.base = { name: theirs.name, category: theirs.category, ...theirs.plan };
    for (const [field, whose] of Object.entries(chosen)) {
      this.dirty.delete(field);
      if (whose === "theirs") this.put(field, this.base[field]);
      else this.dirty.add(field);
    }
    for (const field of [...this.dirty]) if (same(this.value(field), this.base[field])) this.dirty.delete(field);
    this.faults = theirs.faults;
    this.become(this.dirty.size ? "dirty" : "saved");
    this.kept.write();
    for (const field of Object.keys(chosen)) this.say("change", { path: field });
    this.say("faults");
    return this.save();
  }
}

const csrf = () => document.querySelector('[name="csrfmiddlewaretoken"]')?.value ?? "";

const request = async (url, { body, headers }) => {
  let answer;
  try {
    // What is sent while the page is being left still arrives; browsers allow that up to 64 kB.
    const keepalive = document.hidden && typeof body === "string" && body.length < 20_000;
    answer = await fetch(url, { method: "POST", body, keepalive, headers: { ...headers, Accept: "application/json", "X-CSRFToken": csrf() } });
  } catch {
    throw new Refused(0);
  }
  if (answer.redirected) throw new Refused(401, { detail: "You are signed out. Sign in again in another tab, then retry" });
  const json = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, json ?? { detail: answer.status === 403 ? "You may not change this, or you have signed in anew: reload the page" : "The server could not answer" });
  return json;
};
