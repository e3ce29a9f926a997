// The map: who emits and who consumes what. Small ones are drawn; of large ones a part is chosen first.

import { get, path } from "../api.js";
import { ago, count, h, link, micros, rate, status, table } from "../dom.js";
import { draw } from "../drawing.js";

export const live = true;

/** More than this is no picture any more. */
const MOST_DRAWN = 90;

let wanted = "";

export async function show([kind, name], { signal, again }) {
  const part = kind === "plugin" ? { plugin: name } : kind === "type" ? { type: name } : {};
  const map = await get(path(["/v1/map"], part), signal);
  const nodes = map.plugins.length + map.types.length;
  const title = kind === "plugin" ? `Map around ${name}` : kind === "type" ? `Map of ${name}` : "Map";
  return [
    title,
    h("p", { class: "soft" }, kind ? [h("a", { href: "#/map" }, "The whole map"), " · "] : null,
      `${count(map.plugins.length)} of ${count(map.of.plugins)} plugins, ${count(map.types.length)} of ${count(map.of.types)} event types`,
      map.missed ? `; ${count(map.missed)} records could not be read` : "", map.beyond ? `; ${count(map.beyond)} ways are not counted` : ""),
    nodes === 0 ? h("p", {}, "There is neither plugin nor event yet.")
      : nodes <= MOST_DRAWN ? draw(graph(map), `${title}: the tables below say the same in words`)
        : h("p", {}, "This is too much for a picture: choose a plugin or an event type below."),
    findings(map.findings),
    filtered(map, again),
  ];
}

function graph(map) {
  const nodes = new Map();
  const edges = [];
  const trouble = (plugin) => plugin.status !== "live" || plugin.dead_letters > 0;
  for (const one of map.plugins) {
    nodes.set(`p ${one.name}`, {
      kind: "plugin", text: one.name, href: ["plugin", one.name], trouble: trouble(one),
      small: [one.webhook ? "webhook" : "", one.status === "live" ? "" : one.status, one.lag ? `lag ${count(one.lag)}` : "", rate(one.per_minute), one.dead_letters ? `${count(one.dead_letters)} dead` : ""].filter(Boolean).join(", "),
    });
  }
  for (const type of map.types) {
    nodes.set(`t ${type.name}`, { kind: "type", text: type.name, href: ["map", "type", type.name], small: rate(type.per_minute) });
    for (const by of type.emitted_by) {
      if (by.plugin) edges.push({ from: `p ${by.plugin}`, to: `t ${type.name}`, kind: by.declared ? (by.events ? "" : "quiet") : "undeclared" });
    }
    for (const by of type.consumed_by) edges.push({ from: `t ${type.name}`, to: `p ${by.plugin}`, kind: by.attempts ? "" : "quiet" });
  }
  return { nodes, edges: edges.filter((edge) => nodes.has(edge.from) && nodes.has(edge.to)) };
}

function findings(found) {
  const told = [
    ...found.cycles.map((cycle) => [cycle.seen ? "A cycle" : "A possible cycle", cycle.steps.map((step) => `${step.type} → ${step.plugin}`).join(" → ")]),
    ...found.undeclared.map((one) => ["Emitted and not declared", `${one.plugin} emits ${one.type} (${count(one.events)})`]),
    ...found.nobody_emits.map((one) => ["Nobody emits", `${one.pattern}, which ${one.plugins.join(", ")} subscribes to`]),
    ...found.nobody_consumes.map((one) => ["Nobody consumes", one]),
    ...found.older.map((one) => [`Older than ${one.newest}`, `${one.type}: needed by ${one.needed_by.join(", ") || "nobody"}, emitted by ${one.emitted_by.map((by) => by ?? "outside").join(", ") || "nobody"}`]),
  ];
  return told.length === 0 ? null
    : h("details", { "data-name": "findings" }, h("summary", {}, `${count(told.length)} things to look at`),
      table("What stands out", [["What", (one) => one[0]], ["Where", (one) => one[1]]], told.slice(0, 500)));
}

function filtered(map, again) {
  const place = h("div");
  const fill = () => {
    const has = (...names) => names.some((name) => name?.includes(wanted));
    const types = map.types.filter((type) => has(type.name, ...type.emitted_by.map((by) => by.plugin), ...type.consumed_by.map((by) => by.plugin)));
    const plugins = map.plugins.filter((plugin) => has(plugin.name));
    const names = (list) => list.map((by, n) => [n ? ", " : "", by.plugin ? link(by.plugin, "plugin", by.plugin) : "outside", by.declared === false && by.plugin ? " (undeclared)" : ""]);
    place.replaceChildren(
      h("h3", {}, "Event types"),
      table(`${count(types.length)} types${types.length > 300 ? ", the first 300" : ""}`, [
        ["Type", (type) => link(type.name, "map", "type", type.name)],
        ["Events", (type) => count(type.events), "number"],
        ["Rate", (type) => rate(type.per_minute), "number"],
        ["Last", (type) => ago(type.last)],
        ["Emitted by", (type) => names(type.emitted_by)],
        ["Consumed by", (type) => names(type.consumed_by)],
      ], types.slice(0, 300), "No type is called so."),
      h("h3", {}, "Plugins"),
      table(`${count(plugins.length)} plugins${plugins.length > 300 ? ", the first 300" : ""}`, [
        ["Plugin", (plugin) => link(plugin.name, "map", "plugin", plugin.name)],
        ["Status", (plugin) => status(plugin.status)],
        ["Lag", (plugin) => count(plugin.lag), "number"],
        ["Attempts", (plugin) => count(plugin.attempts), "number"],
        ["Retries", (plugin) => count(plugin.retries), "number"],
        ["Dead", (plugin) => count(plugin.dead), "number"],
        ["Rate", (plugin) => rate(plugin.per_minute), "number"],
        ["Takes", (plugin) => micros(plugin.mean_us), "number"],
      ], plugins.slice(0, 300), "No plugin is called so."));
  };
  fill();
  return h("div", {},
    h("form", { role: "search", submit: (event) => { event.preventDefault(); again(); } },
      h("label", { for: "wanted" }, "Type or plugin"),
      h("input", { type: "search", id: "wanted", value: wanted, size: 24, input: (event) => { wanted = event.target.value; fill(); } })),
    place);
}
