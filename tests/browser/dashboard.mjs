// The dashboard in a real browser, against the host at argv[2]; screenshots go to the folder argv[3], and the package that
// drives the browser at argv[5] lies below argv[4]. Ends with 1 and says why where something is not as it should be.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [, , base, shots, modules, browserPath] = process.argv;
const { chromium } = createRequire(`${modules}/`)("playwright-core");

const PAGES = ["map", "map/plugin/orders", "plugins", "plugin/orders", "events", "trace/buy-ann", "dead", "doctor", "host"];
const VIEWS = {
  large: { viewport: { width: 1280, height: 900 }, colorScheme: "light" },
  small: { viewport: { width: 360, height: 740 }, colorScheme: "dark" },
};

const trouble = [];
const browser = await chromium.launch({ executablePath: browserPath, args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });

/** A page that remembers what went wrong on it, and whom it asked. */
async function open(view) {
  const page = await (await browser.newContext(VIEWS[view])).newPage();
  page.setDefaultTimeout(60_000);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && trouble.push(`${view}: ${message.text()}`));
  page.on("pageerror", (error) => trouble.push(`${view}: ${error}`));
  page.on("request", (request) => !/^(data:|blob:)/.test(request.url()) && !request.url().startsWith(base) && trouble.push(`${view}: it asks ${request.url()}`));
  return page;
}

async function go(page, hash) {
  await page.goto(`${base}/#/${hash}`);
  await page.waitForFunction((hash) => location.hash === `#/${hash}` && document.querySelector("main h2"), hash);
}

const title = (page) => page.textContent("main h2");

// Each page, on a large window in the light and on a small one in the dark.
for (const view of Object.keys(VIEWS)) {
  const page = await open(view);
  for (const hash of PAGES) {
    await go(page, hash);
    const where = `${view} ${hash}`;
    assert.notEqual(await title(page), "This can't be shown", where);
    await page.waitForFunction(() => document.getElementById("live").textContent === "live");
    const found = await page.evaluate(() => {
      const named = (one) => one.getAttribute("aria-label") || one.textContent.trim() || (one.id && document.querySelector(`label[for="${one.id}"]`)?.textContent);
      return {
        tooWide: document.documentElement.scrollWidth - innerWidth,
        nameless: [...document.querySelectorAll("a, button, input, select, summary, svg, [role=region]")].filter((one) => !named(one)).map((one) => one.outerHTML),
        current: document.querySelectorAll("nav [aria-current]").length,
        ground: getComputedStyle(document.body).backgroundColor,
      };
    });
    assert.equal(found.tooWide > 0, false, `${where} is ${found.tooWide} pixels too wide`);
    assert.deepEqual(found.nameless, [], `${where}: everything has a name`);
    assert.equal(found.current, 1, `${where}: one page is the current one`);
    assert.equal(found.ground === "rgb(255, 255, 255)", view === "large", `${where} follows the colours of the system`);
    await page.screenshot({ path: `${shots}/${view}-${hash.replaceAll("/", "-")}.png`, fullPage: true });
  }
  await page.context().close();
}

const page = await open("large");

// The trace shows the whole way, and what a plugin was given is text.
await go(page, "trace/buy-ann");
const tree = await page.textContent(".tree");
for (const name of ["carts", "order.placed", "orders", "payment.wanted", "payments", "shipping", "parcel.sent"]) assert.ok(tree.includes(name), `the trace has ${name}`);
assert.ok(await page.locator(".tree .slow").count() > 3, "the slow way is marked");

// Without a pointer: the focus goes to a button, and Enter presses it.
await go(page, "plugin/analytics");
for (let n = 0; (await page.evaluate(() => document.activeElement.textContent)) !== "Pause"; n += 1) {
  assert.ok(n < 40, "the button can be reached by the keyboard");
  await page.keyboard.press("Tab");
}
await page.keyboard.press("Enter");
await page.getByRole("button", { name: "Resume analytics" }).waitFor();
await page.keyboard.press("Enter");
await page.getByRole("button", { name: "Pause analytics" }).waitFor();

