// One device: its health and why, what it sent, what happened to it, and what to do.
import { html, useState } from "./vendor/preact-htm-3.1.1.js";
import { Trend } from "./chart.js";
import { Score, Waiting, useGet } from "./load.js";
import { Source } from "./source.js";

const UTC = { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" };
const when = (ts) => `${new Date(ts).toLocaleString(undefined, UTC)} UTC`; // as answers and guides say it

export function Device({ argument: id }) {
  const { found, error } = useGet(`/insights/${encodeURIComponent(id)}`);
  const question = encodeURIComponent(`What is wrong with ${id} and what should I do?`);
  return html`<div class="title"><h1 tabindex="-1">${id}</h1>
      <span class="buttons"><a class="button" href=${`#/ask/${question}`}>Ask what is wrong</a>
        <a class="button primary" href=${`#/troubleshoot/${encodeURIComponent(id)}`}>Troubleshoot this</a></span></div>
    ${!found ? html`<${Waiting} error=${error} />` : html`<${Insights} device=${found} />`}`;
}

function Insights({ device }) {
  const [source, setSource] = useState();
  return html`
    ${source && html`<${Source} citation=${source} close=${() => setSource()} />`}
    <div class="columns">
      <section class="card"><h2>Health ${device.day ? html`<small>on ${device.day}</small>` : ""}</h2>
        <p class="lead"><${Score} value=${device.score} /> ${device.model}</p>
        <${Components} components=${device.components} />
        ${device.risk.length > 0 && html`<h3>Probability of a failure</h3>
          <dl class="risk">${device.risk.map((risk) => html`<div><dt>within ${risk.horizon_hours} h</dt><dd>${(risk.probability * 100).toFixed(risk.probability < 0.1 ? 1 : 0)} %</dd></div>`)}</dl>`}
      </section>
      <section class="card"><h2>What to do</h2>
        ${device.actions.length
          ? html`<ol class="actions">${device.actions.map((each) => html`<li><b>${each.action}</b><span class="hint">${each.because} · rule ${each.rule}</span>
              ${each.runbook && html`<button class="plain" onClick=${() => setSource(each.runbook)}>Runbook: ${each.runbook.title}</button>`}</li>`)}</ol>`
          : html`<p>Nothing calls for an action.</p>`}
      </section>
    </div>
    <section class="card"><h2>Readings <small>times in UTC</small></h2><${Trend} device=${device} /></section>
    <div class="columns">
      <section class="card"><h2>Alerts</h2><${Alerts} alerts=${device.alerts} /></section>
      <section class="card"><h2>Events</h2><${Events} events=${device.events} /></section>
    </div>`;
}

const Components = ({ components }) => html`<ul class="components">${components.map((each) => html`<li>
  <span><b>${each.component}</b> <span class="hint">${each.detail}</span></span>
  <span class=${each.penalty > 0 ? "penalty" : "hint"}>${each.penalty > 0 ? `−${each.penalty.toFixed(1)}` : "0"}</span></li>`)}</ul>`;

const Alerts = ({ alerts }) =>
  alerts.length
    ? html`<ul class="log">${alerts.map((alert) => html`<li>
        <span class=${`tag ${alert.resolved_at ? "" : alert.severity}`}>${alert.resolved_at ? "resolved" : alert.severity}</span>
        <b>${alert.rule}</b>${alert.metric && ` on ${alert.metric}`}
        <span class="hint">${when(alert.opened_at)}${alert.resolved_at && ` to ${when(alert.resolved_at)}`}</span></li>`)}</ul>`
    : html`<p>None.</p>`;

const Events = ({ events }) =>
  events.length
    ? html`<ul class="log">${events.map((event) => html`<li>
        <span class=${`tag ${event.severity}`}>${event.severity}</span>
        <b>${event.error_code ?? event.type}</b> ${event.message}
        <span class="hint">${when(event.ts)}</span></li>`)}</ul>`
    : html`<p>None.</p>`;
