// The catalogue of reasons is filtered while one types; without this, the form asks the server.
"use strict";

document.addEventListener("input", (event) => {
    const input = event.target.closest("[data-filters]");
    if (!input) return;
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const groups = document.getElementById(input.dataset.filters);
    let found = 0;
    for (const group of groups.children) {
        let shown = 0;
        for (const entry of group.querySelectorAll("[data-searched]")) {
            const text = entry.textContent.toLowerCase();
            entry.hidden = !words.every((word) => text.includes(word));
            shown += entry.hidden ? 0 : 1;
        }
        group.hidden = !shown;
        found += shown;
    }
    document.getElementById("reason-none").hidden = found > 0;
});
