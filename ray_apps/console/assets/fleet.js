// The fleet: its least healthy devices, and how health is spread.
import { html } from "./vendor/preact-htm-3.1.1.js";
import { Score, Waiting, grade, useGet } from "./load.js";

export function Fleet() {
  const { found, error } = useGet("/insights?limit=50");
  const open = (event) => {
    event.preventDefault();
    location.hash = `#/devices/${encodeURIComponent(new FormData(event.target).get("device").trim())}`;
  };
  return html`<div class="title"><h1 tabindex="-1">Fleet</h1>
      <form class="find" onSubmit=${open}><label class="hidden" for="device">Device</label>
        <input id="device" name="device" placeholder="Device id" required maxlength="64" /><button>Open</button></form></div>
    ${!found ? html`<${Waiting} error=${error} />` : html`<${Health} fleet=${found} />`}`;
}

function Health({ fleet: { devices, distribution } }) {
  const total = distribution.reduce((sum, count) => sum + count, 0);
  if (!total) return html`<p>No device has a health score yet: scores are made daily from what devices send.</p>`;
  return html`
    <section class="card"><h2>Health of ${total.toLocaleString()} devices on ${devices[0].day}</h2>
      <${Distribution} counts=${distribution} /></section>
    <section class="card"><h2>Least healthy</h2>
      <div class="scroll" tabindex="0" role="region" aria-label="Least healthy devices"><table class="worst">
        <thead><tr><th scope="col">Device</th><th scope="col">Health</th><th scope="col">Model</th><th scope="col">What weighs most</th></tr></thead>
        <tbody>${devices.map((device) => html`<tr>
          <th scope="row"><a href=${`#/devices/${encodeURIComponent(device.device_id)}`}>${device.device_id}</a></th>
          <td><${Score} value=${device.score} /></td><td class="short">${device.model}</td><td>${device.detail}</td></tr>`)}</tbody>
      </table></div></section>`;
}

function Distribution({ counts }) {
  const most = Math.max(...counts);
  const width = 100 / counts.length;
  const text = counts.map((count, band) => `${band * 10} to ${band * 10 + 10}: ${count}`).join(", ");
  return html`<svg class="distribution" viewBox="0 0 100 34" role="img" aria-label=${`Devices by score: ${text}`}>
    ${counts.map((count, band) => {
      const height = count ? Math.max(0.6, (count / most) * 22) : 0;
      const middle = band * width + width / 2;
      return html`<g><rect class=${grade(band * 10 + 5)} x=${band * width + 0.5} y=${27 - height} width=${width - 1} height=${height} rx="0.6" />
        ${count > 0 && html`<text x=${middle} y=${25.6 - height}>${count.toLocaleString()}</text>`}
        <text class="axis" x=${middle} y="31.5">${band * 10}–${band * 10 + 10}</text></g>`;
    })}
  </svg>`;
}
