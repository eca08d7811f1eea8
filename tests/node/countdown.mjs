// Drives a page with <duly-countdown> in headless Chromium, for `tests/countdown.py`.
//
//   node countdown.mjs CHROMIUM URL
//
// Reads one JSON object a line, does it, and writes one: it looks at the page, or waits for what the page
// shows. The page's clock is set an hour ahead before any of its scripts run.

import readline from "node:readline";
import { chromium } from "playwright-core";

const [executablePath, url] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  headless: true,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-quic"],
});
const context = await browser.newContext();
await context.addInitScript(() => {
  const Right = Date;
  globalThis.Date = class extends Right {
    constructor(...args) {
      args.length ? super(...args) : super(Right.now() + 3_600_000);
    }
    static now() {
      return Right.now() + 3_600_000;
    }
  };
});
const page = await context.newPage();
page.setDefaultTimeout(60_000);
const errors = [];
page.on("pageerror", (error) => errors.push(String(error)));
await page.goto(url);

const seen = (id) =>
  page.evaluate((id) => {
    const element = document.getElementById(id);
    return {
      text: element.textContent,
      state: element.getAttribute("state"),
      role: element.getAttribute("role"),
      live: element.getAttribute("aria-live"),
    };
  }, id);

const deeds = {
  async look() {
    const elements = {};
    for (const id of ["one", "other", "void"]) elements[id] = await seen(id);
    return { elements, errors, heard: await page.evaluate(() => heard) };
  },
  async wrong() {
    const ahead = (await page.evaluate(() => Date.now())) - Date.now();
    return { minutes: ahead / 60_000 };
  },
  async wait({ id, state, text }) {
    await page.waitForFunction(
      ({ id, state, text }) => {
        const element = document.getElementById(id);
        const fits = text === null || element.textContent === text;
        return element.getAttribute("state") === state && fits;
      },
      { id, state, text: text ?? null },
    );
    return { seen: await seen(id) };
  },
  async longer({ id, than }) {
    await page.waitForFunction(
      ({ id, than }) => {
        const parts = document.getElementById(id).textContent.split(":").map(Number);
        return parts.reduce((total, part) => total * 60 + part, 0) > than;
      },
      { id, than },
    );
    return { seen: await seen(id) };
  },
  async offline({ offline }) {
    await context.setOffline(offline);
    return {};
  },
  async refused({ url }) {
    await page.waitForFunction((url) => fetch(url).then(() => false, () => true), url);
    return {};
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { do: deed, ...how } = JSON.parse(line);
  try {
    console.log(JSON.stringify(await deeds[deed](how)));
  } catch (error) {
    console.log(JSON.stringify({ failed: `${deed}: ${error}` }));
  }
}
await browser.close();
