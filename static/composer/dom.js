// Small things the composer's modules share.
export const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
};

export const icon = (name) => make("span", { class: "material-symbols-outlined", "aria-hidden": "true" }, name);
export const number = (value) => Number(value ?? 0).toLocaleString("en");
export const sentence = (words) => {
  const said = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(said) ? said : `${said}.`;
};
export const clock = (at) => new Date(at).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

const segmenter = window.Intl?.Segmenter ? new Intl.Segmenter(undefined, { granularity: "grapheme" }) : null;
// What a reader calls a letter.
export const letters = (text) => (segmenter ? [...segmenter.segment(text)].length : [...text].length);

const names = new Intl.DisplayNames(["en"], { type: "language" });
export const language = (locale) => {
  try { return names.of(locale) ?? locale; } catch { return locale; }
};

// After the last call, once; `.now()` at once, if it waits.
export const later = (deed, milliseconds) => {
  let waiting = null;
  const call = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { waiting = null; deed(); }, milliseconds);
  };
  call.stop = () => { clearTimeout(waiting); waiting = null; };
  return call;
};

// Equal as plans are: keys in any order, and what is left out is as what is empty.
export const same = (one, other) => JSON.stringify(plain(one)) === JSON.stringify(plain(other));
export const plain = (value) => {
  if (Array.isArray(value)) return value.map((one) => plain(one) ?? null);
  if (value === null || typeof value !== "object") return value === "" || value === null ? undefined : value;
  const kept = Object.keys(value).sort().map((key) => [key, plain(value[key])]).filter(([, one]) => one !== undefined && !isEmpty(one));
  return Object.fromEntries(kept);
};
const isEmpty = (value) => typeof value === "object" && Object.keys(value).length === 0;

export const copied = (value) => (value === undefined ? undefined : structuredClone(value));
