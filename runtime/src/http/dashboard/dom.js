// Elements, and how things are shown. Whatever comes from the host is put in as text, never as markup.

/** An element: `h("td", {class: "number"}, 3)`. Attributes that are null or false are left out; functions listen. */
export function h(name, attributes = {}, ...children) {
  const element = name.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4))
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key, value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A table: `columns` are `[title, row => cell, class]`. */
export function table(caption, columns, rows, none = "There is nothing here.") {
  if (rows.length === 0) return h("p", { class: "soft" }, none);
  const head = columns.map(([title, , kind]) => h("th", { scope: "col", class: kind }, title));
  const body = rows.map((row) => h("tr", {}, columns.map(([, cell, kind]) => h("td", { class: kind }, cell(row)))));
  return h("div", { class: "table", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

/** A list of names and values; what is null is left out. */
export function facts(pairs) {
  const told = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", {}, told.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

export function link(text, ...path) {
  return h("a", { href: "#/" + path.map(encodeURIComponent).join("/") }, text);
}

/** A button that asks once more where it can't be taken back. `name` is its own where another takes its place, for the focus. */
export function button(text, label, act, { sure = null, name = null } = {}) {
  let asked = false;
  // While it acts it is busy and not disabled: a disabled button loses the focus of who uses the keyboard.
  let busy = false;
  const ask = (whether) => {
    asked = whether;
    element.textContent = asked ? sure : text;
    element.classList.toggle("sure", asked);
    element.setAttribute("aria-label", asked ? `${sure} ${label}` : label);
  };
  const element = h("button", {
    type: "button",
    "aria-label": label,
    "data-name": name,
    click: async () => {
      if (busy) return;
      if (sure && !asked) { ask(true); return; }
      busy = true;
      element.setAttribute("aria-busy", "true");
      try { await act(); } finally { busy = false; element.removeAttribute("aria-busy"); ask(false); }
    },
  }, text);
  return element;
}

/** Tell something, for some seconds. */
export function say(text, bad = false) {
  const box = h("div", { class: bad ? "bad" : "" }, text);
  document.getElementById("said").append(box);
  setTimeout(() => box.remove(), bad ? 12000 : 5000);
}

export function ago(time, now = Date.now()) {
  if (!time) return "never";
  const seconds = Math.round((now - new Date(time)) / 1000);
  const size = Math.abs(seconds);
  const text = size < 60 ? `${size} s` : size < 7200 ? `${Math.round(size / 60)} min`
    : size < 172800 ? `${Math.round(size / 3600)} h` : `${Math.round(size / 86400)} d`;
  return h("time", { datetime: time, title: time }, seconds < 0 ? `in ${text}` : `${text} ago`);
}

export function micros(value) {
  if (value === null || value === undefined) return "";
  if (value < 1000) return `${Math.round(value)} µs`;
  if (value < 1e6) return `${(value / 1000).toFixed(1)} ms`;
  return value < 120e6 ? `${(value / 1e6).toFixed(1)} s` : `${Math.round(value / 60e6)} min`;
}

export function count(value) {
  return Number(value ?? 0).toLocaleString("en");
}

export function rate(perMinute) {
  if (!perMinute) return "";
  return perMinute >= 600 ? `${count(Math.round(perMinute / 60))}/s` : `${Number(perMinute.toFixed(1))}/min`;
}

export function bytes(value) {
  if (value < 1024) return `${count(value)} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let at = -1;
  while (value >= 1024 && at < 3) { value /= 1024; at += 1; }
  return `${value.toFixed(1)} ${units[at]}`;
}

/** A status in its colour, which is never all that tells it. */
export function status(text) {
  const kind = { live: "good", paused: "warn", waiting: "warn", refused: "bad", gone: "soft", removed: "soft" }[text];
  return h("span", { class: kind }, text);
}
