// How devices draw a message, about: what is cut is cut by lines, as they do.
import { icon, make } from "./dom.js";
import { isPicture } from "./picture.js";

// Text with holes as spans.
export const pieces = (text) =>
  text.split(/(\ue000[^\ue001]*\ue001)/).filter(Boolean).map((part) =>
    (part.startsWith("\ue000") ? make("span", { class: "k-hole", title: "Has no value for this person" }, `{{${part.slice(1, -1)}}}`) : part));

const picture = (url, className) => {
  if (!isPicture(url)) return null;
  const image = make("img", { class: className, alt: "", src: url });
  image.addEventListener("error", () => image.remove());
  return image;
};

const title = (shown, lines) => make("div", { class: `k-line k-strong k-lines-${lines}` }, shown.title ? pieces(shown.title) : make("span", { class: "k-faint" }, "Title"));
const body = (shown, lines) => make("div", { class: `k-line k-lines-${lines}` }, shown.body ? pieces(shown.body) : make("span", { class: "k-faint" }, "What you want to say"));
const appIcon = (shown) => make("span", { class: "k-appicon", "aria-hidden": "true" }, shown.app.slice(0, 1).toUpperCase());
const buttons = (shown, most) => shown.actions.slice(0, most).map((one) => one.title).filter(Boolean);

const ios = (shown) =>
  make("div", { class: "k-phone k-ios" },
    make("div", { class: "k-island" }), make("div", { class: "k-date" }, "Tuesday 9 June"), make("div", { class: "k-time" }, "9:41"),
    make("div", { class: "k-note k-ios-note" }, appIcon(shown),
      make("div", { class: "k-grow" },
        make("div", { class: "k-first" }, title(shown, 1), make("span", { class: "k-now" }, "now")),
        shown.subtitle ? make("div", { class: "k-line k-strong k-lines-1" }, pieces(shown.subtitle)) : null, body(shown, 4)),
      picture(shown.image, "k-square")),
    make("div", { class: "k-home" }));

const android = (isOpen) => (shown) => {
  const said = isOpen ? buttons(shown, 3) : [];
  return make("div", { class: "k-phone k-android" },
    make("div", { class: "k-status" }, make("span", {}, "9:41"), icon("signal_cellular_alt")), make("div", { class: "k-clock" }, "9:41"),
    make("div", { class: "k-note k-droid-note" },
      make("div", { class: "k-droid-head" }, appIcon(shown), make("span", { class: "k-line k-lines-1" }, shown.app), make("span", {}, "· now"), icon(isOpen ? "expand_less" : "expand_more")),
      make("div", { class: "k-row" }, make("div", { class: "k-grow" }, title(shown, 1), body(shown, isOpen ? (shown.image ? 2 : 10) : 1)), isOpen ? null : picture(shown.image, "k-square")),
      isOpen ? picture(shown.image, "k-wide-image") : null,
      said.length ? make("div", { class: "k-buttons" }, said.map((words) => make("span", {}, pieces(words)))) : null));
};

const windows = (shown) => {
  const said = buttons(shown, 2);
  return make("div", { class: "k-desk k-windows" }, make("div", { class: "k-note k-toast" },
    picture(shown.image, "k-wide-image"),
    make("div", { class: "k-row" }, appIcon(shown), make("div", { class: "k-grow" }, title(shown, 1), body(shown, 4), make("div", { class: "k-from" }, `${shown.app} · Chrome`))),
    said.length ? make("div", { class: "k-buttons k-boxed" }, said.map((words) => make("span", {}, pieces(words)))) : null), make("div", { class: "k-taskbar" }));
};

const macos = (shown) =>
  make("div", { class: "k-desk k-mac" }, make("div", { class: "k-menubar" }, "9:41"), make("div", { class: "k-note k-mac-note" }, appIcon(shown),
    make("div", { class: "k-grow" }, make("div", { class: "k-first" }, title(shown, 1), make("span", { class: "k-now" }, "now")), make("div", { class: "k-from" }, shown.app), body(shown, 2))));

const SURFACES = { ios, android: android(false), "android-open": android(true), windows, macos };
// Whose overrides apply there.
export const PROVIDERS = { ios: "apns", android: "fcm", "android-open": "fcm", windows: "webpush", macos: "webpush" };

// shown: {app, title, subtitle, body, image, actions}.
export const draw = (stage, surface, shown, isDark) => {
  stage.classList.toggle("is-dark", isDark);
  stage.replaceChildren(SURFACES[surface](shown));
};
