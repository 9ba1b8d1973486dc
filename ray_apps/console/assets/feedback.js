// Whether an answer helped.
import { html, useState } from "./vendor/preact-htm-3.1.1.js";
import { post } from "./api.js";

/** A thumb for the answer of a request; after one that is down a reason may be told. */
export function Feedback({ request }) {
  const [rating, setRating] = useState();
  const [state, setState] = useState("");
  const send = async (chosen, reason) => {
    try {
      await post("/feedback", { request_id: request, rating: chosen, ...(reason && { reason }) });
      setRating(chosen);
      setState(chosen === "down" && !reason ? "" : "Thank you.");
    } catch (error) {
      setState(error.message);
    }
  };
  const explain = (event) => {
    event.preventDefault();
    send("down", new FormData(event.target).get("reason").trim());
  };
  const thumb = (chosen, label) => html`<button type="button" class="plain" aria-pressed=${rating === chosen}
    onClick=${() => send(chosen)}>${label}</button>`;
  return html`<div class="feedback">
    <span>Did this help?</span> ${thumb("up", "Yes")} ${thumb("down", "No")}
    ${rating === "down" && !state && html`<form onSubmit=${explain}>
      <label>What was wrong? <input name="reason" maxlength="2000" required /></label> <button>Send</button>
    </form>`}
    <span role="status">${state}</span>
  </div>`;
}
