"use strict";
// Keeps what is shown up to date: the server says that something has changed, and the part of the
// page that changes is asked for again. Without this script a page is complete, as of its loading.
(() => {
  const live = document.getElementById("live");
  const said = document.getElementById("live-state");
  const source = document.body.dataset.live;
  const LEAST_MS = 1000; // between two refreshes
  const AGAIN_MS = 4000; // after a connection that the browser gave up
  let last = 0;
  let pending = 0;
  let stale = false;

  const say = (text, tone) => {
    if (said && said.textContent !== text) {
      said.textContent = text;
      said.className = tone;
    }
  };

  // ---- elapsed times, by the server's clock

  let clock = { server: Date.now(), here: performance.now() };
  const readClock = () => {
    const now = live && live.querySelector("[data-now]");
    if (now) clock = { server: Number(now.dataset.now), here: performance.now() };
  };
  const words = (ms) => {
    if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`;
    const seconds = Math.round(ms / 1000);
    const units = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];
    for (const [size, name, smaller, part] of units) {
      if (seconds >= size) {
        const rest = Math.floor((seconds % size) / smaller);
        return `${Math.floor(seconds / size)} ${name}${rest ? ` ${rest} ${part}` : ""}`;
      }
    }
    return `${seconds} s`;
  };
  const count = () => {
    const now = clock.server + performance.now() - clock.here;
    for (const element of live.querySelectorAll("[data-since]")) {
      const elapsed = Math.max(0, now - Number(element.dataset.since));
      if (element instanceof HTMLProgressElement) element.value = Math.min(elapsed, element.max);
      else element.textContent = words(elapsed);
    }
  };

  // ---- refreshing

  const place = (element) => {
    if (!element || !live.contains(element)) return null;
    if (element.id) return `#${CSS.escape(element.id)}`;
    const owner = element.closest("[id]");
    if (element.matches("summary") && owner && live.contains(owner)) return `#${CSS.escape(owner.id)} > summary`;
    const href = element.getAttribute("href");
    return href ? `a[href="${CSS.escape(href)}"]` : null;
  };
  const show = (html) => {
    const parts = [...live.querySelectorAll("details[id]")].map((one) => [one.id, one.open]);
    const focused = place(document.activeElement);
    live.innerHTML = html;
    for (const [id, open] of parts) {
      const one = document.getElementById(id);
      if (one) one.open = open;
    }
    const again = focused && live.querySelector(focused);
    if (again) again.focus({ preventScroll: true });
    readClock();
    count();
  };
  const refresh = async () => {
    pending = 0;
    last = performance.now();
    stale = false;
    try {
      const answer = await fetch(location.href, { headers: { "X-Live-Part": "1" } });
      if (answer.status === 401) return signedOut();
      if (!answer.ok) return say("Not up to date", "bad");
      const html = await answer.text();
      // Somebody marks text: it would be lost.
      if (!getSelection().isCollapsed && live.contains(getSelection().anchorNode)) {
        stale = true;
        return;
      }
      show(html);
    } catch {
      say("Connecting again", "busy");
    }
  };
  const changed = () => {
    stale = true;
    if (document.hidden || pending) return;
    const soonest = Math.max(0, last + LEAST_MS - performance.now());
    pending = setTimeout(refresh, soonest);
  };

  // ---- the connection

  let events = null;
  const signedOut = () => {
    if (events) events.close();
    events = null;
    if (!said) return;
    const link = document.createElement("a");
    link.href = `/ui/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;
    link.textContent = "Signed out: sign in";
    said.className = "bad";
    said.replaceChildren(link);
  };
  const connect = () => {
    events = new EventSource(source);
    events.addEventListener("begin", () => {
      say("Live", "good");
      if (last) changed();
      last = last || performance.now();
    });
    events.addEventListener("change", changed);
    events.addEventListener("tick", changed);
    events.addEventListener("end", signedOut);
    events.addEventListener("error", () => {
      if (!events) return;
      say("Connecting again", "busy");
      if (events.readyState === EventSource.CLOSED) {
        events = null;
        setTimeout(async () => {
          const answer = await fetch(location.href, { headers: { "X-Live-Part": "1" } }).catch(() => null);
          if (answer && answer.status === 401) signedOut();
          else connect();
        }, AGAIN_MS);
      }
    });
  };

  if (!live || !source) return;
  readClock();
  setInterval(count, 1000);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && stale) changed();
  });
  addEventListener("pagehide", () => events && events.close());
  addEventListener("pageshow", (event) => {
    if (event.persisted) connect();
  });
  connect();
})();
