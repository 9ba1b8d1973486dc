// What the copilot does for an answer or a guide, step by step.
import { html } from "./vendor/preact-htm-3.1.1.js";

/** Its steps, the last one above them while it works; folded unless `open`. */
export function Trace({ steps, running, open }) {
  if (!steps.length) return running && html`<p class="working">Working</p>`;
  return html`<details class="trace" open=${open}>
    <summary class=${running ? "working" : ""}>${running ? steps.at(-1).message : `${steps.length} steps`}</summary>
    <ol>${steps.map((step) => html`<li>${step.message}</li>`)}</ol>
  </details>`;
}
