// Drives the demo shop in headless Chromium, for `tests/browser.py`.
//
//   node browser.mjs CHROMIUM URL FOLDER-FOR-SCREENSHOTS
//
// Writes one JSON line per thing it looked at: {what, good, seen}. It waits for what the page shows,
// never for a length of time, and talks to loopback only.

import { chromium } from "playwright-core";

const [executablePath, url, folder] = process.argv.slice(2);
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
try {
  const page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
  const errors = [];
  const strangers = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (said) => said.type() === "error" && errors.push(said.text()));
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) {
      strangers.push(request.url());
    }
  });
  page.setDefaultTimeout(30_000);
  const answer = await page.goto(`${url}/demo`);
  tell("the shop opens", answer.status() === 200, answer.status());
  tell("it has a title", await page.title(), await page.title());
  await page.screenshot({ path: `${folder}/1-shop.png`, fullPage: true });

  const order = async (button) => {
    const known = await page.locator("#orders > [data-order]").count();
    await page.click(button);
    await page.waitForFunction(
      (count) => document.querySelectorAll("#orders > [data-order]").length > count,
      known,
    );
    const ids = await page
      .locator("#orders > [data-order]")
      .evaluateAll((rows) => rows.map((row) => Number(row.dataset.order)));
    return Math.max(...ids);
  };
  const row = (id) => `#orders > [data-order="${id}"]`;
  const status = async (id, wanted) => {
    await page.waitForSelector(`${row(id)}[data-status="${wanted}"]`);
    return page.locator(row(id)).innerText();
  };

  const paid = await order("#place-10s");
  await status(paid, "unpaid");
  const left = await page.locator(`${row(paid)} .remaining`).innerText();
  tell("an order counts down to its end", /\d/.test(left), left);
  await page.screenshot({ path: `${folder}/2-unpaid.png`, fullPage: true });
  await page.click(`${row(paid)} .pay`);
  tell("it is paid in time", true, await status(paid, "paid"));
  await page.screenshot({ path: `${folder}/3-paid.png`, fullPage: true });

  const late = await order("#place-10s");
  await status(late, "unpaid");
  tell("an unpaid one is cancelled when its time is over", true, await status(late, "cancelled"));
  const lateMs = Number(await page.locator(row(late)).getAttribute("data-late-ms"));
  tell("and never before", lateMs >= 0, lateMs);
  tell("the paid one stays paid", await status(paid, "paid"), "");
  tell("one of each is counted", (await page.innerText("#count-paid")) === "1"
    && (await page.innerText("#count-cancelled")) === "1", await page.innerText(".counts"));
  await page.screenshot({ path: `${folder}/4-cancelled.png`, fullPage: true });
  await page.click(`${row(late)} .pay`);
  tell("who pays all the same is refunded", true, await status(late, "refunded"));

  const dark = await browser.newPage({ viewport: { width: 420, height: 900 }, colorScheme: "dark" });
  await dark.goto(`${url}/demo`);
  await dark.screenshot({ path: `${folder}/5-small-and-dark.png`, fullPage: true });
  const wide = await dark.evaluate(() => document.documentElement.scrollWidth > innerWidth + 1);
  tell("it fits a small screen", !wide);
  tell("no script failed", errors.length === 0, errors.join("; "));
  tell("nothing was fetched from elsewhere", strangers.length === 0, strangers.join(" "));
} catch (error) {
  tell("the browser's script ran to its end", false, String(error).slice(0, 1000));
} finally {
  await browser.close();
}
