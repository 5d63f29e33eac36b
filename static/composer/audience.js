// Whom the campaign is for: segments to include and to leave out, platforms, and the sum that says how many that is.
import { estimate } from "./estimate.js";
import { Picker } from "./picker.js";
import { newList, newSegment } from "./segment_sheets.js";
import { icon, iconButton, later, listed, make, number, percent, put, refused, say, things, utc } from "./parts.js";

export const mount = (root, draft) => {
  new Audience(root, draft).start();
};

const PLATFORMS = { ios: "iPhone and iPad", android: "Android", web: "Browser", macos: "Mac" };
const SIDES = { segments: "Choose a segment to include", not_segments: "Choose a segment to leave out" };

class Audience {
  constructor(root, draft) {
    this.root = root;
    this.draft = draft;
    this.segments = new Map(); // slug → row, as far as they have been seen
    this.pickers = {};
    this.isListing = false; // "People in segments" is chosen, though none is yet
    this.estimate = estimate(draft);
    this.tellReach = later((reach) => this.readOut(reach), 1500);
  }

  one(selector) { return this.root.querySelector(selector); }
  all(selector) { return [...this.root.querySelectorAll(selector)]; }

  start() {
    for (const [side, label] of Object.entries(SIDES)) {
      this.pickers[side] = new Picker(this.one(`[data-picker="${side}"]`), {
        label, placeholder: "Search segments", find: (query) => this.offered(side, query), chosen: ({ value }) => this.add(side, value),
      });
    }
    this.isListing = this.audience().segments.length > 0;
    this.root.addEventListener("change", (event) => this.changed(event.target));
    const use = (row) => this.use(row);
    this.one('[data-new="rules"]').addEventListener("click", () => newSegment(this.one("#p-new-segment"), this.draft, use));
    this.one('[data-new="list"]').addEventListener("click", () => newList(this.one("#p-new-list"), this.draft, use));
    // unfold would write the file's name into the first text field it finds nearby.
    this.one("#p-list-file").addEventListener("change", (event) => event.stopImmediatePropagation(), true);
    this.one("[data-people]").addEventListener("toggle", () => this.showPeople());
    this.draft.addEventListener("change", (event) => this.follow(event.detail?.path ?? ""));
    this.estimate.addEventListener("asking", () => this.one("[data-reach]").setAttribute("aria-busy", "true"));
    this.estimate.addEventListener("answer", () => this.showReach());
    this.estimate.addEventListener("lost", () => this.showReach());
    this.known().then(() => this.draw());
    this.draw();
  }

  audience() {
    return { segments: [], not_segments: [], platforms: [], attribute: null, ...this.draft.get("audience") };
  }

  // --- segments -----------------------------------------------------------------------------------
  async ask(extra) {
    const answer = await this.draft.post(this.draft.urls.segments, extra);
    for (const row of [...(answer.segments ?? []), ...(answer.named ?? [])]) {
      // What was counted for one by rules stays known.
      this.segments.set(row.slug, { ...row, size: row.size ?? this.segments.get(row.slug)?.size ?? null });
    }
    if ("may_add" in answer) this.one("[data-may-add]").hidden = !answer.may_add;
    return answer;
  }

  async known() {
    if (!this.draft.application) return;
    const { segments, not_segments } = this.audience();
    const named = [...segments, ...not_segments];
    try {
      await this.ask({ named });
      await this.measure(named);
    } catch { /* the estimate says that the server cannot be asked */ }
  }

  // Those by rules have no size of their own until they are counted.
  async measure(slugs) {
    const unknown = slugs.filter((slug) => this.segments.get(slug)?.size === null).slice(0, 10);
    if (!unknown.length) return;
    const { sizes } = await this.ask({ sizes_of: unknown });
    for (const [slug, size] of Object.entries(sizes)) if (size !== null) Object.assign(this.segments.get(slug) ?? {}, { size });
  }

  async offered(side, query) {
    let rows;
    try {
      rows = (await this.ask({ query })).segments;
    } catch {
      rows = [...this.segments.values()];
    }
    const taken = new Set(this.audience()[side]);
    const free = rows.filter((row) => !taken.has(row.slug));
    return free.map((row) => ({ value: row.slug, words: row.name, detail: this.size(row.slug) }));
  }

  size(slug) {
    const row = this.segments.get(slug);
    if (row?.size === null || row?.size === undefined) return row?.kind === "list" ? "list" : "by rules";
    return `${number(row.size)} ${row.size === 1 ? "person" : "people"}`;
  }

  add(side, slug) {
    const now = this.audience()[side];
    if (!now.includes(slug)) this.draft.set(`audience.${side}`, [...now, slug]);
    this.draw();
    this.measure([slug]).then(() => this.draw(), () => {});
  }

  remove(side, slug) {
    this.draft.set(`audience.${side}`, this.audience()[side].filter((each) => each !== slug));
    this.draw();
    this.one(`[data-picker="${side}"] input`).focus();
  }

