// Personal fields in texts: {{ subscriber.attributes.name }}. The server renders; this only looks.
const TAG = /\{\{-?\s*([A-Za-z_][\w.]*)([^}]*?)-?\}\}/g;
const PERSON = { "subscriber.external_id": "Their id", "subscriber.locale": "Language", "subscriber.country": "Country" };
const PREFIX = "subscriber.attributes.";

export const offered = (attributes) => [
  ...attributes.map((name) => [`${PREFIX}${name}`, name]),
  ...Object.entries(PERSON),
];
export const words = (name) => PERSON[name] ?? (name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name);
export const tag = (name) => `{{ ${name} }}`;
export const names = (text) => [...String(text ?? "").matchAll(TAG)].map((match) => match[1]);

// All names a plan's texts read.
export const used = (plan) => {
  const found = new Set();
  const look = (value) => {
    if (typeof value === "string") for (const name of names(value)) found.add(name);
    else if (value && typeof value === "object") Object.values(value).forEach(look);
  };
  for (const variant of plan.variants) look(variant.content);
  return [...found];
};

// Why nobody has a name, or "".
export const unknown = (name, attributes) => {
  if (name in PERSON) return "";
  if (!name.startsWith(PREFIX)) return `“${name}” is no personal field`;
  const own = name.slice(PREFIX.length);
  if (!attributes.length || attributes.includes(own)) return "";
  const near = attributes.map((one) => [distance(one.toLowerCase(), own.toLowerCase()), one]).sort((a, b) => a[0] - b[0])[0];
  return `Nobody has “${own}”${near && near[0] <= 2 ? `. Did you mean “${near[1]}”?` : ""}`;
};

const distance = (one, other) => {
  let row = [...Array(other.length + 1).keys()];
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) next[j] = Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (one[i - 1] === other[j - 1] ? 0 : 1));
    row = next;
  }
  return row[other.length];
};

// The text as one person gets it, about: filters and conditions are the server's. Holes as the server marks them.
export const filled = (text, person, defaults) =>
  String(text ?? "").replace(TAG, (whole, name) => {
    const value = name.startsWith(PREFIX) ? person?.attributes?.[name.slice(PREFIX.length)] : { "subscriber.external_id": person?.id, "subscriber.locale": person?.locale, "subscriber.country": person?.country }[name];
    const said = value === undefined || value === null || value === "" ? defaults?.[name] : value;
    return said === undefined || said === "" ? `\ue000${words(name)}\ue001` : String(said);
  });
export const withoutHoles = (text) => text.replace(/[\ue000\ue001]/g, "");
