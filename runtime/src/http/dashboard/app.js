// The dashboard: which page is shown, and when it is drawn anew.

import { follow, get, leave, session } from "./api.js";
import { button, h, say } from "./dom.js";
import * as dead from "./pages/dead.js";
import * as doctor from "./pages/doctor.js";
import * as events from "./pages/events.js";
import * as host from "./pages/host.js";
import * as map from "./pages/map.js";
import * as plugin from "./pages/plugin.js";
import * as plugins from "./pages/plugins.js";
import { signIn } from "./pages/sign_in.js";
import * as trace from "./pages/trace.js";

// A page answers what it shows, for the parts of the address behind its name. `live` ones are drawn anew as events come.
const PAGES = { map, plugins, plugin, events, trace, dead, doctor, host };

const main = document.getElementById("main");
const live = document.getElementById("live");
const who = document.getElementById("who");
let shown = null; // The page, its arguments, and what ends what it has asked for.
let stale = false;
const recent = [];
let stream = new AbortController(); // Ends the stream of events.
let entered = () => {}; // Called when somebody has signed in.

function address() {
  const [name = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  return PAGES[name] ? { name, rest } : { name: "map", rest: [] };
}

async function open() {
  shown?.ends.abort();
  const { name, rest } = address();
  shown = { page: PAGES[name], name, rest, ends: new AbortController(), busy: false };
  for (const item of document.querySelectorAll("nav a")) {
    const own = item.getAttribute("href").slice(2);
    const current = own === name || (own === "plugins" && name === "plugin") || (own === "events" && name === "trace");
    if (current) item.setAttribute("aria-current", "page"); else item.removeAttribute("aria-current");
  }
  main.replaceChildren(h("p", { class: "soft" }, "…"));
  await draw();
  if (!isAsked()) main.focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

/** Draw the page anew, if `may` still says so when what it shows has come: somebody may have begun something meanwhile. */
async function draw(may = () => !confirms()) {
  const { page, rest, ends } = shown;
  const drawn = shown;
  if (drawn.busy) { stale = true; return; }
  drawn.busy = true;
  stale = false;
  try {
    const [title, ...content] = await page.show(rest, { signal: ends.signal, again: draw, recent });
    if (drawn !== shown) return;
    if (!may()) { stale = true; return; }
    document.title = `${title} · nerve`;
    keepFocus(() => main.replaceChildren(h("h2", {}, title), ...content.flat(Infinity).filter(Boolean)));
  } catch (cause) {
    if (drawn !== shown || cause.name === "AbortError") return;
    if (cause.status === 401) { askWho(); return; }
    main.replaceChildren(h("h2", {}, "This can't be shown"), h("p", { class: "bad" }, cause.message));
  } finally {
    drawn.busy = false;
  }
}

const isAsked = () => main.querySelector("#token") !== null;

/** The host asks who one is; what is typed already stays. */
function askWho() {
  who.replaceChildren();
  if (isAsked()) return;
  document.title = "Sign in · nerve";
  main.replaceChildren(...signIn(() => { tell(); entered(); open(); }));
  main.querySelector("#token").focus();
}

/** Say who one is, where the host asked. */
async function tell() {
  const { name, scopes } = await session().catch(() => ({ scopes: null }));
  if (scopes === null) { who.replaceChildren(); return; }
  const out = button("Sign out", `Sign out ${name}`, async () => {
    await leave();
    stream.abort();
    await open();
  });
  who.replaceChildren(h("span", { title: scopes.join(", ") }, name), " ", out);
}

/** Who uses the keyboard stays where they are when a page is drawn anew, and so does what they typed. */
function keepFocus(change) {
  const active = document.activeElement;
  const focused = main.contains(active) && active !== main ? active : null;
  // By its name, not by its place: what comes or goes above must not put somebody's finger on another button.
  const name = (one) => `${one.tagName} ${one.id} ${one.dataset.name ?? one.getAttribute("aria-label") ?? one.textContent} ${one.getAttribute("href") ?? ""}`;
  const controls = () => [...main.querySelectorAll("a, button, input, select, summary, [tabindex]")];
  const wanted = focused ? name(focused) : null;
  const nth = focused ? controls().filter((one) => name(one) === wanted).indexOf(focused) : -1;
  const opened = new Set([...main.querySelectorAll("details[open]")].map((one) => one.dataset.name));
  const scrolled = [...main.querySelectorAll(".drawing, .table, .tree-box")].map((one) => [one.scrollLeft, one.scrollTop]);
  change();
  for (const one of main.querySelectorAll("details")) one.open ||= opened.has(one.dataset.name);
  [...main.querySelectorAll(".drawing, .table, .tree-box")].forEach((one, n) => scrolled[n] && one.scrollTo(...scrolled[n]));
  if (focused) controls().filter((one) => name(one) === wanted)[nth]?.focus({ preventScroll: true });
}

/** Whether somebody has pressed a button that asks once more, and has not answered it. */
const confirms = () => main.querySelector("button.sure:not([aria-busy])") !== null;

/** Nobody is interrupted who is typing, about to confirm something, or waits for what a button does. */
function mayDraw() {
  const active = document.activeElement;
  return shown?.page.live && !document.hidden && !confirms() && !main.querySelector("button[aria-busy]")
    && !(active && ["INPUT", "SELECT"].includes(active.tagName));
}

async function listen() {
  let after = null;
  for (;;) {
    try {
      if (after === null) after = (await get("/v1/log")).last;
      live.textContent = "live";
      live.classList.remove("off");
      stream = new AbortController();
      await follow(after, (logged) => {
        after = logged.offset;
        recent.unshift(logged);
        recent.length = Math.min(recent.length, 200);
        stale = true;
      }, stream.signal);
    } catch (cause) {
      if ([401, 403].includes(cause.status)) {
        live.textContent = cause.status === 401 ? "signed out" : "not allowed to follow";
        live.classList.add("off");
        await new Promise((resolve) => { entered = resolve; });
        continue;
      }
      if (cause.name === "AbortError") continue;
      live.textContent = "the host does not answer; trying again";
      live.classList.add("off");
      if (cause.status === 410) after = null;
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}

addEventListener("hashchange", open);
addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  if (event.reason?.name !== "AbortError") say(event.reason?.message ?? "something failed", true);
});
document.addEventListener("visibilitychange", () => { stale = true; });
// Events come faster than anybody reads: once a second is live enough, and what no event tells is looked at now and then.
setInterval(() => { if (stale && mayDraw()) draw(mayDraw); }, 1000);
setInterval(() => { stale = true; }, 5000);
tell();
open();
listen();
