// What moves on the shop's page. The server decides everything; this asks it how things stand about
// once a second, and counts down by its clock in between. It stops when nobody looks.

const CLOSE_LOOK_MS = 150;   // between questions while something is just being cancelled
const CALM_MS = 1000;        // between questions otherwise
const HURRY_MS = 10_000;     // the last seconds are shown with their tenths

const byId = (id) => document.getElementById(id);
const money = new Intl.NumberFormat("en-IE", { style: "currency", currency: "EUR" });
const number = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const MARKS = { unpaid: "", paid: "✓", cancelled: "×", cancelled_by_customer: "–", refunded: "↩" };

/** Orders on the page by their number: what is known of them and their element. */
const rows = new Map();
/** The latest thousand: all due in one instant. */
let rush = null;
let isFirst = true;

// The server's clock

/** Server time minus ours; the answer that came back fastest knows it best. */
let offset = 0;
let bestTrip = Infinity;

function learnClock(serverNow, sent, received) {
  const trip = received - sent;
  // Clocks drift: an old measurement loses its worth slowly.
  bestTrip += 1;
  if (trip <= bestTrip) {
    bestTrip = trip;
    offset = Date.parse(serverNow) + trip / 2 - received;
  }
}

const serverNow = () => Date.now() + offset;

// Asking and telling

async function ask() {
  const sent = Date.now();
  const answer = await fetch("/demo/state", { cache: "no-store" });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const display = await answer.json();
  learnClock(display.now, sent, Date.now());
  show(display);
}

