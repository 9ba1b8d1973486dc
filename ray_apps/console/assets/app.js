// The page: who is signed in, which view the address names, and the keys that lead from one to another.
import { html, render, useEffect, useState } from "./vendor/preact-htm-3.1.1.js";
import { UNAUTHORIZED, bearer, signIn, signOut, token } from "./api.js";
import { Ask, forget } from "./ask.js";
import { Device } from "./device.js";
import { Fleet } from "./fleet.js";
import { Guide, Troubleshoot } from "./troubleshoot.js";

const VIEWS = { ask: Ask, fleet: Fleet, devices: Device, troubleshoot: Troubleshoot, guides: Guide };
const KEYS = { a: "#/ask", f: "#/fleet" };

// A link that was cut short or typed may hold a lone percent sign.
const decoded = (text) => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

const route = () => {
  const [view, argument] = location.hash.replace(/^#\//, "").split("/");
  return { view: Object.hasOwn(VIEWS, view) ? view : "ask", argument: decoded(argument ?? "") };
};

const typing = (target) => target.matches("input, textarea, select");

function App() {
  const [signed, setSigned] = useState(Boolean(token()));
  const [reason, setReason] = useState("");
  const [{ view, argument }, setRoute] = useState(route());
  useEffect(() => {
    const moved = () => setRoute(route());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  useEffect(() => {
    let leader = false;
    const pressed = (event) => {
      if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
      if (leader && event.key in KEYS) location.hash = KEYS[event.key];
      if (event.key === "/") {
        event.preventDefault();
        if (route().view !== "ask") location.hash = KEYS.a;
        else document.querySelector("#question")?.focus();
      }
      leader = event.key === "g";
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
  useEffect(() => {
    if (view !== "ask") document.querySelector("main h1")?.focus(); // Ask leads to its question
  }, [view, argument]);
  const leave = (why = "") => {
    signOut();
    forget();
    setReason(why);
    setSigned(false);
  };
  useEffect(() => {
    const refused = ({ detail }) => leave(detail);
    addEventListener(UNAUTHORIZED, refused);
    return () => removeEventListener(UNAUTHORIZED, refused);
  }, []);
  if (!signed) return html`<${SignIn} reason=${reason} done=${() => setSigned(true)} />`;
  const View = VIEWS[view];
  return html`
    <a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), document.querySelector("main h1")?.focus())}>Skip to content</a>
    <header>
      <a class="brand" href="#/ask"><img src="icon.svg" alt="" width="28" height="28" />IoT Ops Copilot</a>
      <nav aria-label="Views">
        <${Tab} name="ask" view=${view} title="Ask (g a)">Ask<//>
        <${Tab} name="fleet" view=${view} title="Fleet (g f)">Fleet<//>
      </nav>
      <div class="who"><span title="Tenant and role">${bearer().tenant_id} · ${bearer().role}</span>
        <button class="plain" onClick=${() => leave()}>Sign out</button></div>
    </header>
    <main id="main"><${View} key=${view + argument} argument=${argument} /></main>`;
}

const Tab = ({ name, view, title, children }) =>
  html`<a href=${`#/${name}`} title=${title} aria-current=${name === view ? "page" : null}>${children}</a>`;

function SignIn({ reason, done }) {
  const [error, setError] = useState(reason);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await signIn(new FormData(event.target).get("token"));
      done();
    } catch (refused) {
      setError(refused.message);
      setBusy(false);
    }
  };
  return html`<main class="sign-in"><form class="card" onSubmit=${submit}>
    <img src="icon.svg" alt="" width="48" height="48" />
    <h1>IoT Ops Copilot</h1>
    <label for="token">Access token</label>
    <input id="token" name="token" type="password" autocomplete="off" required autofocus aria-describedby="how" />
    <p id="how" class="hint">Your administrator makes one with <code>iotops token</code>. It is kept until you close this tab.</p>
    ${error && html`<p class="error" role="alert">${error}</p>`}
    <button class="primary" disabled=${busy}>${busy ? "Checking" : "Sign in"}</button>
  </form></main>`;
}

render(html`<${App} />`, document.body);