// A dead letter is tried again; dropping it takes a second word. What it holds is no markup.
await go(page, "dead");
const letters = () => page.locator("main tbody tr").count();
assert.equal(await letters(), 2);
assert.equal(await page.locator("main img").count(), 0, "what an event holds is text");
await page.getByRole("button", { name: /^Retry event \d+ of carts$/ }).first().click();
await page.getByText("is delivered again").waitFor();
await page.waitForFunction(() => document.querySelectorAll("main tbody tr").length === 2 && !document.body.textContent.includes("on its way"));
// What was asked for before the first word and comes after it takes the second one from nobody.
const held = await new Promise((asked) => page.route("**/v1/dead-letters*", asked, { times: 1 }));
const drop = page.locator("main tbody tr").first().getByRole("button", { name: /event \d+ of carts$/ }).last();
await drop.click();
const late = page.waitForResponse((answer) => answer.url().includes("/v1/dead-letters"));
await held.continue();
await (await late).finished();
await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
assert.equal(await letters(), 2, "nothing is dropped at the first word");
assert.equal(await page.getByRole("button", { name: /^Really drop/ }).count(), 1, "it still asks for the second word");
await page.getByRole("button", { name: /^Really drop/ }).click();
await page.waitForFunction(() => document.querySelectorAll("main tbody tr").length === 1);

// A version goes back.
await go(page, "plugin/shipping");
await page.getByRole("button", { name: /to version .* of shipping/ }).click();
await page.getByRole("button", { name: /^Really roll back/ }).click();
await page.getByText(/by operator/).first().waitFor();

// Events come by themselves, also to somebody who only looks.
await go(page, "events");
const answer = await fetch(`${base}/v1/events`, {
  method: "POST",
  headers: { "content-type": "application/cloudevents+json" },
  body: JSON.stringify({ specversion: "1.0", id: "late", source: "test", type: "just.now", data: { text: "<img src=x onerror=alert(1)>" } }),
});
assert.equal(answer.status, 200);
await page.getByText("just.now").waitFor();
assert.equal(await page.locator("main img").count(), 0);

// 500 plugins and 2,000 types: no picture, but lists that can be searched.
const many = {
  at: "2026-01-01T00:00:00Z", since: null, through: 1, missed: 0, beyond: 0, of: { plugins: 500, types: 2000 },
  plugins: Array.from({ length: 500 }, (_, n) => ({ name: `plugin-${n}`, status: "live", subscriptions: [`type.t${n}`], emits: [], lag: 0, dead_letters: 0, attempts: n, retries: 0, dead: 0, per_minute: 1, mean_us: 100 })),
  types: Array.from({ length: 2000 }, (_, n) => ({ name: `type.t${n}`, events: n, per_minute: 1, last: null, emitted_by: [{ plugin: null, declared: true, events: n, per_minute: 1, last: null }], consumed_by: [{ plugin: `plugin-${n % 500}`, pattern: null, attempts: 1, retries: 0, dead: 0, per_minute: 1, mean_us: 1, last: null }] })),
  findings: { nobody_consumes: [], nobody_emits: [], undeclared: [], cycles: [], older: [] },
};
await page.route("**/v1/map*", (route) => route.fulfill({ json: many }));
await go(page, "map");
await page.getByText("too much for a picture").waitFor();
const rows = () => page.locator("main tbody tr").count();
assert.ok(await rows() <= 600, "a page holds so many rows at most");
await page.getByLabel("Type or plugin").fill("plugin-417");
await page.waitForFunction(() => document.querySelectorAll("main tbody tr").length === 5);
await page.screenshot({ path: `${shots}/large-map-of-many.png` });

await browser.close();
assert.deepEqual(trouble, [], "nothing went wrong in any page");
console.log("every page is as it should be");
