// Troubleshooting: checks, likely causes, and a guide that goes on from what the operator reports.
import { html, useEffect, useRef, useState } from "./vendor/preact-htm-3.1.1.js";
import { get, post, stream } from "./api.js";
import { Waiting } from "./load.js";
import { Source, isRecord } from "./source.js";
import { Trace, told } from "./trace.js";

const OUTCOMES = [
  ["done", "Done"], ["solved", "That solved it"], ["no_effect", "No effect"],
  ["not_possible", "Not possible"], ["ruled_out", "Rules this cause out"],
];
const SAID = Object.fromEntries(OUTCOMES);
const CHANGED = 409;

/** What is known of the trouble; shows each check as it is made, and leads to a guide of its own address. */
export function Troubleshoot({ argument: device }) {
  const [state, setState] = useState({});
  const [trace, setTrace] = useState([]);
  const running = useRef();
  useEffect(() => () => running.current?.abort(), []);
  const start = async (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    const body = { device_id: device };
    for (const name of ["symptom", "error_code"]) if (given.get(name).trim()) body[name] = given.get(name).trim();
    setState({ busy: true });
    setTrace([]);
    running.current = new AbortController();
    try {
      await stream("/troubleshoot", body, {
        trace: (step) => setTrace((steps) => told(steps, step)),
        done: ({ id }) => (location.hash = `#/guides/${id}`),
      }, running.current.signal);
    } catch (error) {
      if (error.name !== "AbortError") setState({ error });
    }
  };
  return html`<h1 tabindex="-1">Troubleshoot ${device}</h1>
    <form class="card narrow" onSubmit=${start}>
      <label for="symptom">What do you see?</label>
      <textarea id="symptom" name="symptom" rows="2" minlength="3" maxlength="500" placeholder="Vibrates and smells hot" />
      <label for="code">Error code</label>
      <input id="code" name="error_code" maxlength="64" placeholder="E421" pattern="[A-Za-z0-9][\\w.\\-]*" />
      <p class="hint">Both may stay empty: the device's records are checked in any case.</p>
      ${state.error && html`<p class="error" role="alert">${state.error.message}</p>`}
      <button class="primary" disabled=${state.busy}>${state.busy ? "Checking" : "Start"}</button>
    </form>
    <div aria-live="polite"><${Trace} steps=${trace} running=${state.busy} open=${state.busy} /></div>`;
}

/** A guide by its id: it can be left and gone on with. */
export function Guide({ argument: id }) {
  const [guide, setGuide] = useState();
  const [error, setError] = useState();
  const [source, setSource] = useState();
  const path = `/troubleshoot/${encodeURIComponent(id)}`;
  useEffect(() => void get(path).then(setGuide, setError), [path]);
  const [shown, setShown] = useState(0);
  useEffect(() => { // what was pressed is gone
    if (shown) (document.querySelector("main [role=alert]") ?? document.querySelector(".steps .now, .advice")).focus();
  }, [shown]);
  const show = (changed) => {
    setGuide(changed);
    setShown((times) => times + 1);
  };
  const report = async (number, outcome, note) => {
    try {
      show(await post(`${path}/steps/${number}`, { outcome, note, version: guide.version }));
      setError();
    } catch (error) {
      setError(error);
      if (error.status === CHANGED) await get(path).then(show, setError);
    }
  };
  if (!guide) return html`<h1 tabindex="-1">Troubleshooting</h1><${Waiting} error=${error} />`;
  const about = [guide.error_code, guide.symptom].filter(Boolean).join(" · ");
  return html`<h1 tabindex="-1">Troubleshooting <a href=${`#/devices/${encodeURIComponent(guide.device_id)}`}>${guide.device_id}</a>
      ${about && html` <small>${about}</small>`}</h1>
    <div class="columns">
      <section class="card"><h2>Checks</h2><ul class="log">${guide.checks.map((check) => html`<li>
        <span class=${`tag ${check.status === "failed" ? "error" : ""}`}>${check.status}</span><b>${check.name}</b>
        <span class="hint">${check.evidence}. Expected: ${check.threshold}.</span></li>`)}</ul></section>
      <section class="card"><h2>Likely causes</h2>
        ${guide.likely_causes.length ? html`<ol class="actions">${guide.likely_causes.map((cause) => html`<li>
          <b>${cause.cause}</b> <meter min="0" max="1" value=${cause.score} aria-label="How much speaks for it">${cause.score}</meter>
          <${Cited} citations=${cause.citations} open=${setSource} /><span class="hint">${cause.because.join("; ")}</span></li>`)}</ol>`
          : html`<p>Nothing in the records or the documents points to a cause.</p>`}</section>
    </div>
    <section class="card"><h2>Guide</h2>
      ${error && html`<p class="error" role="alert" tabindex="-1">${error.message}</p>`}
      <ol class="steps">${guide.steps.map((step) => html`<${Step} key=${step.number} step=${step}
        now=${step.number === guide.next_step} report=${report} open=${setSource} />`)}</ol>
      <p class="advice" role="status" tabindex="-1"><b>${guide.advice}</b></p></section>
    ${source && html`<${Source} citation=${source} close=${() => setSource()} />`}`;
}

function Step({ step, now, report, open }) {
  const [note, setNote] = useState(step.note);
  const others = OUTCOMES.filter(([outcome]) => outcome !== step.outcome);
  const choice = others.map(([outcome, label]) => html`<button onClick=${() => report(step.number, outcome, now ? note : step.note)}>${label}</button>`);
  return html`<li value=${step.number} class=${now ? "now" : step.outcome ? "past" : ""} aria-current=${now ? "step" : null} tabindex=${now ? -1 : null}>
    <p>${step.text} <${Cited} citations=${step.citations} open=${open} /></p>
    ${step.outcome && html`<p class="hint">${SAID[step.outcome]}${step.note && `: ${step.note}`}</p>`}
    ${now && html`<div class="report">
      <label class="hidden" for="note">Note</label>
      <input id="note" maxlength="1000" placeholder="Note (optional)" value=${note} onInput=${(event) => setNote(event.target.value)} />
      ${choice}
    </div>`}
    ${!now && step.outcome && html`<details key=${step.outcome} class="hint"><summary>Change the outcome</summary><div class="report">${choice}</div></details>`}
  </li>`;
}

/** Markers that open a source; records of the device are on its page. */
const Cited = ({ citations, open }) => citations.map((citation) => html`<button class="marker"
  aria-label=${`Source: ${citation.title}`} title=${citation.section || citation.title}
  onClick=${() => open(citation)}>${isRecord(citation) ? "record" : "source"}</button>`);
