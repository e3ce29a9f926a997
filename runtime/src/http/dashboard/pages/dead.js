// Dead letters: what plugins gave up on, to be tried again or dropped.

import { get, path, post, remove } from "../api.js";
import { ago, button, count, h, link, say, table } from "../dom.js";

export const live = true;

export async function show([plugin], { signal, again }) {
  const { dead_letters: letters, next } = await get(path(["/v1/dead-letters"], { plugin, limit: 200 }), signal);
  const act = (ask, told) => async () => {
    try {
      await ask();
      say(told);
    } catch (cause) { say(cause.message, true); }
    again();
  };
  const of = (one, ...more) => path(["/v1/dead-letters", one.plugin, one.event, ...more]);
  return [
    plugin ? `Dead letters of ${plugin}` : "Dead letters",
    plugin && letters.length > 0 ? h("div", { class: "row" }, button("Retry all", `Retry all dead letters of ${plugin}`,
      act(() => post(path(["/v1/dead-letters", plugin, "retry"])), "they are delivered again"), { sure: "Really retry all" }),
      h("a", { href: "#/dead" }, "of all plugins")) : null,
    table(`${count(letters.length)}${next ? " and more" : ""}`, [
      ["Plugin", (one) => link(one.plugin, "plugin", one.plugin)],
      ["Event", (one) => link(`@${one.event}`, "trace", `@${one.event}`)],
      ["Type", (one) => one.type],
      ["Key", (one) => one.key ?? ""],
      ["Attempts", (one) => count(one.attempts), "number"],
      ["Reason", (one) => [h("span", { class: "soft" }, `${one.class}: `), one.reason]],
      ["When", (one) => ago(one.at)],
      ["", (one) => (one.redriving ? h("span", { class: "soft" }, "on its way") : [
        button("Retry", `Retry event ${one.event} of ${one.plugin}`, act(() => post(of(one, "retry")), `event ${one.event} is delivered again`)), " ",
        button("Drop", `event ${one.event} of ${one.plugin}`, act(() => remove(of(one)), `event ${one.event} is dropped`), { sure: "Really drop" }),
      ]), "actions"],
    ], letters, "No plugin has given up on an event."),
  ];
}
