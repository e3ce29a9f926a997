// The causal tree of an event: each event, each delivery of it, with times; the slowest way is marked.

import { get, path } from "../api.js";
import { ago, facts, h, link, micros } from "../dom.js";
import { short } from "./events.js";

export const live = true;

export async function show([id], { signal }) {
  const { root, truncated, slowest_us: took } = await get(path(["/v1/events", id, "trace"]), signal);
  const begun = at(root.recorded);
  const end = begun + Math.max(1, took);
  return [
    `Trace of ${root.event.type}`,
    facts([
      ["Event", h("code", {}, root.event.id)],
      ["Source", root.event.source],
      ["Key", root.event.partitionkey],
      ["Recorded", [ago(root.recorded), h("span", { class: "soft" }, ` ${root.recorded}`)]],
      ["Caused by", root.event.causationoffset && link(`@${root.event.causationoffset}`, "trace", `@${root.event.causationoffset}`)],
      ["From first to last", micros(took)],
    ]),
    truncated ? h("p", { class: "warn" }, "The tree has more than 10,000 events and deliveries: the rest is left out.") : null,
    h("div", { class: "tree-box", tabindex: "0", role: "region", "aria-label": "Causal tree" },
      h("ul", { class: "tree" }, event(root, { begun, end }))),
  ];
}

const at = (time) => Date.parse(time) * 1000 + Number((/\.\d{3}(\d{3})/.exec(time) ?? [0, 0])[1]);
const over = (delivery) => at(delivery.started) + delivery.took_us;

function event(node, scale) {
  const { event: shown } = node;
  return h("li", { class: node.slow ? "slow" : "" },
    h("div", { class: "what" }, link(`@${node.offset}`, "trace", `@${node.offset}`), " ", shown.type,
      shown.partitionkey ? h("span", { class: "soft" }, ` key ${shown.partitionkey}`) : null,
      h("span", { class: "soft" }, ` +${micros(at(node.recorded) - scale.begun)}`)),
    h("details", { "data-name": `data ${node.offset}` }, h("summary", {}, h("code", {}, short(shown))), h("pre", {}, JSON.stringify(shown, null, 2))),
    came(node).length > 0 ? h("ul", {}, came(node).map((one) => (one.what ? operated(one) : delivery(one, scale)))) : h("p", { class: "soft" }, "nobody consumes it"));
}

/** What became of an event, in its order: deliveries, and what operators did. */
const came = (node) => [...node.deliveries, ...node.operated].sort((a, b) => a.offset - b.offset);

function operated(one) {
  return h("li", {}, h("div", { class: "what" }, `${one.who ?? "an operator"} ${one.what} it in `, link(one.plugin, "plugin", one.plugin), " ", h("span", { class: "soft" }, ago(one.at))));
}

const KINDS = { done: "good", retry: "warn", dead: "bad" };

function delivery(one, scale) {
  const share = (from, to) => `left:${clamp(((from - scale.begun) / (scale.end - scale.begun)) * 100)}%;width:${clamp(((to - from) / (scale.end - scale.begun)) * 100)}%`;
  const started = at(one.started);
  const bar = h("div", { class: "bar", "aria-hidden": "true" }, h("span", { class: "wait" }), h("span", { class: "took" }));
  bar.children[0].style.cssText = share(started - one.waited_us, started);
  bar.children[1].style.cssText = share(started, over(one));
  const more = [
    ...one.lines.map((line) => h("div", { class: { error: "bad", warn: "warn" }[line.level] }, `${line.level} ${line.text}`)),
    ...one.writes.map((write) => h("div", { class: "soft" }, write.size === null ? `removed ${write.key}` : `wrote ${write.key} (${write.size} B)`)),
    ...one.timers.map((timer) => h("div", { class: "soft" }, timer.due ? ["timer ", timer.name, " fires ", ago(timer.due)] : `cancelled timer ${timer.name}`)),
    ...one.calls.map((call) => h("div", { class: call.failed ? "bad" : "soft" }, `${call.method} ${call.target} ${call.failed ?? call.status} in ${micros(call.took_us)}`)),
  ];
  return h("li", { class: one.slow ? "slow" : "" },
    h("div", { class: "what" }, link(one.plugin, "plugin", one.plugin), " ",
      h("span", { class: KINDS[one.verdict] }, one.verdict),
      one.attempt > 1 ? ` attempt ${one.attempt}` : "", one.rewind ? ` rewound by ${one.rewind.who ?? "an operator"}` : one.replay ? " replay" : "",
      one.reason ? `: ${one.reason}` : "",
      h("span", { class: "soft" }, ` waited ${micros(one.waited_us)}, took ${micros(one.took_us)}, version ${one.version.slice(0, 8)}`),
      one.due ? h("span", { class: "soft" }, ", again ", ago(one.due)) : null),
    bar,
    more.length > 0 ? h("details", { "data-name": `more ${one.offset}` }, h("summary", {}, [
      [one.lines, "log lines"], [one.writes, "writes"], [one.timers, "timers"], [one.calls, "calls"],
    ].filter(([some]) => some.length > 0).map(([some, what]) => `${what}: ${some.length}`).join(", ")), more) : null,
    one.emitted.length > 0 ? h("ul", {}, one.emitted.map((node) => event(node, scale))) : null);
}

const clamp = (value) => Math.min(100, Math.max(0, value)).toFixed(2);
