// Asking: the answer as it is written, what the copilot does meanwhile, and markers that open their source.
import { html, useEffect, useRef, useState } from "./vendor/preact-htm-3.1.1.js";
import { stream } from "./api.js";
import { Feedback } from "./feedback.js";
import { Source, isRecord, recordAddress } from "./source.js";
import { Trace, told } from "./trace.js";

const EXAMPLES = [
  "Which machines have the worst health?",
  "What does E421 mean on an HX-200 and what should I do first?",
  "How do I check the bearings after maintenance?",
];
let memory = []; // the turns survive a look at another view
let asked = 0;

/** What one user asked is not for the next. */
export const forget = () => (memory = []);

export function Ask({ argument }) {
  const [turns, setTurns] = useState(memory.map((turn) => (turn.running ? { ...turn, running: false, stopped: true } : turn)));
  const [source, setSource] = useState();
  const running = useRef();
  const box = useRef();
  memory = turns;
  const busy = turns.at(-1)?.running ?? false;

  const send = async (question) => {
    if (!question.trim() || busy) return;
    const id = (asked += 1);
    const amend = (change) => setTurns((all) => all.map((turn) => (turn.id === id ? { ...turn, ...change(turn) } : turn)));
    box.current.value = "";
    setTurns((all) => [...all, { id, question, text: "", trace: [], citations: [], running: true }]);
    running.current = new AbortController();
    const conversation_id = turns.findLast((turn) => turn.conversation_id)?.conversation_id;
    const body = { question, ...(conversation_id && { conversation_id }) };
    try {
      await stream("/ask", body, {
        trace: (step) => amend((turn) => ({ trace: told(turn.trace, step) })),
        token: ({ text }) => amend((turn) => ({ text: turn.text + text })),
        citation: (citation) => amend((turn) => ({ citations: [...turn.citations, citation] })),
        done: (answer) => amend(() => ({ ...answer, text: answer.answer })),
      }, running.current.signal);
    } catch (error) {
      const stopped = error.name === "AbortError";
      amend(() => (stopped ? { stopped } : { error: error.message }));
      if (!stopped && box.current?.value === "") box.current.value = question;
    }
    amend(() => ({ running: false }));
    box.current?.focus();
  };
  const fresh = () => {
    running.current?.abort();
    setTurns([]);
    box.current.focus();
  };
  useEffect(() => {
    box.current.focus();
    if (argument) {
      history.replaceState(null, "", "#/ask"); // a reload does not ask again
      send(argument);
    }
    return () => running.current?.abort();
  }, []);
  useEffect(() => scrollTo({ top: document.body.scrollHeight }), [turns.length]);
  const keyed = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send(event.target.value);
    }
    if (event.key === "Escape" && busy) running.current.abort();
  };
  return html`<div class="ask">
    <h1 tabindex="-1" class=${turns.length ? "hidden" : ""}>What is wrong, and what do I do?</h1>
    ${!turns.length && html`<ul class="examples">${EXAMPLES.map((example) =>
      html`<li><button onClick=${() => send(example)}>${example}</button></li>`)}</ul>`}
    <ol class="turns" aria-live="polite">${turns.map((turn) => html`<${Turn} key=${turn.id} turn=${turn} open=${setSource} />`)}</ol>
    <form class="composer" onSubmit=${(event) => (event.preventDefault(), send(box.current.value))}>
      <label class="hidden" for="question">Question</label>
      <textarea id="question" ref=${box} rows="2" maxlength="2000" onKeyDown=${keyed}
        placeholder="Ask about a device, an error code or the fleet" />
      <div class="buttons">
        ${busy
          ? html`<button type="button" onClick=${() => running.current.abort()}>Stop</button>`
          : html`<button class="primary">Ask</button>`}
        ${turns.length > 0 && html`<button type="button" class="plain" onClick=${fresh}>New conversation</button>`}
      </div>
    </form>
    ${source && html`<${Source} citation=${source} close=${() => setSource()} />`}
  </div>`;
}

function Turn({ turn, open }) {
  return html`<li class="turn">
    <p class="question">${turn.question}</p>
    <${Trace} steps=${turn.trace} running=${turn.running} open=${turn.running && !turn.text} />
    ${turn.text && html`<div class=${turn.grounded === false ? "answer unknown" : "answer"}>
      ${turn.text.split("\n").map((line) => html`<p><${Marked} line=${line} citations=${turn.citations} open=${open} /></p>`)}
    </div>`}
    ${turn.error && html`<p class="error" role="alert">${turn.error}</p>`}
    ${turn.stopped && html`<p class="hint">Stopped.</p>`}
    ${turn.citations.length > 0 && !turn.running && html`<${Sources} turn=${turn} open=${open} />`}
    ${turn.request_id && !turn.running && html`<${About} turn=${turn} />`}
  </li>`;
}

/** A line of an answer whose markers are buttons. */
function Marked({ line, citations, open }) {
  return line.split(/(\[\d+\])/).map((piece) => {
    const citation = citations.find(({ marker }) => marker === piece);
    if (!citation) return piece;
    return html`<${Marker} citation=${citation} open=${open} />`;
  });
}

function Marker({ citation, open }) {
  const number = citation.marker.slice(1, -1);
  return html`<button class="marker" aria-label=${`Source ${number}: ${citation.title}`} title=${citation.title}
    onClick=${() => open(citation)}>${number}</button>`;
}

const bySection = (citations) =>
  Object.values(Object.groupBy(citations, ({ uri, section }) => `${uri} ${section}`));

function Sources({ turn, open }) {
  return html`<section class="sources" aria-label="Sources">
    <h2>${turn.grounded === false ? "Nearest sources" : "Sources"}</h2>
    <ul>${bySection(turn.citations).map((group) => html`<li>
      ${group.map((citation) => html`<${Marker} citation=${citation} open=${open} />`)}
      ${isRecord(group[0]) ? html`<a href=${recordAddress(group[0])}>${group[0].title}</a>` : html`<b>${group[0].title}</b>`}
      ${group[0].section && html`<span> · ${group[0].section}</span>`}
    </li>`)}</ul>
  </section>`;
}

/** Where a whole answer comes from, what was kept out of it, and whether it helped. */
function About({ turn }) {
  return html`<footer>
    <p class="hint">${origin(turn)}${turn.timings_ms?.total ? ` · ${(turn.timings_ms.total / 1000).toFixed(1)} s` : ""}</p>
    ${setAside(turn.guard) && html`<p class="hint">${setAside(turn.guard)}</p>`}
    <${Feedback} request=${turn.request_id} />
  </footer>`;
}

/** Who wrote an answer. */
function origin(turn) {
  const author = turn.model === "none" ? "without a model" : turn.model;
  return [turn.cached && "from the cache", turn.extractive ? "quoted from the sources" : author].filter(Boolean).join(" · ");
}

/** What the guard kept out of an answer. */
function setAside(guard) {
  const passages = guard?.flagged_passages.length ?? 0;
  const removed = Object.values(guard?.removed ?? {}).reduce((sum, count) => sum + count, guard?.withheld ?? 0);
  const told = [passages && `Passages not used, since they speak to the assistant: ${passages}`, removed && `pieces taken out: ${removed}`];
  return told.filter(Boolean).join(" · ");
}
