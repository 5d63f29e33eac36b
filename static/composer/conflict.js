// Somebody else has saved the draft meanwhile: both versions, field by field; each part is taken from one of them.
import { clock, language, make, plain } from "./dom.js";

const PARTS = { name: "Name", category: "Category", variants: "Content", defaults: "Stand-ins", missing: "Where a value is missing", audience: "Audience", schedule: "Schedule", experiment: "Comparison", safety: "Safety" };
const WORDS = { title: "title", body: "text", image: "image", url: "link", actions: "button", share: "share", segments: "in segment", not_segments: "not in segment", platforms: "devices", starts: "starts", kind: "kind", overrides: "one platform only", apns: "iPhone", fcm: "Android", webpush: "browsers", navigate: "link" };

export const resolve = (dialog, draft, theirs) => {
  const parts = draft.differing(theirs);
  const who = theirs.by || "Somebody";
  if (!parts.length) return draft.settle(theirs, {});
  const form = make("form", { method: "dialog" },
    make("h2", { id: "k-conflict-title" }, `${who} changed this draft at ${clock(theirs.saved_at)}`),
    make("p", {}, "Nothing is lost yet. Choose for each part whose version is kept; the other one is replaced."),
    parts.map((part) => section(part, who)),
    make("div", { class: "c-dialog-foot" }, make("button", { type: "button", class: "c-btn", onclick: () => dialog.close() }, "Decide later"),
      make("button", { type: "submit", class: "c-btn c-btn-primary" }, "Keep what is chosen")));
  form.addEventListener("submit", () => {
    const chosen = Object.fromEntries(parts.map(({ field }) => [field, form.elements.namedItem(`k-keep-${field}`).value]));
    draft.settle(theirs, chosen);
  });
  dialog.replaceChildren(form);
  if (!dialog.open) dialog.showModal();
  return undefined;
};

// What I have not touched is theirs, unless I say otherwise.
const section = ({ field, mine, theirs, isMine }, who) =>
  make("fieldset", { class: "k-both" }, make("legend", { class: "c-label" }, PARTS[field]),
    make("div", { class: "c-table-wrap" }, make("table", { class: "c-table" },
      make("thead", {}, make("tr", {}, make("th", {}, "Field"), make("th", {}, "Mine"), make("th", {}, who))),
      make("tbody", {}, rows(field, mine, theirs).map(([name, one, other]) => make("tr", {}, make("td", {}, name), make("td", { "data-label": "Mine" }, said(one)), make("td", { "data-label": who }, said(other))))))),
    make("div", { class: "k-whose" }, radio(field, "mine", "Keep mine", isMine), radio(field, "theirs", `Take ${who === "Somebody" ? "the other" : `${who}’s`}`, !isMine)));

const radio = (field, value, words, checked) => make("label", {}, make("input", { type: "radio", name: `k-keep-${field}`, value, checked }), words);
const said = (value) => (value === undefined ? make("span", { class: "c-quiet" }, "nothing") : make("span", { class: "c-break" }, String(value)));

// [where, mine, theirs] of every single value that differs.
export const rows = (field, mine, theirs) => {
  const [one, other] = [leaves(plain(mine)), leaves(plain(theirs))];
  const paths = [...new Set([...one.keys(), ...other.keys()])].filter((path) => !/actions\n\d+\nid$/.test(path));
  return paths.filter((path) => one.get(path) !== other.get(path)).map((path) => [named(field, path), one.get(path), other.get(path)]);
};

const leaves = (value, path = [], found = new Map()) => {
  if (value !== null && typeof value === "object") for (const [key, each] of Object.entries(value)) leaves(each, [...path, key], found);
  else if (value !== undefined) found.set(path.join("\n"), value);
  return found;
};

const named = (field, path) => {
  let keys = path.split("\n").filter(Boolean);
  const parts = [];
  if (field === "variants" && keys.length) {
    parts.push(`Version ${"ABCDE"[Number(keys[0])]}`);
    keys = keys.slice(1).filter((key) => key !== "content");
    if (keys[0] === "locales") { parts.push(language(keys[1])); keys = keys.slice(2); }
  }
  return [...parts, ...keys.map((key) => WORDS[key] ?? (/^\d+$/.test(key) ? String(Number(key) + 1) : key.replaceAll("_", " ")))].join(", ") || PARTS[field];
};
