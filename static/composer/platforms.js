// What one platform gets differently, in variant.overrides as the send API takes it: {apns: {…}, fcm: {…}, webpush: {…}}.
import { make } from "./dom.js";

const choice = (name, label, ...options) => ({ name, label, options });
const text = (name, label, placeholder = "", help = "") => ({ name, label, placeholder, help });
const amount = (name, label, help = "", step = "1", most) => ({ name, label, help, step, most });

const PLATFORMS = [
  { name: "apns", title: "iPhone, iPad and Mac", fields: [
    text("subtitle", "Subtitle"),
    text("sound", "Sound", "default", "A file of your app; “default” is the system’s."),
    amount("badge", "Number on the icon", "0 takes it away."),
    text("thread_id", "Thread", "", "Messages of one thread are stacked."),
    choice("interruption_level", "Interrupts", ["", "as usual"], ["passive", "not at all: into the list"], ["active", "normally"], ["time-sensitive", "through Focus: time-sensitive"], ["critical", "always: critical (needs Apple’s consent)"]),
    { ...amount("relevance_score", "Weight in the summary", "From 0 to 1.", "0.1", "1") },
  ] },
  { name: "fcm", title: "Android", fields: [
    text("channel_id", "Channel", "", "As your app names it; people choose sound and display by channel."),
    { name: "color", label: "Colour of the icon", placeholder: "#0f766e", help: "Six digits, as #0f766e.", pattern: /^#[0-9a-f]{6}$/i },
    choice("notification_priority", "Importance", ["", "as usual"], ["min", "lowest"], ["low", "low"], ["default", "default"], ["high", "high"], ["max", "highest"]),
    amount("notification_count", "Number on the icon"),
    text("tag", "Tag", "", "A message replaces the one with the same tag."),
    text("click_action", "Action", "", "Of your app, which a tap starts; for developers."),
  ] },
  { name: "webpush", title: "Browser", fields: [
    text("icon", "Icon", "https://…"),
    { name: "require_interaction", label: "Stays until it is closed", isSwitch: true },
    choice("urgency", "Urgency", ["", "as usual"], ["very-low", "very low: on power and Wi-Fi"], ["low", "low: on power or Wi-Fi"], ["normal", "normal"], ["high", "high: also on low battery"]),
  ] },
];

// Instead of the content's own link: a field for each platform, all in one place.
const link = (name, label, help) => ({ ...text(name, label, "as above", help), inputmode: "url", most: "2048" });
const LINKS = [
  ["apns", link("url", "Link on iPhone", "On iPad and Mac too.")],
  ["fcm", link("url", "Link on Android")],
  ["webpush", { ...link("navigate", "Link in browsers"), most: "1024" }],
];
// Which option of a platform's is its link.
export const LINK_OF = Object.fromEntries(LINKS.map(([platform, field]) => [platform, field.name]));

export const mountPlatforms = (root, draft, view) => {
  const at = () => `variants.${view.variant}.overrides`;
  const all = () => draft.get(at()) ?? {};

  const set = (platform, name, value) => {
    const now = all();
    const options = { ...now[platform] };
    if (value === "" || value === undefined) delete options[name];
    else options[name] = value;
    if (Object.keys(options).length) now[platform] = options;
    else delete now[platform];
    draft.set(at(), now);
    draw();
  };

  const blocks = PLATFORMS.map((platform) => {
    const count = make("span", { class: "c-quiet k-count" });
    const fields = platform.fields.map((field) => drawn(platform.name, field, set));
    const block = make("details", { class: "k-platform" }, make("summary", {}, platform.title, count), make("div", { class: "k-options" }, fields.map((one) => one.element)),
      make("div", { class: "k-says", "data-at": `/overrides/${platform.name}`, "aria-live": "polite" }));
    return { platform, block, count, fields };
  });
  const links = linkFields(set);
  const raw = rawEditor((value) => { draft.set(at(), value); draw(); });
  root.replaceChildren(make("h3", { class: "c-label" }, "For one platform only"), links.block, ...blocks.map((one) => one.block), raw.block);

  const draw = () => {
    const now = all();
    links.show(now);
    for (const { platform, count, fields } of blocks) {
      const options = now[platform.name] ?? {};
      count.textContent = changed(Object.keys(options).filter((name) => name !== LINK_OF[platform.name]).length);
      for (const field of fields) field.show(options[field.name]);
    }
    raw.show(now);
  };
  return draw;
};

const linkFields = (set) => {
  const fields = LINKS.map(([platform, field]) => [platform, drawn(platform, field, set)]);
  for (const [platform, one] of fields) one.element.append(make("div", { class: "k-says", "data-at": `/overrides/${platform}/${one.name}`, "aria-live": "polite" }));
  const count = make("span", { class: "c-quiet k-count" });
  const block = make("details", { class: "k-platform" }, make("summary", {}, "Links", count), make("div", { class: "k-options" }, fields.map(([, one]) => one.element)));
  const show = (now) => {
    count.textContent = changed(fields.filter(([platform, one]) => now[platform]?.[one.name]).length);
    for (const [platform, one] of fields) one.show(now[platform]?.[one.name]);
  };
  return { block, show };
};

const changed = (count) => (count ? `${count} change${count === 1 ? "" : "s"}` : "as everywhere");

const drawn = (platform, field, set) => {
  const id = `k-${platform}-${field.name}`;
  const element = make("div", { class: field.isSwitch ? "k-option k-switch" : "k-option" });
  const error = make("p", { class: "c-errors", role: "alert" });
  let input;
  if (field.options) input = make("select", { id, class: "c-input" }, field.options.map(([value, words]) => make("option", { value }, words)));
  else if (field.isSwitch) input = make("input", { id, type: "checkbox" });
  else if (field.step) input = make("input", { id, class: "c-input", type: "number", min: "0", max: field.most, step: field.step, inputmode: "decimal" });
  else input = make("input", { id, class: "c-input", autocomplete: "off", placeholder: field.placeholder, inputmode: field.inputmode, maxlength: field.most });
  input.addEventListener("input", () => {
    error.textContent = "";
    if (field.isSwitch) return set(platform, field.name, input.checked || undefined);
    if (input.value && field.pattern && !field.pattern.test(input.value)) { error.textContent = field.help; return undefined; }
    if (field.step) return input.checkValidity() ? set(platform, field.name, input.value === "" ? undefined : Number(input.value)) : undefined;
    return set(platform, field.name, input.value.trim());
  });
  element.append(make("label", { class: "c-label", for: id }, field.label), input, field.help ? make("p", { class: "c-help" }, field.help) : "", error);
  const show = (value) => {
    if (field.isSwitch) input.checked = value === true;
    else if (input !== document.activeElement) input.value = value ?? "";
  };
  return { element, name: field.name, show };
};

// Whatever the send API takes, also what has no field of its own above.
const rawEditor = (change) => {
  const area = make("textarea", { id: "k-raw", class: "c-input k-mono", rows: "6", spellcheck: "false", "aria-describedby": "k-raw-says" });
  const says = make("p", { class: "c-help", id: "k-raw-says", "aria-live": "polite" });
  area.addEventListener("input", () => {
    const [value, why] = read(area.value);
    says.textContent = why || "Valid.";
    says.classList.toggle("is-fault", Boolean(why));
    area.setAttribute("aria-invalid", String(Boolean(why)));
    if (!why) change(value);
  });
  const block = make("details", { class: "k-platform" }, make("summary", {}, "As JSON", make("span", { class: "c-quiet k-count" }, "for developers")),
    make("div", { class: "k-option" }, make("label", { class: "c-label", for: "k-raw" }, "Overrides, as in the send API"), area, says, make("div", { class: "k-says", "data-at": "/overrides", "aria-live": "polite" })));
  const show = (now) => {
    if (area === document.activeElement) return;
    area.value = Object.keys(now).length ? JSON.stringify(now, null, 2) : "";
    says.textContent = "";
    area.removeAttribute("aria-invalid");
  };
  return { block, show };
};

const read = (text) => {
  if (!text.trim()) return [{}, ""];
  let value;
  try { value = JSON.parse(text); } catch (error) { return [null, `Not JSON yet: ${error.message}`]; }
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [null, "Expected an object: {\"apns\": {…}}"];
  const wrong = Object.entries(value).find(([, one]) => one === null || typeof one !== "object" || Array.isArray(one));
  return wrong ? [null, `“${wrong[0]}” has to be an object: {…}`] : [value, ""];
};
