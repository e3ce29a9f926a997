// Events as they come.

import { get, path } from "../api.js";
import { ago, count, h, link, table } from "../dom.js";

export const live = true;
let wanted = "";
// How far back the last look had to go, so that the next one, a second later, begins there.
let span = 200;

export async function show(_, { signal, again }) {
  const { last } = await get("/v1/log", signal);
  // The newest are at the end: look further back where few of the records are events.
  let events = [];
  for (;;) {
    const after = Math.max(0, last - span);
    events = await newest(after, signal);
    if (after === 0 || span > 50000 || events.length >= 100) break;
    span *= 8;
  }
  if (events.length > 1000) span = Math.max(200, Math.ceil(span / 8));
  const search = h("input", { type: "search", id: "wanted", value: wanted, size: 24, placeholder: "order.> or *.placed", change: (event) => { wanted = event.target.value; span = 200; } });
  const find = h("input", { type: "search", id: "find", size: 24, placeholder: "id, or @offset" });
  return [
    "Events",
    h("form", { role: "search", submit: (event) => { event.preventDefault(); wanted = search.value; again(); } },
      h("label", { for: "wanted" }, "Type"), search, h("button", {}, "Show")),
    h("form", { role: "search", submit: (event) => { event.preventDefault(); if (find.value) location.hash = `#/trace/${encodeURIComponent(find.value)}`; } },
      h("label", { for: "find" }, "Trace an event"), find, h("button", {}, "Trace")),
    table(`The newest ${count(Math.min(events.length, 100))}, newest first`, [
      ["Offset", (one) => link(`@${one.offset}`, "trace", `@${one.offset}`), "number"],
      ["When", (one) => ago(one.recorded)],
      ["Type", (one) => one.event.type],
      ["Key", (one) => one.event.partitionkey ?? ""],
      ["Source", (one) => one.event.source],
      ["Data", (one) => h("code", {}, short(one.event))],
    ], events.slice(-100).reverse(), "No event yet: nerve publish user.registered '{\"user\":\"ann\"}'"),
  ];
}

async function newest(after, signal) {
  const found = [];
  for (let from = after; ;) {
    const page = await get(path(["/v1/events"], { after: from, limit: 1000, type: wanted }), signal);
    found.push(...page.events);
    if (page.next >= page.last || page.next === from) return found;
    from = page.next;
  }
}

/** Its data in a line. */
export function short(event) {
  const text = event.data === undefined ? (event.data_base64 ? `${event.data_base64.length} base64` : "") : JSON.stringify(event.data);
  return text.length > 140 ? `${text.slice(0, 140)}…` : text;
}
