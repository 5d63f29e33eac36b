// What a schedule means, in elements: moments, zones, runs, duration, what holds it back. Out of the server's answer.
import { spoken } from "./rule.js";
import { city, clock, duration, icon, make, number, offset, things, utc, wall } from "./parts.js";

const CLOCKS = { skipped: "the clocks jump over this time: sent at the jump", repeated: "this time comes twice: sent the first time" };

export const begins = (plan, answer, now) => {
  if (plan.kind === "now") return [make("p", {}, make("strong", {}, "It begins as soon as it is launched"), plan.undo ? ", after a minute in which you can take it back." : ".")];
  if (!answer.begins) return [make("p", { class: "c-quiet" }, "Choose a date and time that are still to come.")];
  if (plan.kind === "at") return [moment(answer.begins, now)];
  if (plan.kind === "recurring") return [make("p", {}, make("strong", {}, `It runs ${spoken(plan.rule)}`), `, at ${clock(plan.starts)} ${plan.is_local ? "on each person’s clock" : `in ${city(answer.zone)}`}.`), runs(answer, plan, now), plan.is_local ? zones(answer.zones, now) : null];
  return [zones(answer.zones, now)];
};

const moment = ({ at, local, zone, offset: shift }, now) => make("dl", { class: "c-facts p-moment" },
  fact(`In ${city(zone)}`, wall(local), offset(shift)),
  zone === "UTC" ? null : fact("In UTC", utc(at)),
  fact("For you", wall(here(at)), city(Intl.DateTimeFormat().resolvedOptions().timeZone ?? "")),
  fact("That is", until(at, now)));

const fact = (words, value, more) => make("div", {}, make("dt", {}, words), make("dd", { class: "c-num" }, value, more ? make("small", { class: "c-quiet" }, ` ${more}`) : null));

const here = (at) => {
  const moment = new Date(at);
  return new Date(moment.getTime() - moment.getTimezoneOffset() * 60_000).toISOString();
};

const until = (at, now) => {
  const seconds = (new Date(at).getTime() - now) / 1000;
  return seconds > 0 ? `in ${duration(seconds)}` : "over";
};

const runs = (answer, plan, now) => (answer.runs.length ? [
  make("h4", { class: "c-label p-gap" }, answer.runs.length < 5 ? "All its runs" : "The next five runs"),
  make("ol", { class: "c-lines p-runs" }, answer.runs.map((run) => make("li", {},
    make("span", { class: "c-num" }, wall(run.local)),
    make("small", { class: "c-quiet c-grow" }, plan.is_local ? `begins ${utc(run.at)} UTC, where it is that time first` : answer.zone === "UTC" ? "UTC" : `${utc(run.at)} UTC`, clockNote(run.clock)),
    make("span", { class: "c-quiet c-num" }, until(run.at, now))))),
] : null);

const clockNote = (kind) => (CLOCKS[kind] ? make("span", { class: "c-chip c-warn p-clock" }, icon("schedule"), CLOCKS[kind]) : null);

// When each zone has that time. first, last: of those reached.
const zones = ({ rows, total, first, last, over, is_estimate: isEstimate }, now) => {
  if (!total) return make("p", { class: "c-quiet" }, "Nobody is reached yet, so there is no time zone to show.");
  const odd = rows.filter((row) => CLOCKS[row.clock]).length;
  return make("div", {},
    make("dl", { class: "c-facts p-moment" }, fact("First people", `${utc(first)} UTC`, until(first, now) === "over" ? "" : until(first, now)), total > 1 ? fact("Last people", `${utc(last)} UTC`) : null),
    over ? make("p", { class: "p-said p-warn" }, icon("warning"), make("span", {}, `For ${isEstimate ? "about " : ""}${things(over, "device")} this time is over already: they get it at once.`)) : null,
    make("details", { class: "p-more", "data-name": "zones", open: odd > 0 || total <= 6 }, make("summary", {}, `${things(total, "time zone")} of this audience${odd ? `, ${odd} with a clock change` : ""}`),
      make("div", { class: "p-zones", tabindex: "0", role: "region", "aria-label": "Time zones" }, make("table", { class: "c-table" },
        make("thead", {}, make("tr", {}, ["Zone", "Devices", "Exactly at"].map((words) => make("th", { scope: "col" }, words)))),
        make("tbody", {}, rows.map((row) => zoneRow(row, isEstimate))))),
      total > rows.length ? make("p", { class: "c-help" }, `and ${number(total - rows.length)} smaller ones`) : null));
};

