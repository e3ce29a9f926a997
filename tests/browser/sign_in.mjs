// Signing in to the dashboard of the host at argv[2], by the keyboard; further arguments as for dashboard.mjs. Two tokens are in the
// environment: ann's is for everything that is tried here, guest's only to look.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const [, , base, shots, modules, browserPath] = process.argv;
const { NERVE_TEST_ANN: ann, NERVE_TEST_GUEST: guest } = process.env;
const { chromium } = createRequire(`${modules}/`)("playwright-core");

const trouble = [];
const browser = await chromium.launch({ executablePath: browserPath, args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });
const context = await browser.newContext({ viewport: { width: 360, height: 740 } });
const page = await context.newPage();
page.setDefaultTimeout(60_000);
// The browser tells of every refusal, and those are what is tried here.
page.on("console", (message) => ["error", "warning"].includes(message.type()) && !/status of 40[13]/.test(message.text()) && trouble.push(message.text()));
page.on("pageerror", (error) => trouble.push(`${error}`));
page.on("request", (request) => [ann, guest].some((token) => request.url().includes(token)) && trouble.push(`a token is in ${request.url()}`));

const status = async (token) => (await (await fetch(`${base}/v1/plugins/counter`, { headers: { authorization: `Bearer ${token}` } })).json()).status;
const signIn = async (token) => {
  await page.waitForFunction(() => document.activeElement?.id === "token");
  await page.keyboard.type(token);
  await page.keyboard.press("Enter");
};

// Who has no token is asked for one, wherever they wanted to go; a wrong one lets in nobody.
await page.goto(`${base}/#/plugin/counter`);
await page.getByRole("heading", { name: "Sign in" }).waitFor();
await page.getByRole("textbox", { name: "Token" }).or(page.getByLabel("Token")).first().waitFor();
await page.screenshot({ path: `${shots}/sign-in.png`, fullPage: true });
assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
await signIn(`nrv_${"0".repeat(64)}`);
await page.getByText("none of this host's").waitFor();

// Who has one gets there, and sees it live; no script finds the token or the session, and no address has them.
await signIn(ann);
await page.getByRole("button", { name: "Pause counter" }).waitFor();
await page.getByRole("button", { name: "Sign out ann" }).waitFor();
await page.waitForFunction(() => document.getElementById("live").textContent === "live");
const kept = await page.evaluate(() => [document.cookie, JSON.stringify({ ...localStorage, ...sessionStorage }), location.href]);
assert.deepEqual(kept, ["", "{}", `${base}/#/plugin/counter`]);
const [cookie] = await context.cookies(`${base}/v1/session`);
assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, "Strict", "/v1"]);
assert.equal(cookie.value.includes(ann.slice(4)), false, "the cookie is not the token");
await page.reload();
await page.getByRole("button", { name: "Pause counter" }).focus();
await page.keyboard.press("Enter");
await page.getByRole("button", { name: "Resume counter" }).waitFor();
await page.keyboard.press("Enter");
await page.getByRole("button", { name: "Pause counter" }).waitFor();

// A page of another port of this machine is of the same site, so that the cookie goes with what it sends: nothing happens all the same.
const other = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<title>other</title>"));
await new Promise((resolve) => other.listen(0, "127.0.0.1", resolve));
const elsewhere = await context.newPage();
await elsewhere.goto(`http://127.0.0.1:${other.address().port}/`);
await elsewhere.evaluate((to) => fetch(to, { method: "POST", mode: "no-cors", credentials: "include" }), `${base}/v1/plugins/counter/pause`);
assert.equal(await status(ann), "live", "a page of another site pauses nothing");
await elsewhere.close();
other.close();

// Who only looks is told what is missing.
await page.getByRole("button", { name: "Sign out ann" }).click();
await signIn(guest);
await page.getByRole("button", { name: "Pause counter" }).click();
await page.getByText("the scope operate").waitFor();
assert.equal(await status(ann), "live");

// Who signs out is out.
const before = await context.cookies(`${base}/v1/session`);
await page.getByRole("button", { name: "Sign out guest" }).click();
await page.getByRole("heading", { name: "Sign in" }).waitFor();
assert.deepEqual(await context.cookies(`${base}/v1/session`), []);
const again = await fetch(`${base}/v1/session`, { headers: { cookie: `${before[0].name}=${before[0].value}` } });
assert.equal(again.status, 401, "the session is closed, whoever kept its cookie");

await browser.close();
assert.deepEqual(trouble, [], "nothing went wrong in any page");
console.log("who has a token is in, and nobody else");