  use(row) {
    this.segments.set(row.slug, row);
    this.isListing = true;
    this.add("segments", row.slug);
  }

  // --- fields ---------------------------------------------------------------------------------------
  changed(field) {
    if (field.name === "audience-who") {
      this.isListing = field.value === "segments";
      // What was chosen comes back with a second thought.
      if (this.isListing) { if (this.kept?.length) this.draft.set("audience.segments", this.kept); }
      else {
        this.kept = this.audience().segments;
        if (this.kept.length) this.draft.set("audience.segments", []);
      }
      this.draw();
      // Not from under the arrow keys that go through the choices.
      if (this.isListing && !this.audience().segments.length && !field.matches(":focus-visible")) this.pickers.segments.start();
    }
    if (field.name === "audience-platform") {
      const chosen = this.all('[name="audience-platform"]:checked').map((box) => box.value);
      // All of them is no narrowing: platforms to come belong to it too.
      this.draft.set("audience.platforms", chosen.length === Object.keys(PLATFORMS).length ? [] : chosen);
      this.draw();
    }
  }

  follow(path) {
    if (path === "application") {
      this.segments.clear();
      this.known().then(() => this.draw());
    }
    if (!path || path.startsWith("audience") || path === "application") {
      if (this.audience().segments.length) this.isListing = true;
      this.draw();
    }
  }

  // --- drawing --------------------------------------------------------------------------------------
  draw() {
    const audience = this.audience();
    this.one(`[name="audience-who"][value="${this.isListing ? "segments" : "everyone"}"]`).checked = true;
    this.one("#p-include").hidden = !this.isListing;
    for (const side of Object.keys(SIDES)) this.one(`[data-chosen="${side}"]`).replaceChildren(...audience[side].map((slug, at) => this.chip(side, slug, at)));
    for (const box of this.all('[name="audience-platform"]')) box.checked = !audience.platforms.length || audience.platforms.includes(box.value);
    this.one("[data-platforms-words]").textContent = audience.platforms.length
      ? `Only on ${listed(audience.platforms.map((name) => PLATFORMS[name]))}.` : "On all of them, also those that join later.";
    this.drawAttribute(audience.attribute);
    this.tell();
    this.summarise();
  }

  chip(side, slug, at) {
    const row = this.segments.get(slug);
    const isGone = this.estimate.faults.some((fault) => fault.pointer === `/audience/${side}/${at}`);
    const name = row?.name ?? slug;
    return make("li", { class: `p-chip${isGone ? " is-gone" : ""}` }, isGone ? icon("error") : null,
      make("span", { class: "c-break" }, name, " ", make("small", { class: "c-num" }, isGone ? "deleted" : this.size(slug))),
      iconButton(`Remove ${name}`, "close", () => this.remove(side, slug)));
  }

  // Of plans from before there were segments.
  drawAttribute(attribute) {
    const block = this.one("#p-attribute");
    block.hidden = !attribute;
    if (!attribute) return block.replaceChildren();
    const drop = () => { this.draft.set("audience.attribute", null); this.draw(); };
    return block.replaceChildren(make("h3", { class: "c-label" }, "And only those"), make("ul", { class: "p-chosen" },
      make("li", { class: "p-chip" }, make("span", { class: "c-break" }, `whose ${attribute.name} is “${attribute.value}”`), iconButton("Remove this condition", "close", drop))));
  }

  tell() {
    const isOpen = this.isListing && !this.audience().segments.length;
    const open = { pointer: "/audience/segments", detail: "No segment is chosen: as it stands, it goes to everyone", level: "warn" };
    say(this.one(".p-panel"), [...this.estimate.faults, ...(isOpen ? [open] : [])]);
  }

  summarise() {
    const { segments, not_segments, platforms } = this.audience();
    const name = (slug) => this.segments.get(slug)?.name ?? slug;
    const who = segments.length ? listed(segments.map(name), "or") : "Everyone";
    const without = not_segments.length ? `, without ${listed(not_segments.map(name))}` : "";
    const on = platforms.length ? `, on ${listed(platforms.map((each) => PLATFORMS[each]))}` : "";
    const reach = this.estimate.answer?.reach;
    this.draft.summary("audience", `${who}${without}${on}${reach ? `: ${reach.is_estimate ? "about " : ""}${things(reach.reachable, "device")}` : ""}`);
  }

  // --- the sum --------------------------------------------------------------------------------------
  showReach() {
    const place = this.one("[data-reach]");
    place.setAttribute("aria-busy", "false");
    const reach = this.estimate.answer?.reach;
    const isLost = this.estimate.faults.length && !reach;
    put(place, reach ? sum(reach) : make("p", { class: "c-quiet" }, isLost ? "It can be counted when what is said above is mended." : "Counting …"));
    this.tellReach(reach);
    this.draw();
    if (this.one("[data-people]").open) this.showPeople();
  }

