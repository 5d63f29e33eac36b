// Buttons of the message. A language says their titles in its own words; which there are, the default says.
import { icon, make } from "./dom.js";

const MOST = 5;
// As platforms show them: further ones are dropped without a word.
const SHOWN = "An iPhone shows up to 4 of them, Android 3, a browser 2.";

export const drawActions = (content) => {
  const list = content.one("#k-actions");
  const own = content.base.actions ?? [];
  const isDefault = !content.view.locale;
  list.replaceChildren(...own.map((action, at) => (isDefault ? row(content, own, action, at) : translated(content, own, action, at))));
  if (own.length > 2) list.append(make("p", { class: "c-help" }, SHOWN));
  content.one("#k-add-action").hidden = !isDefault || own.length >= MOST;
};

const row = (content, own, action, at) => {
  const change = (field) => (event) => {
    const now = content.base.actions.map((one, n) => (n === at ? { ...one, [field]: event.target.value } : one));
    content.draft.set(`${content.at}.content.actions`, now);
    follow(content);
  };
  return make("div", { class: "k-action" },
    make("input", { class: "c-input", "aria-label": `Button ${at + 1}: its words`, value: action.title, placeholder: "Shop now", maxlength: "120", oninput: change("title") }),
    make("input", { class: "c-input", "aria-label": `Button ${at + 1}: what it opens`, value: action.url, placeholder: "https://… (empty: the app)", maxlength: "2048", oninput: change("url") }),
    make("button", { type: "button", class: "c-btn c-btn-ghost k-icon", "aria-label": `Remove button ${at + 1}`, onclick: () => remove(content, at) }, icon("close")));
};

const remove = (content, at) => {
  content.draft.set(`${content.at}.content.actions`, content.base.actions.filter((_, n) => n !== at));
  follow(content);
  drawActions(content);
  content.one("#k-add-action").focus();
};

const titles = (texts) => Object.fromEntries((texts?.actions ?? []).map((one) => [one.id, one.title]));

const translated = (content, own, action, at) =>
  make("div", { class: "k-action" },
    make("input", {
      class: "c-input", "aria-label": `Button ${at + 1}: its words`, placeholder: action.title, maxlength: "120",
      value: differing(titles(content.texts)[action.id], action.title),
      oninput: (event) => {
        const said = { ...titles(content.texts), [action.id]: event.target.value };
        content.draft.set(`${content.at}.content.locales.${content.view.locale}.actions`, whole(content.base.actions, said));
      },
    }));

const differing = (said, usual) => (said === usual ? "" : said);

// The send API wants a language's buttons complete, or none.
const whole = (own, said) => {
  if (!own.some((one) => said[one.id] && said[one.id] !== one.title)) return undefined;
  return own.filter((one) => said[one.id] || one.title).map((one) => ({ ...one, title: said[one.id] || one.title }));
};

const follow = (content) => {
  for (const [locale, texts] of Object.entries(content.base.locales ?? {})) {
    if (texts.actions) content.draft.set(`${content.at}.content.locales.${locale}.actions`, whole(content.base.actions ?? [], titles(texts)));
  }
};
