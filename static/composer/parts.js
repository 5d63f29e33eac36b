// Small things the composer's panels share: elements, numbers, moments, what is said at a field.

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

export const button = (words, symbol, onclick, attributes = {}) =>
  make("button", { type: "button", class: "c-btn", onclick, ...attributes }, symbol ? icon(symbol) : null, words);

export const iconButton = (words, symbol, onclick) =>
  make("button", { type: "button", class: "c-btn c-btn-ghost p-icon", "aria-label": words, title: words, onclick }, icon(symbol));

export const number = (value) => Number(value ?? 0).toLocaleString("en");
export const things = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
export const percent = (share) => `${Math.round(share * 100)}%`;
export const listed = (names, last = "and") =>
  (names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} ${last} ${names.at(-1)}`);
export const sentence = (words) => {
  const said = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(said) ? said : `${said}.`;
};

// After the last call, once.
export const later = (deed, milliseconds) => {
  let waiting;
  return (...given) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => deed(...given), milliseconds);
  };
};

// Only the newest of several answers counts.
export const newest = (ask) => {
  let asked = 0;
  return async (...given) => {
    const own = ++asked;
    const answer = await ask(...given);
    return own === asked ? answer : undefined;
  };
};

// Only what has changed is drawn: open details stay open, and what has the focus keeps it.
export const put = (place, elements) => {
  const fresh = make("div", {}, elements);
  if (place.dataset.drawn === fresh.innerHTML) return;
  const open = [...place.querySelectorAll("details[open]")].map((each) => each.dataset.name);
  place.dataset.drawn = fresh.innerHTML;
  place.replaceChildren(...fresh.childNodes);
  for (const name of open) place.querySelector(`details[data-name="${name}"]`)?.setAttribute("open", "");
};

// --- moments ------------------------------------------------------------------------------------
const DAY = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", weekday: "short", day: "numeric", month: "short", year: "numeric" });

// A wall-clock time, "2026-11-25T09:00", as "Wed 25 Nov 2026, 09:00".
export const wall = (local) => {
  const day = new Date(`${local.slice(0, 16)}:00Z`);
  return Number.isNaN(day.getTime()) ? local : `${DAY.format(day).replace(",", "")}, ${local.slice(11, 16)}`;
};
export const utc = (at) => wall(new Date(at).toISOString());
export const clock = (local) => local.slice(11, 16);
export const city = (zone) => zone.slice(zone.lastIndexOf("/") + 1).replaceAll("_", " ");
export const offset = (text) => `UTC${text === "+0000" ? "" : ` ${text[0]}${Number(text.slice(1, 3))}${text.slice(3) === "00" ? "" : `:${text.slice(3)}`}`}`;

export const duration = (seconds) => {
  if (seconds < 60) return "less than a minute";
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.round(hours / 24)} days`;
};

// --- what is said at a field -----------------------------------------------------------------------
// said: [{pointer, detail, level?}]. Each goes to the place [data-at] with the longest pointer that leads to it; a place
// names its control in data-of. Without a level it is a fault.
const SYMBOLS = { fault: "error", warn: "warning", note: "info" };

export const say = (root, said) => {
  const places = [...root.querySelectorAll("[data-at]")];
  const own = new Map(places.map((place) => [place, []]));
  for (const one of said) {
    const place = places.filter((each) => leads(each.dataset.at, one.pointer)).sort((a, b) => b.dataset.at.length - a.dataset.at.length)[0];
    if (place && !own.get(place).some((each) => each.detail === one.detail)) own.get(place).push(one);
  }
  for (const [place, found] of own) tell(place, found);
};

const leads = (at, pointer) => pointer === at || pointer.startsWith(`${at}/`);

const tell = (place, found) => {
  const words = JSON.stringify(found);
  if (place.dataset.said === words) return; // what has not changed is not read out again
  place.dataset.said = words;
  place.replaceChildren(...found.map(({ detail, level = "fault" }) => make("p", { class: `p-said p-${level}` }, icon(SYMBOLS[level]), make("span", {}, sentence(detail)))));
  const control = document.getElementById(place.dataset.of ?? "");
  if (!control) return;
  if (found.some((one) => !one.level)) control.setAttribute("aria-invalid", "true");
  else control.removeAttribute("aria-invalid");
  if (!place.id) place.id = `said-${place.dataset.of}`;
  control.setAttribute("aria-describedby", place.id);
};

// What a refused request says, as faults. Its pointers may begin with the plan's own.
export const refused = (error, otherwise) => {
  const errors = error?.problem?.errors;
  if (errors?.length) return errors;
  return [{ pointer: otherwise, detail: error?.problem?.detail ?? "The server could not be asked. What you chose is kept; it is asked again with the next change." }];
};

export const csrf = () =>
  document.querySelector('[name="csrfmiddlewaretoken"]')?.value ?? document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1] ?? "";