  // For screen readers one sentence, when the numbers have come to rest.
  readOut(reach) {
    const words = reach ? `${reach.is_estimate ? "About " : ""}${number(reach.reachable)} of ${things(reach.matched, "device")} will get it.` : "";
    const said = this.one("[data-spoken]");
    if (said.textContent !== words) said.textContent = words;
  }

  async showPeople() {
    const more = this.one("[data-people]");
    const asked = JSON.stringify([this.draft.application, this.draft.category, this.audience()]);
    if (!more.open || asked === this.shown) return;
    this.shown = asked;
    const place = this.one("[data-sample]");
    try {
      const { people } = await this.draft.post(this.draft.urls.people_sample);
      const again = make("button", { type: "button", class: "c-link p-again", onclick: () => { this.shown = ""; this.showPeople(); } }, "Show ten others");
      place.replaceChildren(...(people.length
        ? [make("ul", { class: "c-lines" }, people.map(person)), again]
        : [make("p", { class: "c-quiet" }, "Nobody was found: no person with a device would get it.")]));
    } catch (error) {
      this.shown = "";
      place.replaceChildren(make("p", { class: "c-quiet" }, refused(error, "/audience")[0].detail));
    }
  }
}

const person = ({ id, locale, country, platforms, url, explain_url: explain }) => make("li", {},
  make("span", { class: "c-grow c-break" }, url ? make("a", { class: "c-link", href: url, target: "_blank", rel: "noopener" }, id) : make("strong", {}, id), " ",
    make("small", { class: "c-quiet" }, [...platforms, country, locale].filter(Boolean).join(" · "))),
  explain ? make("a", { class: "c-link", href: explain, target: "_blank", rel: "noopener", "aria-label": `Explain: why ${id} gets it` }, "Explain") : null);

// Matched = reachable + those held back, each with its reason. Every part is a number, the bar is only its picture.
const sum = (reach) => {
  const about = reach.is_estimate ? "about " : "";
  if (!reach.matched) return [make("p", {}, make("strong", {}, "Nobody."), " No active device matches this audience. Choose other segments or platforms.")];
  const first = make("p", { class: "c-reach" }, make("strong", { class: "c-big c-num" }, `${about}${number(reach.reachable)}`),
    make("span", {}, `of ${things(reach.matched, "device")} will get it`));
  const grow = (element, count) => { element.style.flexGrow = count; return element; };
  const bar = make("div", { class: "c-split", "aria-hidden": "true" }, reach.reachable ? grow(make("i", { class: "c-good" }), reach.reachable) : null,
    reach.held_back.map((one, at) => grow(make("i", { class: "p-held", style: `--shade:${Math.min(at, 4)}` }), one.count)));
  const terms = make("ul", { class: "p-sum" },
    term("Matched", reach.matched), term("Reachable", reach.reachable, "=", "c-good"),
    reach.held_back.map((one, at) => term(one.title, one.count, "+", "p-held", one, at)));
  return [
    reach.reachable ? first : make("p", {}, make("strong", {}, "Nobody would get it. "), `All ${things(reach.matched, "device")} are held back:`),
    bar, terms, why(reach), platforms(reach),
    make("p", { class: "c-help" }, `${about ? "Estimated from a sample, as there are too many to count while you wait." : "Counted exactly."} As of ${utc(reach.counted_at)} UTC; it is counted again when it is sent.`),
  ].filter(Boolean);
};

const term = (words, count, sign = "", tone = "", held = null, at = 0) => make("li", {},
  sign ? make("span", { class: "p-sign", "aria-hidden": "true" }, sign) : null,
  make("span", { class: "p-term" },
    make("span", { class: "c-sum-word" }, tone ? make("span", { class: `c-dot ${tone}`, style: `--shade:${Math.min(at, 4)}`, "aria-hidden": "true" }) : null, words),
    make("span", { class: "c-sum-num c-num", title: held?.means }, number(count))));

const why = (reach) => (reach.held_back.length ? make("details", { class: "p-more", "data-name": "why" }, make("summary", {}, "Why not all"),
  make("ul", { class: "c-lines" }, reach.held_back.map((one) => make("li", {},
    make("span", { class: "c-grow" }, make("strong", {}, one.title), " ", make("small", { class: "c-quiet" }, `${one.means}${one.todo ? ` ${one.todo}` : ""}`)),
    make("span", { class: "c-num" }, number(one.count)))))) : null);

const platforms = (reach) => make("ul", { class: "c-lines" },
  reach.platforms.map((one) => make("li", {}, make("span", { class: "c-grow" }, one.words, " ",
    one.waiting ? make("small", { class: "p-warn" }, "waits: nothing is connected for it yet") : make("small", { class: "c-quiet" }, percent(one.count / reach.reachable))),
    make("span", { class: "c-num" }, number(one.count)))),
  reach.later ? make("li", {}, make("span", { class: "c-grow" }, "Later ", make("small", { class: "c-quiet" }, "of those reachable: quiet hours, the send window or their local time hold it until then")),
    make("span", { class: "c-num" }, number(reach.later))) : null);
