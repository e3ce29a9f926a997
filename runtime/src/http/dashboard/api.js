// The host's public API, and nothing else.

/** What went wrong, in the host's own words. */
export class Refused extends Error {
  constructor(problem, code) {
    super([problem.detail ?? problem.title ?? `status ${code}`, problem.hint].filter(Boolean).join("; "));
    this.code = problem.code;
    this.status = code;
  }
}

async function ask(method, path, signal, headers = {}) {
  let answer;
  try {
    answer = await fetch(path, { method, signal, headers: { Accept: "application/json", ...headers } });
  } catch (cause) {
    if (cause.name === "AbortError") throw cause;
    throw new Refused({ detail: "the host does not answer: is it running?" }, 0);
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(body, answer.status);
  return body;
}

export const get = (path, signal) => ask("GET", path, signal);
export const post = (path) => ask("POST", path);
export const remove = (path) => ask("DELETE", path);

/** Who one is to the host; `scopes` are null where it asks nobody. */
export const session = () => get("/v1/session");

/** Be who has this token, until the browser is closed or `leave`. */
export async function enter(token) {
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Refused({ detail: "that is no token: one is nrv_ and 64 digits" }, 0);
  await ask("POST", "/v1/session", undefined, { Authorization: `Bearer ${token}` });
}

export const leave = () => remove("/v1/session");

/** A path whose parts may hold anything. */
export function path(parts, query = {}) {
  const asked = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(asked).toString();
  return parts.map((part, at) => (at === 0 ? part : encodeURIComponent(part))).join("/") + (text ? `?${text}` : "");
}

/**
 * Events as they come, from offset `after` on: `each` gets what the API shows of one. Types name the messages, which an
 * EventSource would have to know beforehand: so the stream is read here. Ends when `signal` says so; throws when the
 * connection does.
 */
export async function follow(after, each, signal) {
  const answer = await fetch(path(["/v1/events"], { after }), { signal, headers: { Accept: "text/event-stream" } });
  if (!answer.ok) throw new Refused(await answer.json().catch(() => ({})), answer.status);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Refused({ detail: "the stream of events ended" }, 0);
    text += value;
    const messages = text.split("\n\n");
    text = messages.pop();
    for (const message of messages) {
      const data = message.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
      if (data.length > 0) each(JSON.parse(data.join("\n")));
    }
  }
}
