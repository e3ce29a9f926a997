// All plugins.

import { get } from "../api.js";
import { count, h, link, status, table } from "../dom.js";

export const live = true;
let wanted = "";

export async function show(_, { signal, again }) {
  const { plugins } = await get("/v1/plugins", signal);
  const search = h("input", { type: "search", id: "wanted", value: wanted, size: 24, input: (event) => { wanted = event.target.value; fill(); } });
  const place = h("div");
  const fill = () => {
    const rows = plugins.filter((plugin) => `${plugin.name} ${plugin.status} ${plugin.webhook ? "webhook" : ""}`.includes(wanted));
    place.replaceChildren(table(`${count(rows.length)} of ${count(plugins.length)} plugins`, [
      ["Plugin", (one) => link(one.name, "plugin", one.name)],
      ["Kind", (one) => (one.webhook ? "webhook" : one.version ? "plugin" : "")],
      ["Status", (one) => [status(one.status), trouble(one)]],
      ["Version", (one) => [one.label, " ", h("code", {}, (one.version ?? "").slice(0, 8)), one.probation ? h("span", { class: "soft" }, one.probation.canary ? ` canary ${one.probation.canary * 100} %` : " on probation") : null]],
      ["Lag", (one) => count(one.lag), "number"],
      ["Done", (one) => count(one.counters?.done), "number"],
      ["Retries", (one) => count(one.counters?.retry), "number"],
      ["Parked", (one) => count(one.parked?.length), "number"],
      ["Dead letters", (one) => (one.dead_letters ? link(count(one.dead_letters), "dead", one.name) : "0"), "number"],
      ["Timers", (one) => count(one.timers?.count), "number"],
    ], rows, plugins.length === 0 ? "No plugin yet: drop NAME.wasm into the plugin folder." : "No plugin matches."));
  };
  fill();
  return ["Plugins", h("form", { role: "search", submit: (event) => { event.preventDefault(); again(); } }, h("label", { for: "wanted" }, "Name, kind or status"), search), place];
}

/** Why it does not do what it should, in a few words. */
export function trouble(plugin) {
  const why = plugin.trouble ?? (plugin.paused ? `${plugin.paused.why}: ${plugin.paused.reason ?? ""}` : null)
    ?? (plugin.refused ? `the last version was refused: ${plugin.refused.reason}` : null);
  return why ? h("div", { class: "soft" }, why.length > 160 ? `${why.slice(0, 160)}…` : why) : null;
}
