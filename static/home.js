// The overview, the list and the calendar of campaigns. Without it every link and form works, one page at a time.
(() => {
  "use strict";

  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // --- a part of the overview that cannot be loaded says so, and only it -------------------------------
  for (const name of ["htmx:sendError", "htmx:responseError"]) {
    document.addEventListener(name, (event) => {
      const part = event.target.closest("[data-widget]");
      if (!part || part.hasAttribute("data-live") || part.querySelector("[data-retry]")) return;
      part.insertAdjacentHTML("afterbegin", '<p class="c-note c-warn" role="alert"><span class="material-symbols-outlined" aria-hidden="true">cloud_off</span><span>Could not load.</span><button type="button" class="c-btn" data-retry>Retry</button></p>');
    });
  }
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful) event.target.classList.remove("is-offline");
  });

  // What says the same as before stays: nothing is read out again, and an open table stays open.
  const said = new WeakMap();
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, serverResponse } = event.detail;
    if (!target?.matches?.("[data-widget]")) return;
    if (said.get(target) === serverResponse && !target.querySelector("[data-retry]")) event.detail.shouldSwap = false;
    said.set(target, serverResponse);
    target.dataset.open = all("details[open][id]", target).map((one) => one.id).join(" ");
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    for (const id of (event.target.dataset?.open ?? "").split(" ").filter(Boolean)) {
      const details = document.getElementById(id);
      if (details) details.open = true;
    }
  });

  // Signed out meanwhile: the whole page asks to sign in again, not a part of it.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (!event.detail.xhr.responseURL.includes("/admin/login/")) return;
    event.detail.shouldSwap = false;
    location.reload();
  });

  // --- lists ------------------------------------------------------------------------------------------
  const rows = () => all('input[name="row"][form="shelve"]');

  const chosen = () => {
    const form = document.querySelector("[data-bulk]");
    if (!form) return;
    const number = rows().filter((row) => row.checked).length;
    form.querySelector("[data-chosen]").textContent = number ? ` (${number})` : "";
    form.querySelector('[type="submit"]').disabled = !number;
    const every = form.querySelector("[data-all]");
    every.checked = number > 0 && number === rows().length;
    every.indeterminate = number > 0 && number < rows().length;
  };

  const close = (except) => {
    for (const menu of all("details.h-menu[open], details.h-overlap[open]")) if (menu !== except) menu.open = false;
  };

  const ask = (link) => {
    const dialog = document.getElementById("cancel-one");
    dialog.querySelector("form").action = link.dataset.cancels;
    dialog.querySelector("[data-name]").textContent = link.dataset.name;
    close();
    dialog.showModal();
  };

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-retry]")) htmx.trigger(event.target.closest("[data-widget]"), "retry");
    const link = event.target.closest("[data-cancels]");
    if (link) {
      event.preventDefault();
      ask(link);
    } else {
      close(event.target.closest("details"));
    }
  });

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-all]")) rows().forEach((row) => { row.checked = event.target.checked; });
    if (event.target.matches("[data-sends] select")) event.target.form.requestSubmit();
    chosen();
  });

  // --- calendar ---------------------------------------------------------------------------------------
  const STEPS = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -7, ArrowDown: 7 };

  const walk = (event, calendar) => {
    const days = all("td", calendar);
    const here = days.indexOf(event.target.closest("td"));
    const at = here + (STEPS[event.key] ?? 0);
    if (here < 0 || !(event.key in STEPS) || !days[at]) return;
    event.preventDefault();
    days.forEach((day, index) => { day.tabIndex = index === at ? 0 : -1; });
    days[at].focus();
  };

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      const menu = document.querySelector("details.h-menu[open], details.h-overlap[open]");
      if (menu) {
        menu.open = false;
        menu.querySelector("summary").focus();
      }
    }
    const calendar = document.querySelector("[data-calendar]");
    if (!calendar || event.target.matches("input, select, textarea")) return;
    const link = document.querySelector(`[data-key="${event.key}"]`);
    if (link) {
      event.preventDefault();
      link.click();
    } else {
      walk(event, calendar);
    }
  });

  document.addEventListener("DOMContentLoaded", () => {
    chosen();
    document.querySelector(".h-tabs [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
    const calendar = document.querySelector("[data-calendar]");
    if (calendar) (calendar.querySelector('td[aria-current="date"]') ?? calendar.querySelector("td:not(.h-outside)")).tabIndex = 0;
  });
})();
