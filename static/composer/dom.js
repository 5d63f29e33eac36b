// Small things the composer's modules share.
export { icon, make, number, sentence } from "./parts.js";
export const clock = (at) => new Date(at).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

const segmenter = window.Intl?.Segmenter ? new Intl.Segmenter(undefined, { granularity: "grapheme" }) : null;
// What a reader calls a letter.
export const letters = (text) => (segmenter ? [...segmenter.segment(text)].length : [...text].length);

const names = new Intl.DisplayNames(["en"], { type: "language" });
export const language = (locale) => {
  try { return names.of(locale) ?? locale; } catch { return locale; }
};

// After the last call, once, unless it is stopped.
export const later = (deed, milliseconds) => {
  let waiting;
  const call = () => {
    clearTimeout(waiting);
    waiting = setTimeout(deed, milliseconds);
  };
  call.stop = () => clearTimeout(waiting);
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

// crypto.randomUUID is there on https only.
export const nonce = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

export const copied = (value) => (value === undefined ? undefined : structuredClone(value));
