// The host and its log.

import { get } from "../api.js";
import { ago, bytes, count, facts, h, table } from "../dom.js";

export const live = true;

export async function show(_, { signal }) {
  const log = await get("/v1/log", signal);
  return [
    "Host",
    facts([
      ["Log", h("code", {}, log.id)],
      ["Durability", log.durability],
      ["Records", `${count(log.last - log.first + 1)}, offsets ${count(log.first)} to ${count(log.last)}; in memory from ${count(log.hot_first)}`],
      ["Durable", `up to ${count(log.durable)}`],
      ["On disk", `${bytes(log.bytes)} in ${count(log.segments)} segments`],
      ["Room", log.short_of_room ? h("span", { class: "bad" }, "the disk is nearly full: publishers are refused") : "enough"],
      ["Refused", `${count(log.refused_busy)} as busy, ${count(log.refused_too_fast)} as too fast, ${count(log.refused_no_room)} for lack of room`],
      ["The start found", log.recovered],
      ["Scrub", log.scrub && [`${count(log.scrub.passes)} passes, the last `, ago(log.scrub.last)]],
    ]),
    log.scrub?.damage.length ? table("Damage that the scrub found", [
      ["File", (one) => one.file], ["Byte", (one) => count(one.byte), "number"], ["Offset", (one) => count(one.offset), "number"], ["What", (one) => one.what],
    ], log.scrub.damage) : null,
  ];
}
