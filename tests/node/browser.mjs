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

  const order = async (seconds) => {
    const before = await page.locator("[data-order]").count();
    await page.fill("#seconds", String(seconds));
    await page.click("#place");
    await page.waitForFunction(
      (count) => document.querySelectorAll("[data-order]").length > count,
      before,
    );
    return page.locator("[data-order]").first().getAttribute("data-order");
  };
  const state = (id, wanted) =>
    page.waitForFunction(
      ([order, text]) =>
        document.querySelector(`[data-order="${order}"]`)?.dataset.state === text,
      [id, wanted],
    );

  const paid = await order(10);
  await state(paid, "pending");
  tell("an order waits for its payment", true);
  await page.click(`[data-order="${paid}"] [data-act="pay"]`);
  await state(paid, "settled");
  tell("a paid order is settled", true);
  await page.screenshot({ path: `${folder}/2-paid.png`, fullPage: true });

  const lapsing = await order(3);
  await state(lapsing, "pending");
  await page.screenshot({ path: `${folder}/3-waiting.png`, fullPage: true });
  await state(lapsing, "lapsed");
  tell("an unpaid order is cancelled", true);
  await page.screenshot({ path: `${folder}/4-lapsed.png`, fullPage: true });
  const still = await page.locator(`[data-order="${paid}"]`).getAttribute("data-state");
  tell("the paid one stays paid", still === "settled", still);

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