const zoneRow = (row, isEstimate) => make("tr", {},
  make("td", { "data-label": "Zone" }, make("strong", {}, city(row.zone)), " ", make("small", { class: "c-quiet" }, offset(row.offset))),
  make("td", { class: "c-num", "data-label": "Devices" }, `${isEstimate ? "about " : ""}${number(row.devices)}`),
  make("td", { class: "c-num", "data-label": "Exactly at" }, `${utc(row.at)} UTC`, row.is_over ? make("span", { class: "c-chip c-warn p-clock" }, "over: at once") : clockNote(row.clock)));

// --- how long, and what holds it back ------------------------------------------------------------
export const effect = (plan, { pace, effect: found, conflicts }) => {
  const about = found.is_estimate ? "about " : "";
  const held = found.held_back.map((one) => line("block", `${about}${things(one.count, "device")}: ${one.title.toLowerCase()}`, one.means));
  return [make("ul", { class: "p-effect" },
    duringWords(plan, pace),
    found.later ? line("bedtime", `${about}${things(found.later, "device")} get it later`, "Quiet hours, the send window or their local time hold it until then.") : null,
    held,
    found.quiet.length ? line("dark_mode", `Quiet hours ${found.quiet.join(", ")}`, `A message of this category ${found.quiet_rule}. People may have set their own.`) : null,
    found.caps.length ? line("speed", `At most ${found.caps.join(", ")} per person`, "Who has had as many gets nothing.") : null,
    conflicts.length ? conflictLine(conflicts) : line("event_available", "No other campaign of this app within a day"))];
};

const line = (symbol, words, more) => make("li", {}, icon(symbol), make("span", {}, make("strong", {}, words), more ? make("small", { class: "c-quiet" }, more) : null));

const duringWords = (plan, pace) => {
  if (!pace.devices) return line("hourglass_empty", "Nobody is reached, so nothing is sent");
  const isByZone = pace.lasts > pace.seconds + 60;
  if (!pace.lasts) return line("bolt", "As fast as it goes", "Nothing set here slows it down.");
  const rate = !pace.seconds ? "as fast as it goes in each time zone"
    : `at ${pace.per_second >= 1 ? `${number(Math.round(pace.per_second))} per second` : "less than one per second"}: ${pace.because}`;
  const ends = plan.kind === "recurring" ? "" : `, ends ${clock(pace.ends.local)} ${city(pace.ends.zone)}${sameDay(pace) ? "" : ` on ${wall(pace.ends.local).split(",")[0]}`}`;
  return line("timelapse", `Takes about ${duration(pace.lasts)}${isByZone ? " from the first time zone to the last" : ""}${ends}`,
    `${pace.is_estimate ? "About " : ""}${things(pace.devices, "device")}, ${rate}. It cannot be quicker; retries and a slow provider may add to it.`);
};

const sameDay = (pace) => pace.ends.at.slice(0, 10) === new Date().toISOString().slice(0, 10);

const conflictLine = (conflicts) => make("li", {}, icon("event_busy"), make("span", {},
  make("strong", {}, `${things(conflicts.length, "other campaign")} of this app within a day`),
  make("ul", {}, conflicts.map((one) => make("li", {}, make("a", { class: "c-link", href: one.url, target: "_blank", rel: "noopener" }, one.name),
    make("small", { class: "c-quiet c-num" }, ` ${wall(one.local)} ${city(one.zone)}, ${one.category}${one.is_same_people ? ", may reach the same people" : ", other people"}`))))));

export const summary = (plan, answer) => {
  if (plan.kind === "now") return "Now";
  if (!plan.starts) return "At a time to be chosen";
  if (plan.kind === "recurring") return `From ${wall(plan.starts)}, ${spoken(plan.rule)}`;
  return `${wall(plan.starts)} (${plan.kind === "local" ? "each person’s local time" : city(plan.time_zone || answer?.default_zone || "UTC")})`;
};
