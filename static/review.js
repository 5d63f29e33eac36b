// The review page: what htmx does not do by itself. Without it the page works, a test is sent by a plain POST.
(() => {
  "use strict";

  const byId = (id) => document.getElementById(id);
  const openTest = () => location.hash === "#test" && !byId("test-drawer")?.open && byId("open-test")?.click();

  // The check that says "send a test" links here.
  addEventListener("hashchange", openTest);
  addEventListener("load", openTest);
  document.addEventListener("click", (event) => {
    if (event.target.closest('a[href$="#test"]') && location.hash === "#test") openTest();
  });
  // "close" does not bubble.
  document.addEventListener("close", (event) => {
    if (event.target.id !== "test-drawer") return;
    if (location.hash === "#test") history.replaceState(null, "", location.pathname + location.search);
    byId("test-body").replaceChildren(); // ends the polling
  }, true);

  // A dialog somebody is filling in stays as it is, and so does the button it gives the focus back to; the server
  // looks again when it is sent.
  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    if (["deed", "launch-place"].includes(event.detail.target.id) && document.querySelector("dialog[open]")) event.detail.shouldSwap = false;
  });

  // The phone that was chosen stays chosen when another look is fetched.
  let surface = "ios";
  document.addEventListener("change", (event) => {
    if (event.target.name === "surface") surface = event.target.value;
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.id === "review") openTest();
    const chosen = event.target.id === "look" && document.querySelector(`input[name="surface"][value="${surface}"]`);
    if (!chosen || chosen.checked) return;
    chosen.checked = true;
    chosen.dispatchEvent(new Event("change", { bubbles: true }));
  });
})();
