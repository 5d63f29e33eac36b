// The console's behaviour: previews, counters, dialogs, copying. No state lives here; every change is a form's POST.
(() => {
  "use strict";

  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);

  // --- preview: what is typed appears on the phones ---------------------------------------------
  const show = (name, value) => {
    for (const place of all(`[data-preview="${name}"]`)) {
      if (place.tagName !== "IMG") {
        place.textContent = value;
      } else {
        const isPicture = /^https:\/\/\S+$/.test(value);
        if (isPicture && place.getAttribute("src") !== value) place.src = value;
        place.hidden = !isPicture;
      }
    }
  };

  const preview = (form) => {
    for (const name of ["title", "body", "image"]) {
      const field = form.elements.namedItem(name);
      if (field) show(name, field.value.trim());
    }
    const application = form.elements.namedItem("application");
    const chosen = application?.selectedOptions?.[0]?.textContent.trim();
    const app = chosen || document.querySelector("[data-preview-app]")?.dataset.previewApp;
    if (app) {
      show("app", app);
      show("initial", app[0].toUpperCase());
    }
  };

  const surface = () => {
    const chosen = document.querySelector('input[name="surface"]:checked')?.value;
    if (chosen) for (const place of all("[data-surface]")) place.hidden = place.dataset.surface !== chosen;
  };

  // A picture that does not load is not shown, as on a phone.
  document.addEventListener("error", (event) => {
    if (event.target.matches?.("img[data-preview]")) event.target.hidden = true;
  }, true);

  // --- counters: what a reader calls a letter, not what JavaScript does ---------------------------
  const segmenter = window.Intl?.Segmenter ? new Intl.Segmenter(undefined, { granularity: "grapheme" }) : null;
  const letters = (text) => (segmenter ? [...segmenter.segment(text)].length : [...text].length);

  const counters = () => {
    for (const counter of all("[data-counts]")) {
      const used = letters(byId(counter.dataset.counts)?.value ?? "");
      const isLong = used > Number(counter.dataset.best);
      counter.textContent = isLong ? `${used}: ${counter.dataset.cut}` : `${used} / ${counter.dataset.best}`;
      counter.classList.toggle("is-long", isLong);
    }
  };

  // --- fields that depend on others ---------------------------------------------------------------
  const value = (name) => {
    const field = document.querySelector(`form [name="${name}"]:checked`) ?? document.querySelector(`form select[name="${name}"], form input[type="hidden"][name="${name}"]`);
    return field?.value ?? "";
  };

  const dependents = () => {
    for (const block of all("[data-shown-when]")) {
      const [name, wanted] = block.dataset.shownWhen.split("=");
      block.hidden = !wanted.split(",").includes(value(name));
    }
    const application = value("application");
    const category = byId("id_category");
    if (!category || !application) return;
    for (const option of category.options) {
      option.hidden = option.disabled = Boolean(option.dataset.application) && option.dataset.application !== application;
    }
    if (category.selectedOptions[0]?.disabled) {
      category.value = [...category.options].find((option) => !option.disabled)?.value ?? "";
      category.dispatchEvent(new Event("change", { bubbles: true }));
    }
  };

  const scopes = () => {
    const kind = value("kind");
    if (!kind) return;
    for (const box of all('input[name="scopes"][data-kind]')) {
      const belongs = box.dataset.kind === kind;
      box.closest("label").hidden = !belongs;
      box.disabled = !belongs;
    }
  };

  // --- secrets --------------------------------------------------------------------------------------
  const readFile = async (input) => {
    const [file] = input.files;
    if (file) byId(input.dataset.readsInto).value = await file.text();
  };

  const copy = async (button) => {
    const source = byId(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      getSelection().selectAllChildren(source);
      document.execCommand("copy");
    }
    const label = button.querySelector("[aria-live]") ?? button;
    label.textContent = "Copied";
    setTimeout(() => { label.textContent = "Copy"; }, 2000);
  };

  // --- dialogs ---------------------------------------------------------------------------------------
  const typed = (input) => {
    const submit = input.form.querySelector('[type="submit"]');
    submit.disabled = input.value.replace(/\D/g, "") !== input.dataset.mustEqual;
  };

  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-opens], [data-closes], [data-copies]");
    if (!target) return;
    if (target.dataset.opens) byId(target.dataset.opens).showModal();
    else if (target.dataset.copies) copy(target);
    else target.closest("dialog").close();
  });

  // One click, one request: the server takes a second one for the same deed anyway.
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-once]");
    if (form) setTimeout(() => all('[type="submit"]', form).forEach((button) => { button.disabled = true; }));
  });

  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter" && !document.querySelector("dialog[open]")) {
      document.querySelector("[data-primary]")?.click();
    }
  });

  const refresh = (event) => {
    const form = event?.target?.closest?.("form") ?? byId("campaign_form");
    if (form?.id === "campaign_form") preview(form);
    counters();
    dependents();
    scopes();
  };

  document.addEventListener("input", (event) => {
    if (event.target.matches("[data-must-equal]")) typed(event.target);
    refresh(event);
  });
  document.addEventListener("change", (event) => {
    if (event.target.name === "surface") surface();
    if (event.target.matches("[data-reads-into]")) readFile(event.target);
    refresh(event);
  });

  // --- live pages: an answer lost shows old numbers as old, never as zeros ------------------------------
  for (const name of ["htmx:sendError", "htmx:responseError"]) {
    document.addEventListener(name, (event) => event.target.closest("[data-live]")?.classList.add("is-offline"));
  }
  document.addEventListener("htmx:beforeSwap", (event) => {
    // 286 ends the polling; its content is the last one to show.
    if (event.detail.xhr.status === 286) event.detail.shouldSwap = true;
  });
  document.addEventListener("htmx:afterSettle", () => {
    if (byId("live") && !byId("live").hasAttribute("data-live")) all("[data-while-live]").forEach((button) => button.remove());
  });

  document.addEventListener("DOMContentLoaded", () => {
    refresh();
    surface();
    all("[data-must-equal]").forEach(typed);
    document.querySelector('[aria-invalid="true"]')?.focus();
  });
})();
