// What a view waits for: the answer of a GET, its error, or a word that it is on its way.
import { html, useEffect, useState } from "./vendor/preact-htm-3.1.1.js";
import { get } from "./api.js";

export function useGet(path) {
  const [state, setState] = useState({});
  useEffect(() => {
    let wanted = true;
    setState({});
    get(path).then(
      (found) => wanted && setState({ found }),
      (error) => wanted && setState({ error }),
    );
    return () => (wanted = false);
  }, [path]);
  return state;
}

export const Waiting = ({ error }) =>
  error ? html`<p class="error" role="alert">${error.message}</p>` : html`<p class="working" role="status">Loading</p>`;

export const grade = (score) => (score < 40 ? "bad" : score < 70 ? "fair" : "good");

/** A health score of 0 to 100 as a figure and a bar. */
export const Score = ({ value }) =>
  value == null
    ? html`<span class="hint">none yet</span>`
    : html`<span class=${`score ${grade(value)}`}><b>${Math.round(value)}</b><meter min="0" max="100" value=${value} aria-label="Health score">${value}</meter></span>`;
