
"use strict";
// What the page does beyond showing: it carries the caller's key along, runs a day, and follows a run.
(() => {
  // A relative link on /api/exports/ would miss: the address goes without a last slash.
  if (location.pathname.endsWith("/")) history.replaceState(null, "", location.pathname.slice(0, -1) + location.search + location.hash);

  const key = new URLSearchParams(location.search).get("code");
  const live = document.getElementById("live");
  const following = new Map();
  const FIRST_PAUSE = 700, LONGEST_PAUSE = 10000;

  const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
  const ask = (url, accept, method = "GET") =>
    fetch(url, { method, headers: key ? { Accept: accept, "x-functions-key": key } : { Accept: accept } });

  function prepare() {
    for (const note of document.querySelectorAll("[data-unscripted]")) note.hidden = true;
    for (const button of document.querySelectorAll("button[data-do]")) {
      button.hidden = false;
      button.setAttribute("aria-disabled", following.has(button.dataset.day)); // disabled, it would lose the focus
    }
    mark();
    if (!key) return;
    for (const link of document.querySelectorAll("main a[href]")) {
      if (link.getAttribute("href").startsWith("#")) continue;
      const url = new URL(link.href);
      url.searchParams.set("code", key);
      link.href = url;
    }
    for (const form of document.querySelectorAll("main form")) {
      if (form.elements.code) continue;
      form.append(Object.assign(document.createElement("input"), { type: "hidden", name: "code", value: key }));
    }
  }

  const opened = () => location.hash.startsWith("#d-") ? document.getElementById(location.hash.slice(1)) : null;

  // The open day is the address's target; drawn anew, it is not, so that it is marked as well.
  function mark() {
    document.querySelector(".open.marked")?.classList.remove("marked");
    opened()?.classList.add("marked");
    for (const link of document.querySelectorAll("a.day")) {
      if (link.hash === location.hash) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  // One line for each run followed. Its state is announced, its figures are not: they change all the time.
  function line(day) {
    const id = `live-${day}`;
    if (!document.getElementById(id)) {
      const row = Object.assign(document.createElement("p"), { id });
      const figures = document.createElement("small");
      figures.setAttribute("aria-live", "off");
      row.append(document.createElement("span"), figures);
      live.append(row);
    }
    return document.getElementById(id);
  }

  function tell(day, text, { kind = "", figures = "", hours = null } = {}) {
    const row = line(day), said = row.querySelector("span");
    row.className = kind;
    if (said.textContent !== `${day}: ${text}`) said.textContent = `${day}: ${text}`;
    row.querySelector("small").textContent = figures;
    let bar = row.querySelector("progress");
    if (hours === null) bar?.remove();
    else if (!bar) {
      bar = Object.assign(document.createElement("progress"), { max: 24 });
      bar.setAttribute("aria-label", `Hours of ${day} done`);
      row.append(bar);
    }
    if (hours) bar.value = hours; // without a value it shows that something goes on
    row.querySelector("button")?.remove();
    if (kind) row.append(Object.assign(document.createElement("button"), { textContent: "Close", onclick: () => row.remove() }));
  }

  const problem = async (answer) => {
    const body = await answer.json().catch(() => null);
    return body?.detail || `the app answers ${answer.status}. Is the key in the address still right?`;
  };

  async function run(day, url, replacing) {
    if (following.has(day)) return;
    following.set(day, url);
    prepare();
    try {
      tell(day, "asking for a run …");
      const answer = await ask(replacing ? `${url}?replace=true` : url, "application/json", "POST");
      if (answer.status === 202 || answer.status === 409) await follow(day, url);
      else tell(day, `not started: ${await problem(answer)}`, { kind: "bad" });
    } catch {
      tell(day, "not started: the app does not answer. Try again.", { kind: "bad" });
    }
    following.delete(day);
    await refresh();
  }

  async function follow(day, url) {
    let wait = FIRST_PAUSE;
    for (;;) {
      let state = null;
      try {
        const answer = await ask(url, "application/json");
        if (answer.ok) state = await answer.json();
        else if (answer.status < 500) return tell(day, await problem(answer), { kind: "bad" });
      } catch { /* away for a moment: asked again below */ }
      if (!state) tell(day, "no answer just now, asking again …");
      else if (!["queued", "running"].includes(state.status)) return finish(day, state);
      else progress(day, state);
      await pause(wait);
      wait = state ? Math.min(wait * 1.2, 3000) : Math.min(wait * 2, LONGEST_PAUSE);
    }
  }

  function progress(day, state) {
    const at = state.progress || {}, hours = Number(at.hours_done) || 0, events = Number(at.events) || 0;
    if (state.status === "queued") return tell(day, state.error ? `waits for its next try after ${state.error.type}` : "queued");
    const figures = [hours ? `${hours} of 24 hours` : "", events ? `${events.toLocaleString("en")} events` : ""];
    tell(day, "running", { figures: figures.filter(Boolean).join(", "), hours });
  }

  function finish(day, state) {
    const totals = state.manifest?.totals;
    if (state.error) return tell(day, `${state.status}, ${state.error.type}. The page says what to do.`, { kind: "bad" });
    const held = totals ? `, ${totals.events.toLocaleString("en")} events in ${totals.files} files` : "";
    tell(day, state.status + held, { kind: state.status === "failed" ? "bad" : "good" });
  }

  // The server draws the page anew, so that what it says is always the server's.
  async function refresh() {
    const answer = await ask(location.pathname + location.search, "text/html").catch(() => null);
    if (answer?.ok) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const focused = document.activeElement?.id;
      document.getElementById("main").replaceWith(fresh.getElementById("main"));
      document.title = fresh.title;
      prepare();
      if (focused) (document.getElementById(focused) ?? opened())?.focus({ preventScroll: true });
    } else prepare();
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

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-do]");
    if (!button || button.getAttribute("aria-disabled") === "true") return;
    const { day, url } = button.dataset;
    if (button.dataset.do === "follow") watch(button);
    else if (button.dataset.do === "run") run(day, url, false);
    else if (await confirmed(button)) run(day, url, true);
  });

  async function watch(button) {
    const { day, url } = button.dataset;
    if (following.has(day)) return;
    following.set(day, url);
    prepare();
    await follow(day, url);
    following.delete(day);
    await refresh();
  }

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
  // A run that is alone is followed at once; of a whole backfill, the ones that are asked for.
  const alive = document.querySelectorAll("button[data-do=follow]");
  if (alive.length === 1) watch(alive[0]);
})();
