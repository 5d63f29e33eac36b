// The rule builder: rows and groups on the page, JSON (docs/segments.md) in the textarea [data-rules]. The server
// checks it and names each fault by a JSON pointer; it is shown at the rule it is about.
(() => {
  "use strict";

  const DEEPEST_GROUP = 4;
  const TIMES = { any: "any number of times", at_least: "at least", at_most: "at most", exactly: "exactly" };
  const PERIODS = { ever: "ever", within: "in the last … days", between: "between two days" };

  // --- small things ----------------------------------------------------------------------------
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  };

  const icon = (name) => make("span", { class: "material-symbols-outlined", "aria-hidden": "true" }, name);

  const button = (words, symbol, onclick) =>
    make("button", { type: "button", class: "c-btn c-btn-ghost c-rule-button", "aria-label": words, title: words, onclick }, icon(symbol));

  const select = (label, options, value, onchange) =>
    make("select", { class: "c-input", "aria-label": label, onchange: (event) => onchange(event.target.value) },
      ...options.map(([name, words]) => make("option", { value: name, selected: name === value }, words)));

  const input = (label, value, oninput, attributes = {}) => {
    const field = make("input", { class: "c-input", "aria-label": label, oninput: (event) => oninput(event.target.value), ...attributes });
    field.value = value ?? "";
    return field;
  };

  const amount = (text) => (text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text));

  // --- JSON to what is on the page, and back ----------------------------------------------------
  // A group is {group: "all" | "any" | "none", nodes}; a rule is {subject, …}. `at`: its pointer in what was loaded.
  const read = (json, at) => {
    if (json?.all || json?.any) {
      const group = json.all ? "all" : "any";
      return { group, at, nodes: list(json[group]).map((node, n) => read(node, `${at}/${group}/${n}`)) };
    }
    if (json?.not) {
      const inner = json.not;
      if (inner?.any) return { ...read(inner, `${at}/not`), group: "none", at };
      return { group: "none", at, nodes: [read(inner, `${at}/not`)] };
    }
    return { ...readRule(json ?? {}), at };
  };

  const list = (value) => (Array.isArray(value) ? value : []);

  const readRule = (json) => {
    if ("event" in json) {
      const times = Object.entries(json.times ?? {});
      return {
        subject: json.did === false ? "never" : "did", event: json.event,
        // At least and at most together have no row of their own; they are kept as they came.
        times: times.length === 1 ? times[0][0] : "any", count: times[0]?.[1] ?? 1, bothTimes: times.length > 1 ? json.times : null,
        period: "within_days" in json ? "within" : "between" in json ? "between" : "ever",
        days: json.within_days ?? 30, from: json.between?.[0] ?? "", to: json.between?.[1] ?? "",
        where: list(json.where).map((one) => ({ name: one.property, is: one.is, value: one.value })),
      };
    }
    if ("consent" in json) return { subject: "consent", slug: json.consent, yes: json.is !== false };
    if ("segment" in json) return { subject: "segment", slug: json.segment };
    const name = json.field ?? "";
    const isAttribute = name.startsWith("attribute.");
    return { subject: isAttribute ? "attribute" : name, name: isAttribute ? name.slice(10) : "", is: json.is, value: json.value };
  };

  const write = (node) => {
    if (node.group) {
      const nodes = node.nodes.map(write);
      return node.group === "none" ? { not: { any: nodes } } : { [node.group]: nodes };
    }
    if (node.subject === "did" || node.subject === "never") return writeEvent(node);
    if (node.subject === "consent") return { consent: node.slug, is: node.yes };
    if (node.subject === "segment") return { segment: node.slug };
    return { field: node.subject === "attribute" ? `attribute.${node.name}` : node.subject, is: node.is, value: node.value };
  };

  const writeEvent = (node) => {
    const json = { event: node.event, did: node.subject === "did" };
    if (json.did && node.bothTimes) json.times = node.bothTimes;
    else if (json.did && node.times !== "any") json.times = { [node.times]: node.count };
    if (node.period === "within") json.within_days = node.days;
    if (node.period === "between") json.between = [node.from, node.to];
    if (node.where.length) json.where = node.where.map((one) => ({ property: one.name, is: one.is, value: one.value }));
    return json;
  };

  const isEmpty = (node) => Boolean(node.group) && node.nodes.every(isEmpty);

  // --- the builder ------------------------------------------------------------------------------
  // application: where no form on the page says it. suggestions: of devices/suggestions.py. changed: called with JSON.
  const build = (root, textarea, schema, faults, { application: given, suggestions = {}, changed: told } = {}) => {
    const fields = Object.fromEntries(schema.fields.map((field) => [field.name, field]));
    const operators = Object.fromEntries(schema.operators.map((operator) => [operator.name, operator]));
    const application = () => given ?? document.querySelector('form [name="application"]')?.value ?? "";
    const own = (rows) => rows.filter((row) => String(row.application_id) === application()).map((row) => [row.slug, row.name]);

    let loaded = {};
    try { loaded = JSON.parse(textarea.value || "{}") ?? {}; } catch { /* the server has said so */ }
    let tree = Object.keys(loaded).length ? read(loaded, "") : { group: "all", at: "", nodes: [] };
    if (!tree.group) tree = { group: "all", at: null, nodes: [tree] };

    const keep = () => {
      textarea.value = JSON.stringify(isEmpty(tree) ? {} : write(tree));
      told?.(textarea.value);
    };
    const controls = (node) => [...(root.querySelector(`[data-node="${numbers.get(node)}"]`)?.querySelectorAll("select, input, button") ?? [])];
    // A select that arrow keys go through is drawn anew at each of them, and has to keep the focus.
    const redraw = (focus) => {
      keep();
      const at = focus && document.activeElement.matches("select") ? controls(focus).indexOf(document.activeElement) : -1;
      root.replaceChildren(group(tree, null, 1));
      if (focus) controls(focus)[Math.max(at, 0)]?.focus();
    };
    const changed = (change) => (value) => { change(value); keep(); };
    const changedShape = (node, change) => (value) => { change(value); redraw(node); };

    // --- suggestions: lists beside the tree, which is drawn anew again and again
    const offers = make("div", { hidden: true });
    root.after(offers);
    const offer = (key, values) => {
      if (!values?.length) return undefined;
      const id = `rules-offer-${key}`;
      const found = offers.querySelector(`#${CSS.escape(id)}`) ?? offers.appendChild(make("datalist", { id }));
      found.replaceChildren(...values.map((value) => make("option", { value })));
      return id;
    };
    const valuesOf = (one) => (one.subject === "attribute" ? suggestions.attributes?.[one.name] : suggestions.fields?.[one.subject]);
    const offerValues = (field, one) => {
      const id = offer("values", valuesOf(one));
      if (id) field.setAttribute("list", id);
      else field.removeAttribute("list");
    };
    // Of several values with commas between, the next one is offered after those there are.
    const offerNext = (field, one) => {
      const parts = field.value.split(",").map((part) => part.trim());
      const before = parts.slice(0, -1);
      const id = offer("next", valuesOf(one)?.filter((value) => !before.includes(value)).map((value) => [...before, value].join(", ")));
      if (id) field.setAttribute("list", id);
    };

    // Each node a number, to find it again after a redraw.
    const numbers = new Map();
    const numbered = (node) => {
      if (!numbers.has(node)) numbers.set(node, numbers.size);
      return numbers.get(node);
    };

    // --- faults: each at the innermost node that its pointer leads to
    const nodesOf = (node) => [node, ...(node.nodes ?? []).flatMap(nodesOf)];
    const said = new Map();
    for (const [pointer, message] of faults) {
      const holders = nodesOf(tree).filter((node) => node.at !== null && (pointer === node.at || pointer.startsWith(`${node.at}/`)));
      const holder = holders.sort((one, other) => other.at.length - one.at.length)[0] ?? tree;
      said.set(holder, [...(said.get(holder) ?? []), message]);
    }
    const errors = (node) => (said.has(node)
      ? make("ul", { class: "c-errors", role: "alert" }, ...said.get(node).map((words) => make("li", {}, icon("error"), words)))
      : null);

    // --- groups
    const group = (node, parent, depth) => make("div", { class: "c-rule-group", "data-node": numbered(node), role: "group", "aria-label": "Group of rules" },
      make("div", { class: "c-rule-head" },
        select("Which of these rules have to be true", [["all", "All of these are true"], ["any", "At least one is true"], ["none", "None of these is true"]],
          node.group, changed((value) => { node.group = value; })),
        parent ? remove(node, parent, "Remove this group") : null),
      errors(node),
      ...node.nodes.map((inner) => (inner.group ? group(inner, node, depth + 1) : rule(inner, node))),
      make("div", { class: "c-rule-add" },
        make("button", { type: "button", class: "c-btn", onclick: () => add(node, { subject: "attribute", name: "", is: "equal", value: "" }) }, icon("add"), "Rule"),
        depth < DEEPEST_GROUP
          ? make("button", { type: "button", class: "c-btn", onclick: () => add(node, { group: "any", nodes: [{ subject: "attribute", name: "", is: "equal", value: "" }] }) }, icon("add"), "Group")
          : null));

    const add = (parent, node) => {
      parent.nodes.push({ ...node, at: null });
      redraw(parent.nodes.at(-1));
    };
    const remove = (node, parent, words) => button(words, "close", () => {
      parent.nodes.splice(parent.nodes.indexOf(node), 1);
      redraw(parent);
    });

    // --- rules
    const option = ([value, words], chosen) => make("option", { value, selected: value === chosen }, words);
    const subjects = (node) => {
      const of = (prefix) => schema.fields.filter((field) => field.name.startsWith(prefix)).map((field) => [field.name, field.words]);
      const choice = make("select", { class: "c-input", "aria-label": "What the rule is about", onchange: (event) => become(node, event.target.value) });
      for (const [label, options] of [
        ["Person", [["attribute", "Attribute"], ...of("subscriber.")]], ["Device", of("device.")],
        ["Behaviour", [["did", "Did"], ["never", "Never did"]]], ["Audience", [["consent", "Agreement to"], ["segment", "Is in"]]],
      ]) choice.append(make("optgroup", { label }, ...options.map((one) => option(one, node.subject))));
      return choice;
    };
    const become = (node, subject) => {
      const isEvent = subject === "did" || subject === "never";
      const wasEvent = node.subject === "did" || node.subject === "never";
      const blank = isEvent
        ? { event: "", times: "any", count: 1, bothTimes: null, period: "ever", days: 30, from: "", to: "", where: [] }
        : { name: "", is: usable(kindOf(subject))[0]?.name, value: "", slug: "", yes: true };
      Object.assign(node, isEvent && wasEvent ? {} : blank, { subject });
      if (subject === "consent") node.slug = own(schema.categories)[0]?.[0] ?? "";
      if (subject === "segment") node.slug = own(schema.segments)[0]?.[0] ?? "";
      if (fields[subject]) node.value = first(node);
      redraw(node);
    };
    const kindOf = (subject) => fields[subject]?.kind ?? "json";
    const usable = (kind) => schema.operators.filter((operator) => operator.kinds.includes(kind));

    const rule = (node, parent) => make("div", { class: "c-rule", "data-node": numbered(node) },
      make("div", { class: "c-rule-fields" }, subjects(node), ...about(node)), remove(node, parent, "Remove this rule"), errors(node));

    const about = (node) => {
      if (node.subject === "consent") {
        return [select("Category", [["", "Choose a category"], ...own(schema.categories)], node.slug, changed((value) => { node.slug = value; })),
          select("Agreement", [["yes", "is given"], ["no", "is not given"]], node.yes ? "yes" : "no", changed((value) => { node.yes = value === "yes"; }))];
      }
      if (node.subject === "segment") {
        return [select("Segment", [["", "Choose a segment"], ...own(schema.segments)], node.slug, changed((value) => { node.slug = value; }))];
      }
      if (node.subject === "did" || node.subject === "never") return event(node);
      const name = node.subject === "attribute"
        ? [input("Name of the attribute", node.name, changed((value) => { node.name = value; }), { placeholder: "plan", list: offer("attributes", Object.keys(suggestions.attributes ?? {})) })]
        : [];
      return [...name, ...comparison(node, node, kindOf(node.subject), fields[node.subject]?.choices ?? [])];
    };

    const event = (node) => {
      const parts = [input("Name of the event", node.event, changed((value) => { node.event = value; }), { placeholder: "purchase", list: offer("events", suggestions.events) })];
      if (node.subject === "did" && node.bothTimes) {
        parts.push(make("span", {}, `${node.bothTimes.at_least} to ${node.bothTimes.at_most} times`),
          button("Change how often", "edit", () => { node.bothTimes = null; redraw(node); }));
      } else if (node.subject === "did") {
        parts.push(select("How often", Object.entries(TIMES), node.times, changedShape(node, (value) => { node.times = value; })));
        if (node.times !== "any") {
          parts.push(input("Times", node.count, changed((value) => { node.count = amount(value); }), { type: "number", min: 0, max: 1000 }), make("span", {}, "times"));
        }
      }
      parts.push(select("When", Object.entries(PERIODS), node.period, changedShape(node, (value) => { node.period = value; })));
      if (node.period === "within") {
        parts.push(input("Days", node.days, changed((value) => { node.days = amount(value); }), { type: "number", min: 1 }), make("span", {}, "days"));
      }
      if (node.period === "between") parts.push(day("From", node, "from"), day("To, that day included", node, "to"));
      for (const one of node.where) {
        parts.push(make("div", { class: "c-rule-where" }, make("span", {}, "where"),
          input("Name of the property", one.name, changed((value) => { one.name = value; }), { placeholder: "amount" }),
          ...comparison(one, node, "json", []),
          button("Remove this condition", "close", () => { node.where.splice(node.where.indexOf(one), 1); redraw(node); })));
      }
      const condition = () => { node.where.push({ name: "", is: "equal", value: "" }); redraw(node); };
      parts.push(make("button", { type: "button", class: "c-link", onclick: condition }, "add a condition"));
      return parts;
    };

    // --- comparisons
    const comparison = (one, node, kind, choices) => {
      const operator = operators[one.is];
      const pick = select("Comparison", usable(kind).map((each) => [each.name, each.words]), one.is, changedShape(node, (value) => {
        const before = operators[one.is]?.takes;
        one.is = value;
        if (operators[value].takes !== before) one.value = first(one, kind, choices);
      }));
      return [pick, ...(operator ? values(one, operator.takes, kind, choices) : [])];
    };

    const first = (one, kind = kindOf(one.subject), choices = fields[one.subject]?.choices ?? []) => {
      const takes = operators[one.is]?.takes;
      if (takes === "yes" || kind === "flag") return true;
      if (takes === "list") return [];
      if (takes === "days") return 30;
      return choices[0]?.[0] ?? "";
    };

    const values = (one, takes, kind, choices) => {
      const set = changed((value) => { one.value = value; });
      if (takes === "yes" || kind === "flag") {
        return [select("Yes or no", [["yes", "yes"], ["no", "no"]], one.value === false ? "no" : "yes", (value) => set(value === "yes"))];
      }
      if (takes === "days") return [input("Days", one.value, (value) => set(amount(value)), { type: "number", min: 1 }), make("span", {}, "days")];
      if (takes === "date") return [day("Day", one, "value")];
      if (takes === "order" && kind !== "version") return [input("Number", one.value, (value) => set(amount(value)), { inputmode: "decimal" })];
      if (choices.length && takes === "list") return [several(one, choices, set)];
      if (choices.length) return [select("Value", choices, one.value, set)];
      if (takes === "list") {
        const shown = list(one.value).join(", ");
        // What was not touched stays what it was: a number stays a number.
        return [input("Values, with commas between", shown, (text) => set(text.split(",").map((part) => part.trim()).filter(Boolean)
          .map((part) => list(one.value).find((old) => String(old) === part) ?? part)),
        { placeholder: "gold, silver", onfocus: (event) => offerNext(event.target, one), onkeyup: (event) => offerNext(event.target, one) })];
      }
      return [input("Value", String(one.value ?? ""), set, { placeholder: kind === "version" ? "4.2" : "", onfocus: (event) => offerValues(event.target, one) })];
    };

    const several = (one, choices, set) => make("span", { class: "c-rule-several", role: "group", "aria-label": "Values" },
      ...choices.map(([value, words]) => {
        const toggle = (event) => set(event.target.checked ? [...list(one.value), value] : list(one.value).filter((each) => each !== value));
        return make("label", {}, make("input", { type: "checkbox", checked: list(one.value).includes(value), onchange: toggle }), words);
      }));

    // A moment that is more than a day stays text.
    const day = (label, one, name) => input(label, one[name], changed((value) => { one[name] = value; }),
      { type: /^(\d{4}-\d\d-\d\d)?$/.test(one[name] ?? "") ? "date" : "text" });

    document.querySelector('form select[name="application"]')?.addEventListener("change", () => redraw());
    redraw();
  };

  window.carillonRules = { build };

  document.addEventListener("DOMContentLoaded", () => {
    const root = document.getElementById("rule-builder");
    if (!root) return;
    const parsed = (id) => JSON.parse(document.getElementById(id).textContent);
    build(root, document.querySelector("[data-rules]"), parsed("rule-schema"), parsed("rule-faults"), { suggestions: parsed("rule-suggestions") });
    root.hidden = false;
    document.querySelector("[data-without-script]").hidden = true;
  });
})();
