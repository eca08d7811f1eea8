// Counts down by the server's clock, and looks how the order stands: the row decides, not this page.

const LOOK_EVERY_MS = 1000;

const clock = (ms) => {
  const seconds = Math.ceil(Math.max(0, ms) / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
};

// The browser's own clock may be wrong; how much time has passed since the page came is not.
for (const element of document.querySelectorAll("[data-remaining-ms]")) {
  const end = performance.now() + Number(element.dataset.remainingMs);
  const tick = () => {
    const left = end - performance.now();
    element.textContent = clock(left);
    element.classList.toggle("hurry", left < 10_000);
  };
  tick();
  setInterval(tick, 250);
}

const order = document.querySelector("#order[data-status=unpaid]");
if (order) {
  let timer;
  const look = async () => {
    clearTimeout(timer);
    timer = setTimeout(look, LOOK_EVERY_MS);
    try {
      const page = new DOMParser().parseFromString(await (await fetch(location)).text(), "text/html");
      const now = page.querySelector("#order:not([data-status=unpaid])");
      if (now) {
        clearTimeout(timer);
        order.replaceWith(now);
      }
    } catch {
      // Offline: the server decides all the same, and a later look will show it.
    }
  };
  timer = setTimeout(look, LOOK_EVERY_MS);
  // M1: the watch link says at once what this page would see a moment later.
  for (const what of ["duly:settled", "duly:lapsed"]) order.addEventListener(what, look);
}
