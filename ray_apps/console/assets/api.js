// The copilot's API with the user's token, which lives as long as the tab.
const KEY = "token";

/** What the page hears, with the reason, when the server does not take its token, whoever had called. */
export const UNAUTHORIZED = "unauthorized";

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const token = () => sessionStorage.getItem(KEY);
export const signOut = () => sessionStorage.removeItem(KEY);

/** Who the token says that its bearer is; the server checks it, this only shows it. */
export function bearer() {
  try {
    const payload = token().split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(payload), (c) => c.charCodeAt(0))));
  } catch {
    return {};
  }
}

export async function signIn(value) {
  sessionStorage.setItem(KEY, value.trim());
  try {
    await get("/insights?limit=1");
  } catch (error) {
    signOut();
    throw error;
  }
}

async function call(path, options = {}) {
  const headers = { Authorization: `Bearer ${token()}`, ...options.headers };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server cannot be reached.");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const { error } = await response.json().catch(() => ({}));
  const wait = response.headers.get("Retry-After");
  const message = error?.message ?? `The server answered ${response.status}.`;
  if (response.status === 401) dispatchEvent(new CustomEvent(UNAUTHORIZED, { detail: message }));
  return new ApiError(response.status, wait ? `${message} Try again in ${wait} s.` : message);
}

export const get = async (path) => (await call(path)).json();

const sent = (body) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
});
export const post = async (path, body) => (await call(path, sent(body))).json();

/** Post, and have `on[event](data)` called for each event as it comes: trace, token, citation, done; throws without `done`. */
export async function stream(path, body, on, signal) {
  const { headers, ...options } = sent(body);
  const streamed = { ...headers, Accept: "text/event-stream" };
  const response = await call(path, { ...options, headers: streamed, signal });
  let whole = false;
  for await (const { event, data } of events(response.body)) {
    if (event === "error") throw new ApiError(0, data.error?.message ?? data.message);
    whole ||= event === "done";
    on[event]?.(data);
  }
  if (!whole) throw new ApiError(0, "The answer broke off. Try again.");
}

/** Server-sent events of a body, as the standard frames them. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const frames = buffer.split(/\r?\n\r?\n/);
    buffer = frames.pop();
    for (const frame of frames) {
      const found = { event: "message", data: [] };
      for (const line of frame.split(/\r?\n/)) {
        const [, name, text] = line.match(/^(event|data): ?(.*)$/) ?? [];
        if (name === "event") found.event = text;
        if (name === "data") found.data.push(text);
      }
      if (found.data.length) yield { event: found.event, data: JSON.parse(found.data.join("\n")) };
    }
  }
}
