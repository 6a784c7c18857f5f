
"use strict";
// What the page does beyond showing: it keeps the caller's key, starts, withdraws and follows runs.
(() => {
  // Relative links need an address without a slash at its end. The key leaves the address too, because the history, a
  // bookmark or a shared screen would keep it.
  const address = new URL(location.href), key = address.searchParams.get("code");
  address.searchParams.delete("code");
  if (address.pathname.endsWith("/")) address.pathname = address.pathname.slice(0, -1);
  if (address.href !== location.href) history.replaceState(null, "", address);

  let shown = location.pathname + location.search;
  const live = document.getElementById("live"), following = new Map(), seen = new Map();
  const FIRST_PAUSE = 700, LONGEST_PAUSE = 10000, GOOD_SHOWN = 8000, RANGE_PAUSE = 3000;

  const name = (button) => button.dataset.day ?? button.dataset.name;
  const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
  const ask = (url, accept = "application/json", method = "GET") =>
    fetch(url, { method, headers: key ? { Accept: accept, "x-functions-key": key } : { Accept: accept } }).catch(() => null);

  async function problem(answer) {
    if (!answer) return "the app does not answer. Try again.";
    const body = await answer.json().catch(() => null);
    return body?.detail || `the app answers ${answer.status}. Is the key still valid?`;
  }

  const refused = async (of, what, answer) => tell(of, `${what}: ${await problem(answer)}`, { kind: "bad" });

  function prepare() {
    for (const note of document.querySelectorAll("[data-unscripted]")) note.hidden = true;
    for (const button of document.querySelectorAll("button[data-do]")) {
      button.hidden = false;
      button.setAttribute("aria-disabled", following.has(name(button))); // a disabled button would lose the focus
    }
    mark();
  }

  const opened = () => location.hash.startsWith("#d-") ? document.getElementById(location.hash.slice(1)) : null;

  // The open day is the address's target; after a refresh it is not, so it is marked as well.
  function mark() {
    document.querySelector(".open.marked")?.classList.remove("marked");
    opened()?.classList.add("marked");
    for (const link of document.querySelectorAll("a.day")) {
      if (link.hash === location.hash) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  // With a key, the script fetches what a link leads to: an address without the key would not be answered.
  async function visit(url, remember = true) {
    const answer = await ask(url, "text/html");
    if (!answer) return refused("page", "not opened", answer);
    if (remember) history.pushState(null, "", url);
    show(await answer.text());
    (opened() ?? document.querySelector("h1"))?.scrollIntoView();
  }

  async function save(link) {
    const answer = await ask(link.href, "*/*");
    if (!answer?.ok) return refused("page", "not saved", answer);
    const url = URL.createObjectURL(await answer.blob());
    Object.assign(document.createElement("a"), { href: url, download: link.download }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  function go(event) {
    const link = event.target.closest("main a[href]");
    if (!link || link.getAttribute("href").startsWith("#") || event.button > 1) return;
    event.preventDefault();
    if (link.hasAttribute("download")) return save(link);
    if (!(event.button || event.ctrlKey || event.metaKey || event.shiftKey)) return visit(link.href);
    const url = new URL(link.href);
    url.searchParams.set("code", key);
    open(url, "_blank", "noopener,noreferrer");
  }

  if (key) {
    document.addEventListener("click", go);
    document.addEventListener("auxclick", go);
    document.addEventListener("submit", (event) => {
      if (event.target.method !== "get") return;
      event.preventDefault();
      visit(`${location.pathname}?${new URLSearchParams(new FormData(event.target))}`);
    });
    addEventListener("popstate", () => location.pathname + location.search === shown || visit(location.href, false));
    addEventListener("keydown", (event) => {
      if (event.key !== "F5" && !(event.key === "r" && (event.ctrlKey || event.metaKey))) return;
      event.preventDefault();
      refresh();
    });
  }

  // One line for each run followed. Its state is announced, its figures are not: they change all the time.
  function tell(of, text, { kind = "", figures = "", done = null, most = 24 } = {}) {
    const id = `live-${of}`;
    let row = document.getElementById(id);
    if (!row) {
      row = Object.assign(document.createElement("p"), { id });
      const small = document.createElement("small");
      small.setAttribute("aria-live", "off");
      row.append(document.createElement("span"), small);
      live.append(row);
    }
    const said = row.querySelector("span");
    row.className = kind;
    if (said.textContent !== `${of}: ${text}`) said.textContent = `${of}: ${text}`;
    row.querySelector("small").textContent = figures;
    let bar = row.querySelector("progress");
    if (done === null) bar?.remove();
    else if (!bar) {
      bar = Object.assign(document.createElement("progress"), { max: most });
      bar.setAttribute("aria-label", `Progress of ${of}`);
      row.append(bar);
    }
    if (done) bar.value = done; // without a value, the bar shows that work goes on
    row.querySelector("button")?.remove();
    if (kind === "good") setTimeout(() => row.className === kind && row.remove(), GOOD_SHOWN);
    if (kind) row.append(Object.assign(document.createElement("button"), { textContent: "Close", onclick: () => row.remove() }));
  }

  // Work for a button. Meanwhile all buttons of its day or range are disabled. The page is fetched again at the end.
  async function during(button, work) {
    const of = name(button);
    if (following.has(of)) return;
    following.set(of, true);
    prepare();
    await work(of, button.dataset);
    following.delete(of);
    await refresh();
  }

  async function run(day, { url }, replacing) {
    tell(day, "requesting a run …");
    const answer = await ask(replacing ? `${url}?replace=true` : url, "application/json", "POST");
    if (answer?.status === 202 || answer?.status === 409) await follow(day, { url });
    else await refused(day, "not started", answer);
  }

  async function follow(day, { url }) {
    for (let wait = FIRST_PAUSE; ; ) {
      const answer = await ask(url);
      if (answer && !answer.ok && answer.status < 500) return refused(day, "no longer followed", answer);
      const state = answer?.ok ? await answer.json().catch(() => null) : null;
      if (!state) tell(day, "no answer, trying again …");
      else if (!["queued", "running"].includes(state.status)) return finish(day, state);
      else progress(day, state);
      await pause(wait);
      wait = state ? Math.min(wait * 1.2, 3000) : Math.min(wait * 2, LONGEST_PAUSE);
    }
  }

  function size(bytes) {
    const power = Math.min(Math.floor(Math.log10(bytes || 1) / 3), 4);
    return `${(bytes / 1000 ** power).toFixed(power ? 1 : 0)} ${["bytes", "kB", "MB", "GB", "TB"][power]}`;
  }

  function rate(day, bytes) {
    const last = seen.get(day), at = Date.now();
    seen.set(day, { bytes, at });
    return last && bytes > last.bytes && at > last.at ? `${size((bytes - last.bytes) / (at - last.at) * 1000)}/s` : "";
  }

  function progress(day, state) {
    const at = state.progress || {}, done = Number(at.hours_done) || 0, events = Number(at.events) || 0, bytes = Number(at.bytes) || 0;
    if (state.status === "queued") return tell(day, state.error ? `waits for its next try after ${state.error.type}` : "queued");
    const figures = [done && `${done} of 24 hours`, events && `${events.toLocaleString("en")} events`, bytes && size(bytes), rate(day, bytes),
      at.attempt > 1 && `attempt ${at.attempt}`].filter(Boolean).join(", ");
    const retry = at.retry_reason ? `; next attempt at ${String(at.retry_at).slice(11, 19)} UTC: ${at.retry_reason}` : "";
    tell(day, `running${retry}`, { figures, done });
  }

  function finish(day, state) {
    const totals = state.manifest?.totals;
    if (state.error) return tell(day, `${state.status}, ${state.error.type}. The page says what to do.`, { kind: "bad" });
    const held = totals ? `, ${totals.events.toLocaleString("en")} events in ${totals.files} files` : "";
    tell(day, state.status + held, { kind: state.status === "failed" ? "bad" : "good" });
  }

  async function withdraw(of, { url, from, to }) {
    const answer = await ask(from ? `${url}?from=${from}&to=${to}` : url, "application/json", "DELETE");
    if (!answer?.ok) return refused(of, "not withdrawn", answer);
    const { runs } = await answer.json(), left = runs.filter((run) => run.status === "running").length;
    tell(of, `${runs.length - left} withdrawn${left ? `, ${left} already running` : ""}`, { kind: "good" });
  }

  // All missing days of a range: one request, then one look at the range every few seconds.
  async function runMissing(of, { url, from, to }) {
    tell(of, "requesting the runs …");
    const range = `${url}?from=${from}&to=${to}`, answer = await ask(`${range}&missing=true`, "application/json", "POST");
    if (!answer?.ok) return refused(of, "not started", answer);
    const asked = new Set((await answer.json()).runs.map((run) => run.date));
    for (let before = ""; ; await pause(RANGE_PAUSE)) {
      const look = await ask(range);
      if (look && !look.ok && look.status < 500) return refused(of, "no longer followed", look);
      if (!look?.ok) continue;
      const days = (await look.json()).days.filter((day) => asked.has(day.date));
      const count = (...states) => days.filter((day) => states.includes(day.status)).length;
      const done = count("complete", "empty"), failed = count("failed"), running = count("running"), queued = count("queued");
      const figures = [`${done} of ${asked.size} landed`, running && `${running} running`, queued && `${queued} queued`,
        failed && `${failed} failed`].filter(Boolean).join(", ");
      if (!running && !queued) return tell(of, figures, { kind: failed ? "bad" : "good" });
      tell(of, "running", { figures, done, most: asked.size });
      if (figures !== before) await refresh();
      before = figures;
    }
  }

  // The server renders the page again, so the page never says anything that the server does not.
  async function refresh() {
    const answer = await ask(location.pathname + location.search, "text/html");
    if (answer?.ok) show(await answer.text());
    else prepare();
  }

  function show(text) {
    const fresh = new DOMParser().parseFromString(text, "text/html"), focused = document.activeElement?.id;
    const main = fresh.getElementById("main");
    if (!main) return tell("page", "the answer is not a page of this app. Is the key or the sign-in still valid? Open the page again.", { kind: "bad" });
    document.getElementById("main").replaceWith(main);
    document.title = fresh.title;
    shown = location.pathname + location.search;
    prepare();
    if (focused) (document.getElementById(focused) ?? opened())?.focus({ preventScroll: true });
  }

  async function confirmed(button) {
    const dialog = document.getElementById("ask");
    document.getElementById("ask-text").textContent = button.dataset.question;
    document.getElementById("ask-yes").textContent = button.dataset.yes;
    document.getElementById("ask-no").textContent = button.dataset.no;
    dialog.returnValue = "no";
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    return dialog.returnValue === "yes";
  }

  const WORK = { follow, run, missing: runMissing, withdraw, replace: (day, data) => run(day, data, true) };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-do]");
    if (!button || button.getAttribute("aria-disabled") === "true") return;
    if (button.dataset.do !== "replace" || (await confirmed(button))) during(button, WORK[button.dataset.do]);
  });

  document.addEventListener("keydown", (event) => {
    const days = [...document.querySelectorAll("a.day")], at = days.indexOf(document.activeElement);
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -7, ArrowDown: 7 }[event.key];
    if (at < 0 || !step || event.ctrlKey || event.altKey || event.metaKey || !days[at + step]) return;
    event.preventDefault();
    days[at + step].focus();
  });

  addEventListener("hashchange", () => {
    mark();
    opened()?.focus({ preventScroll: true });
  });

  prepare();
  // If one day has a live run, it is followed at once. Of several, the page follows those that the user picks.
  const alive = document.querySelectorAll("button[data-do=follow]");
  if (alive.length === 1) during(alive[0], follow);
})();
