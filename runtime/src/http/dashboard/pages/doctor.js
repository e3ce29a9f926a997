// What the doctor finds in the log.

import { get } from "../api.js";
import { ago, count, h, link } from "../dom.js";

export const live = false;

export async function show(_, { signal }) {
  const { examined, findings, not_found: absent } = await get("/v1/doctor", signal);
  return [
    "Doctor",
    h("p", { class: "soft" }, `${count(examined.records)} records, ${count(examined.events)} events and ${count(examined.attempts)} deliveries of ${count(examined.plugins)} plugins${examined.webhooks.length > 0 ? ` (webhooks among them: ${examined.webhooks.join(", ")})` : ""}, since `, ago(examined.since), "."),
    findings.length === 0 ? h("p", { class: "good" }, "No symptom of a distributed monolith.") : null,
    findings.map((one) => h("section", { class: "finding" },
      h("h3", {}, one.title),
      h("p", {}, one.says),
      h("ul", {}, one.evidence.map((shown) => h("li", {}, shown.text, " ", shown.offsets.slice(0, 5).map((offset) => [link(`@${offset}`, "trace", `@${offset}`), " "])))),
      h("p", {}, h("strong", {}, "What to do: "), one.remedy))),
    absent.length > 0 ? h("p", { class: "soft" }, `Looked for and not found: ${absent.join(", ")}.`) : null,
  ];
}
