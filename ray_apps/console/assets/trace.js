// What the copilot does for an answer or a guide, step by step.
import { html } from "./vendor/preact-htm-3.1.1.js";

/** The steps with one more; that a tool has ended takes the place of its beginning. */
export function told(steps, step) {
  const same = (other) => JSON.stringify([other.tool, other.arguments]) === JSON.stringify([step.tool, step.arguments]);
  const began = step.tool ? steps.findIndex((other) => other.duration_ms == null && same(other)) : -1;
  return began < 0 ? [...steps, step] : steps.with(began, step);
}

/** Its steps, the last one above them while it works; folded unless `open`. */
export function Trace({ steps, running, open }) {
  if (!steps.length) return running && html`<p class="working">Working</p>`;
  return html`<details class="trace" open=${open}>
    <summary class=${running ? "working" : ""}>${running ? steps.at(-1).message : `${steps.length} step${steps.length === 1 ? "" : "s"}`}</summary>
    <ol>${steps.map((step) => html`<li>${step.message}${step.duration_ms != null && html`<span class="hint"> ${Math.round(step.duration_ms)} ms</span>`}</li>`)}</ol>
  </details>`;
}
