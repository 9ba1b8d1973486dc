// Readings over time, a chart for each metric, with alerts as bands and events as lines.
import { html, useEffect, useRef } from "./vendor/preact-htm-3.1.1.js";

const HEIGHT = 150;
const seconds = (ts) => new Date(ts).getTime() / 1000;

export function Trend({ device }) {
  const { trend } = device;
  const names = [...new Set(trend.flatMap((point) => Object.keys(point.metrics)))].sort();
  if (!names.length) return html`<p>No readings.</p>`;
  return html`<div class="charts">${names.map((name) => html`<${Chart} name=${name} device=${device} key=${name} />`)}</div>`;
}

function Chart({ name, device }) {
  const place = useRef();
  const times = device.trend.map((point) => seconds(point.ts));
  const values = device.trend.map((point) => point.metrics[name] ?? null);
  const given = values.filter((value) => value !== null);
  useEffect(() => {
    const ink = (variable) => getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
    const draw = () => {
      const axis = { stroke: ink("--muted"), grid: { stroke: ink("--line"), width: 1 }, ticks: { show: false } };
      return new uPlot({
        width: place.current.clientWidth, height: HEIGHT, legend: { show: false }, cursor: { y: false },
        scales: { x: { time: true } }, axes: [{ ...axis }, { ...axis, size: 55 }],
        tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), "Etc/UTC"),
        // A reading need not bring every metric: the line goes on over those that bring others.
        series: [{}, { stroke: ink("--accent"), width: 1.6, spanGaps: true, points: { show: given.length < 3 } }],
        hooks: { drawAxes: [(plot) => marks(plot, name, device, ink)] },
      }, [times, values], place.current);
    };
    let plot = draw();
    const again = () => (plot.destroy(), (plot = draw()));
    const resized = new ResizeObserver(() => plot.setSize({ width: place.current.clientWidth, height: HEIGHT }));
    resized.observe(place.current);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", again);
    return () => (resized.disconnect(), scheme.removeEventListener("change", again), plot.destroy());
  }, [device]);
  const span = given.length ? `${given.length} readings from ${Math.min(...given)} to ${Math.max(...given)}, the last ${given.at(-1)}` : "no readings";
  return html`<figure><figcaption>${name}</figcaption>
    <div ref=${place} role="img" aria-label=${`${name}: ${span}`}></div></figure>`;
}

/** Behind the line: alerts on this metric or on the whole device, and events. */
function marks(plot, name, { alerts, events }, ink) {
  const { ctx, bbox } = plot;
  const at = (ts) => Math.min(Math.max(plot.valToPos(seconds(ts), "x", true), bbox.left), bbox.left + bbox.width);
  const [first, last] = [plot.scales.x.min, plot.scales.x.max];
  ctx.save();
  ctx.fillStyle = ink("--alert-band");
  for (const alert of alerts.filter(({ metric }) => !metric || metric === name)) {
    const end = alert.resolved_at ?? last * 1000;
    if (seconds(end) < first || seconds(alert.opened_at) > last) continue;
    ctx.fillRect(at(alert.opened_at), bbox.top, Math.max(2, at(end) - at(alert.opened_at)), bbox.height);
  }
  ctx.fillStyle = ink("--event-line");
  for (const event of events) {
    if (seconds(event.ts) >= first && seconds(event.ts) <= last) ctx.fillRect(at(event.ts), bbox.top, 2, bbox.height);
  }
  ctx.restore();
}
