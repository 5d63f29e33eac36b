// A run's page: what the parts that are fetched again must not lose, seconds that count down, the variants' preview.
(() => {
  "use strict";

  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // --- parts that are fetched again -------------------------------------------------------------
  let opened = [];

  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, xhr } = event.detail;
    if (!target?.hasAttribute?.("data-live")) return;
    if (!xhr.responseText.includes(`id="${target.id}"`)) {
      // Another page, as of somebody who was signed out: what is shown stays, as old.
      event.detail.shouldSwap = false;
      target.classList.add("is-offline");
      return;
    }
    opened = all("details[open][id]", target).map((one) => one.id);
  });

  document.addEventListener("htmx:afterSwap", () => {
    for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
    say();
  });

  document.addEventListener("htmx:timeout", (event) => event.target.closest?.("[data-live]")?.classList.add("is-offline"));

  // For who listens: the state, and each tenth of the way; not every number every two seconds.
  const say = () => {
    const place = document.getElementById("live-said");
    const bar = document.querySelector('#live [role="progressbar"]');
    if (!place || !bar) return;
    const state = document.querySelector("#live .c-chip-lg")?.lastChild?.textContent.trim() ?? "";
    const words = `${state}, ${Math.floor(Number(bar.getAttribute("aria-valuenow")) / 10) * 10} %`;
    if (place.textContent !== words) place.textContent = words;
  };

  // --- counting down: from what the server said is left, whatever this machine's clock shows -----
  const ends = new WeakMap();

  const tick = () => {
    for (const place of all("[data-seconds-left]")) {
      if (!ends.has(place)) ends.set(place, performance.now() + Number(place.dataset.secondsLeft) * 1000);
      const left = Math.max(0, Math.ceil((ends.get(place) - performance.now()) / 1000));
      const words = left ? `${place.dataset.before ?? ""}${left} s` : (place.dataset.after ?? "");
      if (place.textContent !== words) place.textContent = words;
    }
  };

  // --- which variant the phones show --------------------------------------------------------------
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-shows-copy]");
    if (!button) return;
    for (const one of all("[data-shows-copy]")) one.setAttribute("aria-pressed", String(one === button));
    for (const name of ["title", "body"]) {
      for (const place of all(`[data-preview="${name}"]`)) place.textContent = button.dataset[name];
    }
    for (const picture of all('img[data-preview="image"]')) {
      picture.hidden = !button.dataset.image;
      if (button.dataset.image) picture.src = button.dataset.image;
    }
  });

  document.addEventListener("DOMContentLoaded", () => {
    tick();
    setInterval(tick, 250);
  });
  document.addEventListener("htmx:afterSettle", tick);
})();
