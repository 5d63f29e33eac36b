// The sheets in which a new segment is written or a list uploaded, without leaving the campaign. used: told its row.
import { csrf, later, make, newest, number, refused, say, things } from "./parts.js";

export const newSegment = async (sheet, draft, used) => {
  const name = sheet.querySelector("#p-segment-name");
  const json = sheet.querySelector("[data-rules-json]");
  const place = sheet.querySelector("[data-builder]");
  const count = sheet.querySelector("[data-rules-count]");
  const keep = sheet.querySelector("[data-keep]");
  name.value = "";
  json.value = "";
  say(sheet, []);
  count.textContent = "Add a rule to see how many people fit.";
  place.parentElement.querySelectorAll(":scope > div[hidden]").forEach((offers) => offers.remove());
  place.replaceChildren(make("p", { class: "c-quiet" }, "One moment …"));
  keep.disabled = true; // until there is something to keep
  sheet.showModal();
  name.focus();

  let offered;
  try {
    offered = await draft.post(draft.urls.segments, { builder: true });
  } catch (error) {
    say(sheet, refused(error, "/rules").map((one) => ({ ...one, pointer: "/rules" })));
    return;
  }
  const application = String(offered.schema.categories[0]?.application_id ?? "");
  const asked = newest((rules) => draft.post(draft.urls.segments, { rules }));
  const counted = later(async (text) => {
    const rules = JSON.parse(text || "{}");
    if (!Object.keys(rules).length) return;
    try {
      const answer = await asked(rules);
      if (answer) count.replaceChildren(...(answer.faults ? ["Complete the rules to see how many people fit."] : fits(answer)));
    } catch {
      count.textContent = "It could not be counted just now.";
    }
  }, 500);
  const build = (faults) => window.carillonRules.build(place, json, offered.schema, faults, { application, suggestions: offered.suggestions, changed: counted });
  build([]);
  keep.disabled = false;

  keep.onclick = async () => {
    const rules = JSON.parse(json.value || "{}");
    const lacking = [
      ...(name.value.trim() ? [] : [{ pointer: "/name", detail: "give it a name" }]),
      ...(Object.keys(rules).length ? [] : [{ pointer: "/rules", detail: "say whom you mean: add a rule" }]),
    ];
    say(sheet, lacking);
    if (lacking.length) return;
    keep.disabled = true;
    try {
      const { saved } = await draft.post(draft.urls.segments, { save: { name: name.value.trim(), rules } });
      sheet.close();
      used(saved);
    } catch (error) {
      const errors = refused(error, "/rules").map((one) => ({ ...one, pointer: one.pointer.replace(/^\/save\//, "/") }));
      const ofRules = errors.filter((one) => one.pointer.startsWith("/rules/"));
      // The builder says them at their rules.
      if (ofRules.length) build(ofRules.map((one) => [one.pointer.slice("/rules".length), one.detail]));
      const more = ofRules.length ? [{ pointer: "/rules", detail: `${ofRules.length === 1 ? "one rule is" : `${ofRules.length} things are`} not right yet` }] : [];
      say(sheet, [...errors.filter((one) => !ofRules.includes(one)), ...more]);
    } finally {
      keep.disabled = false;
    }
  };
};

const fits = ({ people, devices, reachable, is_estimate: isEstimate }) => [
  make("strong", { class: "c-num" }, `${isEstimate ? "about " : ""}${number(people)}`),
  ` ${people === 1 ? "person" : "people"} with ${things(devices, "device")}; this campaign would reach ${number(reachable)} of them.`,
];

export const newList = (sheet, draft, used) => {
  const [name, file, report, keep] = ["#p-list-name", "#p-list-file", "[data-report]", "[data-keep]"].map((each) => sheet.querySelector(each));
  name.value = file.value = "";
  name.disabled = file.disabled = keep.disabled = keep.hidden = false;
  report.replaceChildren();
  say(sheet, []);
  sheet.showModal();
  name.focus();

  keep.onclick = async () => {
    const lacking = [
      ...(name.value.trim() ? [] : [{ pointer: "/name", detail: "give it a name" }]),
      ...(file.files.length ? [] : [{ pointer: "/file", detail: "choose a file" }]),
    ];
    say(sheet, lacking);
    if (lacking.length) return;
    keep.disabled = true;
    report.replaceChildren(make("p", { class: "c-quiet" }, "Reading the file …"));
    const body = new FormData();
    for (const [key, value] of [["application", draft.application], ["name", name.value.trim()], ["file", file.files[0]]]) body.append(key, value);
    try {
      const answer = await fetch(draft.urls.upload_list, { method: "POST", body, headers: { "X-CSRFToken": csrf() } });
      const said = await answer.json();
      if (!answer.ok) throw { problem: said };
      used(said.saved);
      if (!said.error_count) return sheet.close();
      keep.hidden = true;
      name.disabled = file.disabled = true;
      report.replaceChildren(...leftOut(said));
    } catch (error) {
      report.replaceChildren();
      say(sheet, refused(error, "/file"));
    } finally {
      keep.disabled = false;
    }
  };
};

const leftOut = ({ added, error_count: count, errors }) => [
  make("p", { class: "p-said p-note" }, make("span", {}, `${added === 1 ? "1 person is" : `${number(added)} people are`} on the list, which is chosen now. ${things(count, "line")} left out:`)),
  make("div", { class: "p-report", tabindex: "0", role: "region", "aria-label": "Lines left out" }, make("table", { class: "c-table" },
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Line"), make("th", { scope: "col" }, "Why"))),
    make("tbody", {}, errors.map((one) => make("tr", {}, make("td", { class: "c-num", "data-label": "Line" }, number(one.line)), make("td", {}, one.reason)))))),
  count > errors.length ? make("p", { class: "c-help" }, `These are the first ${errors.length}.`) : "",
];
