// A customer of `examples/shop-php` in headless Chromium, for `tests/shop.py`.
//
//   node shop.mjs CHROMIUM URL FOLDER-FOR-SCREENSHOTS visit
//   node shop.mjs CHROMIUM URL FOLDER-FOR-SCREENSHOTS stay
//   node shop.mjs CHROMIUM URL FOLDER-FOR-SCREENSHOTS return ORDERS
//
// `visit` places orders: one is paid, one is declined, one is left to a slow bank; then the browser is
// closed. `stay` keeps an order's page open to its end. `return` comes back when all is over. Writes one
// JSON line per thing it looked at, {what, good, seen}, and `visit` at its end {orders}. It waits for what
// a page shows, never for a length of time, and talks to loopback only.

import { chromium } from "playwright-core";

const [executablePath, url, folder, part, given] = process.argv.slice(2);
const tell = (what, good, seen) => console.log(JSON.stringify({ what, good: Boolean(good), seen }));

const browser = await chromium.launch({
  executablePath,
  headless: true,
  args: [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const page = await browser.newPage({ viewport: { width: 1100, height: 800 } });
page.setDefaultTimeout(90_000);
const [errors, strangers] = [[], []];
page.on("pageerror", (error) => errors.push(String(error)));
// Whoever stays is there when php-fpm is away: the page's questions are not answered then.
if (part !== "stay") page.on("console", (said) => said.type() === "error" && errors.push(said.text()));
page.on("request", (request) => {
  if (!request.url().startsWith(url) && !request.url().startsWith("data:")) strangers.push(request.url());
});

/** Every page is looked at wide and narrow, light and dark. */
async function picture(name) {
  for (const [size, width] of [["wide", 1100], ["narrow", 390]]) {
    await page.setViewportSize({ width, height: 800 });
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.screenshot({ path: `${folder}/${name}-${size}-${colorScheme}.png`, fullPage: true });
    }
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    tell(`${name} fits a ${size} screen`, over <= 0, over);
  }
  await page.setViewportSize({ width: 1100, height: 800 });
  await page.emulateMedia({ colorScheme: "light" });
}

const stock = async () => {
  await page.goto(url);
  return Number(await page.locator("#stock").getAttribute("data-stock"));
};
const isAt = (place) => page.waitForURL(`${url}${place}`);
const status = (wanted) => page.waitForSelector(`#order[data-status=${wanted}]`);

async function place() {
  await page.goto(url);
  await page.click("#place");
  await status("unpaid");
  return Number(await page.locator("#order").getAttribute("data-order"));
}

async function toProvider(order) {
  await page.click("#pay");
  await page.waitForSelector("#session[data-state=open]");
  tell(`order ${order} goes to the provider`, page.url().includes("/provider/"), page.url());
  return page.url();
}

const seconds = async () => {
  const [minute, second] = (await page.innerText(".clock")).split(":").map(Number);
  return minute * 60 + second;
};

async function visit() {
  const before = await stock();
  await picture("product");
  const declined = await place();
  tell("what is ordered is not on the shelf", (await stock()) === before - 1, before);
  await page.goto(`${url}/orders/${declined}`);
  const declinedAt = await toProvider(declined);
  await page.click("#decline");
  await page.waitForSelector("#declined");
  tell("a declined card can be tried again", await page.isVisible("#card"));

  const late = await place();
  const lateAt = await toProvider(late);
  await picture("provider");
  await page.click("#send");
  await page.waitForSelector("#under-way");
  tell("a bank transfer is under way", true);

  const paid = await place();
  await page.waitForFunction(() => /\d:\d\d$/.test(document.querySelector(".clock").innerText));
  const first = await seconds();
  await page.waitForFunction((was) => {
    const [minute, second] = document.querySelector(".clock").innerText.split(":").map(Number);
    return minute * 60 + second < was;
  }, first);
  tell("an order counts down", first > 0, first);
  await picture("unpaid");
  await toProvider(paid);
  await page.click("#card");
  await status("paid");
  tell("it is paid in time", true, page.url());
  await picture("paid");

  await page.goto(`${url}/shopkeeper`);
  tell("the keeper sees them", (await page.locator("tr[data-order]").count()) >= 3);
  console.log(JSON.stringify({ orders: { declined, declinedAt, late, lateAt, paid } }));
}

async function stay() {
  const order = await place();
  tell("an unpaid order's page stays open", true, order);
  await status("cancelled");
  tell("it shows the cancellation by itself", true, page.url());
}

async function comeBack({ declined, declinedAt, late, lateAt, paid, ends }) {
  await page.goto(`${url}/orders/${declined}`);
  await status("cancelled");
  const lateMs = Number(await page.locator("#late").getAttribute("data-late-ms"));
  tell("an order nobody paid was cancelled, and not early", lateMs >= 0, lateMs);
  tell("it cannot be paid any more", !(await page.isVisible("#pay")));
  await picture("cancelled");
  if (ends) {
    await page.goto(declinedAt);
    tell("its payment was ended", await page.isVisible("#ended"));
    await picture("ended");
  }
  await page.goto(lateAt);
  await picture("under-way");
  await page.click("#arrive");
  await isAt(`/orders/${late}`);
  await status("cancelled");
  tell("money that came too late was given back", await page.isVisible("#refunded"));
  await picture("refunded");
  await page.goto(`${url}/orders/${paid}`);
  await status("paid");
  tell("the paid one stays paid", !(await page.isVisible("#refunded")));
  await page.goto(`${url}/shopkeeper`);
  await picture("shopkeeper");}

try {
  if (part === "visit") await visit();
  else if (part === "stay") await stay();
  else await comeBack(JSON.parse(given));
  tell("no script failed", errors.length === 0, errors.join("; "));
  tell("nothing was fetched from elsewhere", strangers.length === 0, strangers.join(" "));
} catch (error) {
  tell("the browser's script ran to its end", false, `${String(error).slice(0, 1000)} ${errors.join("; ")}`);
} finally {
  await browser.close();
}