async function tell(path, wish) {
  try {
    const answer = await fetch(`/demo/${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(wish ?? {}),
    });
    const said = await answer.json();
    sorry(answer.ok ? "" : `That did not work: ${said.sorry}.`);
  } catch {
    sorry("The server does not answer.");
  }
  await look();
}

let timer;
let isLooking = false;
let lookAgain = false;

/** Asks now, and arranges when to ask again. */
async function look() {
  // What is under way may have been answered before the last change: ask once more after it.
  lookAgain = isLooking;
  if (isLooking) return;
  isLooking = true;
  clearTimeout(timer);
  try {
    await ask();
    if (byId("sorry").dataset.about === "connection") sorry("");
  } catch {
    sorry("The server does not answer. It forgets no order; this page goes on when it is back.", "connection");
  }
  isLooking = false;
  clearTimeout(timer);
  if (lookAgain) await look();
  else if (!document.hidden) timer = setTimeout(look, untilNextLook());
}

/** Soon after the next order is due, or often while one is overdue. */
function untilNextLook() {
  const ends = [...rows.values()].filter((row) => row.order.status === "unpaid").map((row) => row.payBy);
  if (rush?.unpaid > 0) ends.push(rush.payBy);
  const next = Math.min(...ends) - serverNow();
  return next < 0 ? CLOSE_LOOK_MS : Math.min(CALM_MS, next + 30);
}

function sorry(text, about = "wish") {
  const element = byId("sorry");
  element.textContent = text;
  element.dataset.about = about;
  element.hidden = text === "";
}

// Showing

function show({ products, orders, counts, rush: latest, lateness }) {
  for (const product of products) {
    byId(`${product.id}-stock`).textContent = number.format(product.stock);
  }
  const stock = Object.fromEntries(products.map((product) => [product.id, product.stock]));
  for (const button of document.querySelectorAll("[data-within]")) button.disabled = stock.lamp === 0;
  byId("place-1000").disabled = stock.ticket === 0;
  byId("place-1000").textContent =
    stock.ticket === 0 ? "Sold out" : `Place ${number.format(Math.min(1000, stock.ticket))} orders`;

  for (const status of Object.keys(MARKS)) {
    byId(`count-${status}`).textContent = number.format(counts[status]);
  }
  rush = latest && { ...latest, payBy: Date.parse(latest.pay_by) };
  showLateness(lateness);
  showOrders(orders, counts);
  move();
}

function showLateness({ count, median_ms, max_ms, bars }) {
  byId("lateness-none").hidden = count > 0;
  byId("lateness-some").hidden = count === 0;
  if (count === 0) return;
  byId("median-lateness").textContent = span(median_ms);
  byId("max-lateness").textContent = span(max_ms);
  byId("lateness-count").textContent = number.format(count);
  const list = byId("bars");
  while (list.children.length < bars.length) {
    const item = document.createElement("li");
    for (const name of ["count", "bar", "to"]) {
      item.append(Object.assign(document.createElement("span"), { className: name }));
    }
    list.append(item);
  }
  const most = Math.max(...bars.map((bar) => bar.count));
  bars.forEach((bar, index) => {
    const [count, column, to] = list.children[index].children;
    const before = bars[index - 1]?.to_ms;
    count.textContent = bar.count ? number.format(bar.count) : "";
    column.style.height = `${(bar.count / most) * 4.25}rem`;
    column.classList.toggle("empty-bar", bar.count === 0);
    to.textContent = bar.to_ms === null ? "more" : bar.to_ms;
    list.children[index].title = bar.to_ms === null
      ? `${bar.count} orders more than ${span(before)} late`
      : `${bar.count} orders up to ${span(bar.to_ms)} late`;
  });
}

function showOrders(orders, counts) {
  const list = byId("orders");
  const shown = new Set(orders.map((order) => order.id));
  for (const [id, row] of rows) {
    if (!shown.has(id)) {
      row.element.remove();
      rows.delete(id);
    }
  }
  let place = list.firstElementChild;
  for (const order of orders) {
    let row = rows.get(order.id);
    if (row === undefined) {
      row = newRow(order);
      rows.set(order.id, row);
    } else if (row.order.status !== order.status && !order.is_rush) {
      byId("news").textContent = `Order ${order.id}: ${fate(order)}`;
    }
    showOrder(row, order);
    // Elements are moved only when their order has changed, so that focus and animations stay.
    if (row.element === place) place = place.nextElementSibling;
    else list.insertBefore(row.element, place);
  }
  const all = Object.keys(MARKS).reduce((sum, status) => sum + counts[status], 0);
  byId("no-orders").hidden = all > 0;
  byId("orders-note").textContent =
    all > orders.length ? `the latest ${orders.length} of ${number.format(all)}` : "";
  isFirst = false;
}

function newRow(order) {
  const element = byId("order").content.firstElementChild.cloneNode(true);
  element.dataset.order = order.id;
  element.querySelector(".name b").textContent = `Order ${order.id}`;
  element.querySelector(".name span").textContent = `${order.product} · ${money.format(order.price_cents / 100)}`;
  // Only what is new arrives; what changes its place does not.
  if (!isFirst) element.classList.add("new");
  element.addEventListener("animationend", () => element.classList.remove("new"));
  const part = (name) => element.querySelector(`.${name}`);
  part("pay").setAttribute("aria-label", `Pay order ${order.id}`);
  part("more-time").setAttribute("aria-label", `One more minute for order ${order.id}`);
  part("cancel").setAttribute("aria-label", `Cancel order ${order.id}`);
  return {
    element,
    parts: Object.fromEntries(
      ["hand", "mark", "remaining", "fate", "pay", "more-time", "cancel"].map((name) => [name, part(name)]),
    ),
  };
}

function showOrder(row, order) {
  const isSame = row.order && row.order.status === order.status && row.order.pay_by === order.pay_by;
  row.order = order;
  row.payBy = Date.parse(order.pay_by);
  row.createdAt = Date.parse(order.created_at);
  if (isSame) return;
  const isOpen = order.status === "unpaid";
  const { parts, element } = row;
  element.dataset.status = order.status;
  if (order.late_ms !== null) element.dataset.lateMs = order.late_ms;
  parts.mark.textContent = MARKS[order.status];
  parts.fate.textContent = fate(order);
  parts.remaining.hidden = !isOpen;
  parts.pay.hidden = !(isOpen || (order.status === "cancelled" && !order.is_rush));
  parts.pay.textContent = isOpen ? "Pay" : "Pay all the same";
  parts.pay.className = isOpen ? "pay" : "pay quiet";
  parts["more-time"].hidden = !isOpen;
  parts.cancel.hidden = !isOpen;
  if (!isOpen) delete element.dataset.hurry;
}

/** How an order stands or ended, in words. */
function fate(order) {
  const early = Date.parse(order.pay_by) - Date.parse(order.ended_at);
  switch (order.status) {
    case "unpaid": return `to be paid by ${clock.format(Date.parse(order.pay_by))}`;
    case "paid": return early >= 0 ? `Paid, ${span(early)} before its time` : "Paid";
    case "cancelled": return `Cancelled by Duly, ${span(order.late_ms)} after its time`;
    case "cancelled_by_customer": return "Cancelled by the customer";
    case "refunded": return "Paid after it was cancelled; refunded";
    default: return order.status;
  }
}

/** A length of time as people read it: 3 ms, 4.2 s, 12 min. */
function span(ms) {
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min`;
  return `${(ms / 3_600_000).toFixed(1)} h`;
}

/** What a countdown shows: 9.4, 0:42, 29:59, 1:02:03. Never less than there is. */
function countdown(ms) {
  if (ms < HURRY_MS && !calm.matches) return (Math.max(0, Math.ceil(ms / 100)) / 10).toFixed(1);
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const two = (value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

// Counting down

/** Moves what moves; cheap, because only open orders do. */
function move() {
  const now = serverNow();
  for (const { order, payBy, createdAt, parts, element } of rows.values()) {
    if (order.status !== "unpaid") continue;
    const left = payBy - now;
    const text = countdown(left);
    if (parts.remaining.textContent !== text) parts.remaining.textContent = text;
    const part = Math.max(0, Math.min(1, left / (payBy - createdAt)));
    parts.hand.style.strokeDashoffset = String(100 - part * 100);
    if (left < HURRY_MS) element.dataset.hurry = "";
    else delete element.dataset.hurry;
  }
  if (rush) moveRush(rush.payBy - now);
}

function moveRush(left) {
  const [figure, words] = rushInWords(left);
  byId("rush").hidden = false;
  byId("rush").classList.toggle("over", rush.unpaid === 0);
  byId("rush-number").textContent = figure;
  byId("rush-words").textContent = words;
  byId("rush-level").style.width = `${(rush.unpaid / rush.placed) * 100}%`;
}

function rushInWords(left) {
  if (rush.unpaid > 0) {
    const rest = `${countdown(left)}${left < HURRY_MS && !calm.matches ? " s" : ""}`;
    return [number.format(rush.unpaid), left > 0 ? `unpaid, due in ${rest}` : "still to be cancelled"];
  }
  if (rush.cancelled === 0) return [number.format(rush.placed), "ended before their time"];
  return [number.format(rush.cancelled), `cancelled, the last ${span(rush.max_ms)} after their time`];
}

let lastMove = 0;

function frame(time) {
  if (time - lastMove >= (calm.matches ? 1000 : 50)) {
    lastMove = time;
    move();
  }
  requestAnimationFrame(frame);
}

// Listening

for (const button of document.querySelectorAll("[data-within]")) {
  button.addEventListener("click", async () => {
    await tell("orders", { within: button.dataset.within });
    // On a phone the orders are further down.
    const below = byId("orders").getBoundingClientRect().top > innerHeight - 80;
    if (below) byId("orders-title").scrollIntoView({ behavior: calm.matches ? "auto" : "smooth" });
  });
}
byId("place-1000").addEventListener("click", async ({ currentTarget: button }) => {
  button.disabled = true;
  await tell("rush");
});
byId("orders").addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  const id = target.closest("[data-order]")?.dataset.order;
  if (!button || !id) return;
  for (const name of ["pay", "more-time", "cancel"]) {
    if (button.classList.contains(name)) tell(`orders/${id}/${name}`);
  }
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else look();
});

requestAnimationFrame(frame);
look();
