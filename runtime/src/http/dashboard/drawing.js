// A directed graph as a picture: layers from left to right, in each layer near what it hangs together with.

import { h } from "./dom.js";

const HEIGHT = 40;
const GAP = 14;
const BETWEEN = 70;

/** `nodes` by name, and `edges` between them; `label` says what it is to those who can't see it. */
export function draw({ nodes, edges }, label) {
  const layers = layered(nodes, edges);
  const at = placed(layers, nodes);
  const width = Math.max(...[...at.values()].map((box) => box.x + box.width)) + 20;
  const height = Math.max(...[...at.values()].map((box) => box.y + HEIGHT)) + 20;
  const svg = h("svg:svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": label });
  svg.append(h("svg:defs", {}, h("svg:marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, h("svg:path", { d: "M0 0 8 4 0 8z" }))));
  for (const { from, to, kind } of edges) {
    const [a, b] = [at.get(from), at.get(to)];
    const [x1, y1, x2, y2] = [a.x + a.width, a.y + HEIGHT / 2, b.x, b.y + HEIGHT / 2];
    const bend = Math.max(30, Math.abs(x2 - x1) / 2);
    svg.append(h("svg:path", { d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`, class: kind, "marker-end": "url(#tip)" }));
  }
  for (const [name, node] of nodes) {
    const box = at.get(name);
    svg.append(h("svg:a", { href: `#/${node.href.map(encodeURIComponent).join("/")}`, "aria-label": `${node.kind === "plugin" ? "plugin" : "event type"} ${node.text}${node.small ? `, ${node.small}` : ""}` },
      h("svg:g", { class: `node ${node.kind}${node.trouble ? " trouble" : ""}`, transform: `translate(${box.x} ${box.y})` },
        h("svg:rect", { width: box.width, height: HEIGHT, rx: node.kind === "plugin" ? 4 : HEIGHT / 2 }),
        h("svg:text", { x: box.width / 2, y: node.small ? 17 : 25, "text-anchor": "middle" }, node.text),
        node.small ? h("svg:text", { x: box.width / 2, y: 31, "text-anchor": "middle", class: "small" }, node.small) : null)));
  }
  return h("div", { class: "drawing", tabindex: "0", role: "region", "aria-label": label }, svg);
}

/** Names in layers, so that edges go to the right, but for those that close a cycle. */
function layered(nodes, edges) {
  const next = new Map([...nodes.keys()].map((name) => [name, []]));
  for (const { from, to } of edges) next.get(from).push(to);
  const has = new Set(edges.map((edge) => edge.to));
  const layer = new Map();
  const done = [];
  const state = new Map();
  // Depth first, without recursion: chains may be long.
  const roots = [...nodes.keys()].sort((a, b) => has.has(a) - has.has(b));
  const back = new Set();
  for (const root of roots) {
    if (state.has(root)) continue;
    const stack = [[root, 0]];
    state.set(root, "open");
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      const to = next.get(top[0])[top[1]++];
      if (to === undefined) {
        state.set(top[0], "done");
        done.push(top[0]);
        stack.pop();
      } else if (state.get(to) === "open") back.add(`${top[0]}\n${to}`);
      else if (!state.has(to)) {
        state.set(to, "open");
        stack.push([to, 0]);
      }
    }
  }
  for (const name of done.reverse()) {
    const own = layer.get(name) ?? 0;
    layer.set(name, own);
    for (const to of next.get(name)) {
      if (!back.has(`${name}\n${to}`)) layer.set(to, Math.max(layer.get(to) ?? 0, own + 1));
    }
  }
  const layers = [];
  for (const [name, n] of layer) (layers[n] ??= []).push(name);
  const near = new Map([...nodes.keys()].map((name) => [name, []]));
  for (const { from, to } of edges) { near.get(from).push(to); near.get(to).push(from); }
  const kept = layers.filter(Boolean);
  for (let round = 0; round < 6; round += 1) {
    const place = new Map(kept.flatMap((names) => names.map((name, n) => [name, (n + 0.5) / names.length])));
    const middle = (name) => {
      const all = near.get(name);
      return all.length ? all.reduce((sum, other) => sum + place.get(other), 0) / all.length : place.get(name);
    };
    for (const names of kept) {
      const middles = new Map(names.map((name) => [name, middle(name)]));
      names.sort((a, b) => middles.get(a) - middles.get(b) || (a < b ? -1 : 1));
    }
  }
  return kept;
}

function placed(layers, nodes) {
  const tallest = Math.max(...layers.map((names) => names.length)) * (HEIGHT + GAP);
  const at = new Map();
  let x = 20;
  for (const names of layers) {
    const width = Math.max(...names.map((name) => Math.max(nodes.get(name).text.length * 7.6, nodes.get(name).small.length * 6.2))) + 26;
    let y = 20 + (tallest - names.length * (HEIGHT + GAP)) / 2;
    for (const name of names) {
      at.set(name, { x, y, width });
      y += HEIGHT + GAP;
    }
    x += width + BETWEEN;
  }
  return at;
}
