// One plugin: what it is, how it fares, what waits, its versions and the way back.

import { get, path, post } from "../api.js";
import { ago, button, bytes, count, facts, h, link, say, status, table } from "../dom.js";

export const live = true;

const by = (asked) => asked.by + (asked.who ? ` (${asked.who})` : "");

export async function show([name], { signal, again }) {
  const at = ["/v1/plugins", name];
  const [plugin, { versions }, { lines }, timers] = await Promise.all([
    get(path(at), signal),
    get(path([...at, "versions"]), signal),
    get(path([...at, "logs"], { limit: 50 }), signal),
    get(path([...at, "timers"], { limit: 50 }), signal),
  ]);
  const act = (what, told) => async () => {
    try {
      await post(path([...at, ...what.parts], what.query));
      say(told);
    } catch (cause) { say(cause.message, true); }
    again();
  };
  const { paused, probation, rewind } = plugin;
  const hit = Object.values(plugin.limits_hit ?? {}).reduce((sum, times) => sum + times, 0);
  return [
    name,
    h("div", { class: "row" },
      paused ? button("Resume", `Resume ${name}`, act({ parts: ["resume"] }, `${name} goes on`), { name: "pause" })
        : button("Pause", `Pause ${name}`, act({ parts: ["pause"] }, `${name} is paused`), { name: "pause" }),
      probation?.canary ? button("Promote the canary", `Promote the canary of ${name}`, act({ parts: ["promote"] }, "the canary runs for all keys"), { sure: "Really promote" }) : null,
      link("On the map", "map", "plugin", name),
      plugin.dead_letters ? link(`${count(plugin.dead_letters)} dead letters`, "dead", name) : null),
    facts([
      ["Status", status(plugin.status)],
      ["Paused", paused && [`${paused.why}: ${paused.reason ?? ""} `, h("span", { class: "soft" }, "since ", ago(paused.since), paused.next_try ? [", next try ", ago(paused.next_try)] : null)]],
      ["Trouble", plugin.trouble && h("span", { class: "bad" }, plugin.trouble)],
      ["Refused", plugin.refused && [h("span", { class: "bad" }, plugin.refused.reason), " ", ago(plugin.refused.at)]],
      ["Waits to be approved", plugin.waiting && `version ${plugin.waiting.version.slice(0, 8)}: nerve plugin approve ${name}`],
      ["Webhook", plugin.webhook && `its events are sent to ${plugin.webhook}`],
      ["Version", plugin.version && [`${plugin.label ?? ""} `, h("code", {}, plugin.version), " ", ago(plugin.since)]],
      ["On probation", probation && `${probation.done} of ${probation.events} attempts, ${probation.failed} failed${probation.canary ? `; canary for ${probation.canary * 100} % of the keys` : ""}`],
      ["Rewind", rewind && `at ${count(rewind.at)} of ${count(rewind.through)}, ${count(rewind.left)} left${rewind.paused ? ", paused" : ""}`],
      ["Lag", `${count(plugin.lag)} events; cursor at ${count(plugin.cursor)}`],
      ["Deliveries", plugin.counters && `${count(plugin.counters.done)} done, ${count(plugin.counters.retry)} retried, ${count(plugin.counters.dead)} dead, ${count(plugin.counters.conflicts)} conflicts`],
      ["State", plugin.state && `${count(plugin.state.keys)} keys, ${bytes(plugin.state.bytes)}`],
      ["Subscribes to", (plugin.subscriptions ?? []).map((one) => one.pattern).join(", ")],
      ["Emits", (plugin.emits ?? []).join(", ")],
      ["Granted", (plugin.granted ?? []).map((one) => `${one.capability}: ${one.scope.join(", ")}`).join("; ")],
      ["Warnings", (plugin.warnings ?? []).map((text) => h("div", { class: "warn" }, text))],
    ].filter(([, value]) => !(Array.isArray(value) && value.length === 0))),
    h("h3", {}, "Parked keys"),
    table("Keys whose oldest event waits for a retry", [
      ["Key", (one) => one.key ?? "(none)"],
      ["Event", (one) => link(`@${one.event}`, "trace", `@${one.event}`)],
      ["Attempts", (one) => count(one.attempt), "number"],
      ["Next try", (one) => (one.due ? ago(one.due) : "behind a settled event")],
      ["Reason", (one) => one.reason],
    ], plugin.parked ?? [], "No key waits."),
    h("h3", {}, "Timers"),
    table(`${count(plugin.timers?.count)} are set`, [
      ["Timer", (one) => one.name],
      ["Fires", (one) => ago(one.due)],
      ["Event", (one) => one.type],
      ["Key", (one) => one.key ?? ""],
    ], timers.timers, "No timer is set."),
    h("h3", {}, "Versions"),
    table("Those that are kept", [
      ["Version", (one) => [one.label, " ", h("code", {}, one.version.slice(0, 16))]],
      ["Live", (one) => (one.canary ? `canary ${one.canary * 100} %` : one.live ? h("span", { class: "good" }, "live") : "")],
      ["Since", (one) => ago(one.since)],
      ["By", (one) => by(one)],
      ["Done", (one) => count(one.deliveries.done), "number"],
      ["Retries", (one) => count(one.deliveries.retry), "number"],
      ["Dead", (one) => count(one.deliveries.dead), "number"],
      ["Rolled back", (one) => one.rolled_back && [ago(one.rolled_back.at), ` by ${by(one.rolled_back)}: ${one.rolled_back.why ?? ""}`]],
      ["", (one) => !one.live && button("Roll back to it", `to version ${one.version.slice(0, 8)} of ${name}`,
        act({ parts: ["rollback"], query: { version: one.version } }, `${name} runs ${one.version.slice(0, 8)} again`), { sure: "Really roll back" }), "actions"],
    ], versions, "None was ever live."),
    h("h3", {}, "Operators"),
    table("What they did last", [
      ["When", (one) => ago(one.at)],
      ["Who", (one) => one.who ?? ""],
      ["What", (one) => one.what],
      ["Record", (one) => `@${one.offset}`],
    ], plugin.operated ?? [], "None did anything to it."),
    h("details", { "data-name": "limits" }, h("summary", {}, `Limits${hit ? `, ${count(hit)} times hit` : ""}`),
      table("What it may use, and how often a limit was hit", [
        ["Limit", (one) => one[0]],
        ["At most", (one) => count(one[1]), "number"],
        ["Hit", (one) => count(plugin.limits_hit?.[one[0]]), "number"],
      ], Object.entries(plugin.limits ?? {}), "It never ran.")),
    h("h3", {}, "Log lines"),
    table("The last ones", [
      ["When", (one) => ago(one.at)],
      ["Event", (one) => link(`@${one.event}`, "trace", `@${one.event}`)],
      ["Level", (one) => h("span", { class: { error: "bad", warn: "warn" }[one.level] }, one.level)],
      ["Text", (one) => one.text],
    ], [...lines].reverse(), "It has not written any."),
  ];
}
