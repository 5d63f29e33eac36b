// Draws what /wall/events tells: `history` (rates so far), `push` (a sampled arrival), `stats` (twice a second).
"use strict";

const PLATFORMS = {
  ios: { name: "iPhone", books: ["apns", "apns_sandbox"], color: "var(--ios)" },
  android: { name: "Android", books: ["fcm"], color: "var(--android)" },
  web: { name: "Browsers", books: ["webpush"], color: "var(--web)" },
};
const ANSWERS = [
  ["accepted", "var(--accepted)"],
  ["dead tokens", "var(--dead)"],
  ["throttled", "var(--throttled)"],
  ["refused or failed", "var(--failed)"],
];
const WALLPAPERS = [
  "linear-gradient(160deg, #2b3a8f, #7b4bb7 48%, #e88f6b)",
  "linear-gradient(165deg, #0f5c63, #2d9b83 50%, #e9d47e)",
  "linear-gradient(150deg, #5a1f4e, #b8385c 50%, #f3a35c)",
  "linear-gradient(170deg, #17345c, #3b7fb0 55%, #bfe0d8)",
  "linear-gradient(155deg, #2d2350, #5b53a8 45%, #82b6d9)",
  "linear-gradient(165deg, #3c3a2e, #85735a 50%, #e6c7a1)",
];
const KEPT = 4; // notifications on a lock screen
const SHAPE = ["ios", "android", "ios", "web", "android"]; // the mix on the wall
const MODELS = { ios: "iPhone", android: "Pixel", web: "Browser" };

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hour12: false });
const calendar = new Intl.DateTimeFormat([], { weekday: "long", day: "numeric", month: "long" });

const devices = { ios: [], android: [], web: [] };
const turn = { ios: 0, android: 0, web: 0 };
const rates = [];

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text) made.textContent = text;
  return made;
}

function build() {
  const columns = Math.max(2, Math.floor(document.body.clientWidth / 228));
  const count = columns <= 2 ? 8 : columns * 3;
  for (let i = 0; i < count; i++) {
    const platform = SHAPE[i % SHAPE.length];
    const figure = $("device").content.firstElementChild.cloneNode(true);
    figure.classList.add(platform);
    figure.style.setProperty("--wallpaper", WALLPAPERS[(i * 5 + (i >> 2)) % WALLPAPERS.length]);
    figure.querySelector(".chrome span").textContent = "shop.example.com";
    figure.querySelector("figcaption").textContent = MODELS[platform];
    devices[platform].push(figure);
    $("grid").append(figure);
  }
  for (const [key, { name, color }] of Object.entries(PLATFORMS)) {
    const card = element("article", "platform");
    card.style.setProperty("--color", color);
    card.append(element("h2", "", name), element("span", "now"), element("span", "sum", "0"));
    card.id = `platform-${key}`;
    $("platforms").append(card);
  }
  for (const [name, color] of ANSWERS) {
    const part = element("i", "");
    part.style.background = color;
    $("bar").append(part);
    const item = element("li", "");
    item.style.setProperty("--color", color);
    item.append(element("b", "", "0"), ` ${name}`);
    $("legend").append(item);
  }
  tick();
  setInterval(tick, 5000);
}

function tick() {
  const now = new Date();
  for (const figure of Object.values(devices).flat()) {
    figure.querySelector(".time").textContent = figure.querySelector(".hours").textContent = clock.format(now);
    figure.querySelector(".date").textContent = calendar.format(now);
    for (const note of figure.querySelectorAll(".note")) {
      const minutes = Math.floor((now - note.at) / 60000);
      note.querySelector(".when").textContent = minutes < 1 ? "now" : `${minutes}m`;
    }
  }
}

function hue(text) {
  let value = 7;
  for (const letter of text) value = (value * 31 + letter.codePointAt(0)) % 360;
  return value;
}

function show(push) {
  const row = devices[push.platform];
  if (!row || !row.length || document.hidden) return;
  const figure = row[turn[push.platform]++ % row.length];
  const app = push.app || "Shop";
  const note = element("li", "note");
  note.at = Date.now();
  const icon = element("span", "icon", (push.title || app)[0].toUpperCase());
  icon.style.setProperty("--app", `linear-gradient(150deg, hsl(${hue(push.title || app)} 62% 58%), hsl(${hue(push.title || app)} 60% 40%))`);
  note.append(icon, element("span", "app", app), element("span", "title", push.title || app));
  note.append(element("span", "when", "now"), element("span", "body", push.body || (push.title ? "" : "Silent update")));
  if (push.image && /^(https?:|data:image)/.test(push.image)) {
    const image = new Image();
    image.alt = "";
    image.referrerPolicy = "no-referrer";
    image.onload = () => note.append(image);
    image.src = push.image;
  }
  const stack = figure.querySelector(".stack");
  stack.prepend(note);
  while (stack.children.length > KEPT) stack.lastChild.remove();
  figure.querySelector("figcaption").textContent = `${MODELS[push.platform]} · …${push.device.slice(-8)}`;
  figure.classList.remove("hit");
  requestAnimationFrame(() => figure.classList.add("hit"));
}

function sum(stats, books, field) {
  return books.reduce((total, book) => total + stats[book][field], 0);
}

function kind(answer) {
  const status = parseInt(answer, 10);
  if (status === 410 || answer.includes("UNREGISTERED")) return 1;
  if (status === 429 || status === 406) return 2;
  return 3;
}

function count(stats) {
  const all = Object.keys(stats);
  const answers = [sum(stats, all, "accepted"), 0, 0, 0];
  for (const book of all) {
    for (const [answer, times] of Object.entries(stats[book].answers)) answers[kind(answer)] += times;
  }
  const total = answers.reduce((a, b) => a + b, 0) || 1;
  answers.forEach((times, i) => {
    $("bar").children[i].style.width = `${(100 * times) / total}%`;
    $("legend").children[i].firstChild.textContent = number.format(times);
  });
  const rate = sum(stats, all, "rate_1s");
  $("accepted").textContent = number.format(answers[0]);
  $("rate").textContent = number.format(Math.round(rate));
  for (const [key, { books }] of Object.entries(PLATFORMS)) {
    const card = $(`platform-${key}`);
    card.children[1].textContent = `${compact.format(Math.round(sum(stats, books, "rate_1s")))}/s`;
    card.children[2].textContent = number.format(sum(stats, books, "accepted"));
  }
  rates.push(rate);
  if (rates.length > 240) rates.shift();
  draw();
}

function draw() {
  const top = Math.max(10, ...rates);
  const step = 240 / Math.max(59, rates.length - 1);
  const start = 240 - (rates.length - 1) * step;
  const points = rates.map((rate, i) => `${(start + i * step).toFixed(1)},${(46 - (42 * rate) / top).toFixed(1)}`);
  const line = `M${points.join("L")}`;
  document.querySelector("#spark .line").setAttribute("d", line);
  document.querySelector("#spark .area").setAttribute("d", `${line}V48H${start.toFixed(1)}Z`);
}

function connect() {
  const source = new EventSource("/wall/events");
  source.addEventListener("history", (event) => rates.splice(0, rates.length, ...JSON.parse(event.data)));
  source.addEventListener("push", (event) => show(JSON.parse(event.data)));
  source.addEventListener("stats", (event) => count(JSON.parse(event.data)));
  source.onopen = () => {
    $("state").textContent = "Live from the simulator";
    $("state").classList.add("live");
  };
  source.onerror = () => {
    $("state").textContent = "Waiting for the simulator…";
    $("state").classList.remove("live");
  };
}

build();
connect();
