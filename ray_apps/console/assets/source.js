// A citation's source: the passage around the quote, with the quote marked.
import { html, useEffect, useRef, useState } from "./vendor/preact-htm-3.1.1.js";
import { get } from "./api.js";

const FLEET = "/insights"; // and a device's is below it
export const isRecord = ({ uri }) => uri === FLEET || uri.startsWith(`${FLEET}/`);
export const recordAddress = ({ uri }) => (uri === FLEET ? "#/fleet" : `#/devices/${uri.slice(FLEET.length + 1)}`);

/** A dialog beside the answer; `citation` is shown, `close` is called when it is done with. */
export function Source({ citation, close }) {
  const dialog = useRef();
  const [passage, setPassage] = useState();
  const [error, setError] = useState("");
  useEffect(() => dialog.current.showModal(), []);
  useEffect(() => {
    if (isRecord(citation)) return;
    const at = new URLSearchParams({ uri: citation.uri, start: citation.start });
    get(`/passages?${at}`).then(setPassage, (refused) => setError(refused.message));
  }, [citation]);
  useEffect(() => dialog.current.querySelector("mark")?.scrollIntoView({ block: "center" }), [passage]);
  const outside = (event) => event.target === dialog.current && close();
  return html`<dialog ref=${dialog} class="source" aria-labelledby="source-title" onClose=${close} onClick=${outside}>
    <div class="inside">
      <div class="bar"><h2 id="source-title">${citation.marker} ${citation.title}</h2>
        <button class="plain" onClick=${close} aria-label="Close">✕</button></div>
      <p class="hint">${citation.section || citation.uri}</p>
      ${error && html`<p class="hint">${error}</p>`}
      <div class="passage" tabindex="0"><${Quoted} passage=${passage} citation=${citation} /></div>
      ${isRecord(citation) && html`<p><a href=${recordAddress(citation)}>Open the ${citation.uri === FLEET ? "fleet" : "device"}</a></p>`}
      <p class="hint">${citation.uri} · characters ${citation.start} to ${citation.end} · score ${citation.score}</p>
    </div>
  </dialog>`;
}

/** The passage with the quote marked, or the quote alone where the passage is not to be had or has changed. */
function Quoted({ passage, citation }) {
  const { quote } = citation;
  const text = Array.from(passage?.text ?? ""); // the API counts code points
  const at = passage ? citation.start - passage.start : -1;
  const end = at + Array.from(quote).length;
  if (at < 0 || text.slice(at, end).join("") !== quote) return html`<mark>${quote}</mark>`;
  return html`${text.slice(0, at).join("")}<mark>${quote}</mark>${text.slice(end).join("")}`;
}
