// Keeps the page of a coupon fresh: polls, keeps the receipt, looks for a place that was lost, and loads the page again
// when its state has changed. See ARCHITECTURE.md, The page.
//
// Storage, locks, channels and the history are optional, one by one: what is missing costs comfort and never the page.
// The other scripts of the page use `ask` and `put` of this one; without it the page works as it was rendered.
const page = document.getElementById("coupon");
const facts = page.dataset;
const mine = +facts.number || 0;
// Those who share a browser keep one receipt each; the last of all stands under the coupon alone.
const keptKey = "receipt:" + facts.id;
const receiptKey = keptKey + ":" + facts.user;
const room = "line:" + facts.id + ":" + mine;
const loadedAt = Date.now();
const LIMIT_MS = 10_000;
const LONGEST_PAUSE_MS = 30_000;
const HIDDEN_PAUSE_MS = 15_000;
const BREAK_MS = 3000;

let leading, queued, stopped, timer, leave;
let polls = 0;
let failures = 0;

function attempt(action) {
  try {
    return action();
  } catch {}
}

const channel = attempt(() => new BroadcastChannel(room));

function put(name, text) {
  for (const place of page.querySelectorAll("[data-field=" + name + "]")) {
    place.textContent = typeof text === "number" ? String(text).replace(/\B(?=(\d{3})+$)/g, ",") : text;
  }
}

function show(id, shown = true) {
  document.getElementById(id).hidden = !shown;
}

// Again and again: what answers a navigation may not be us, and may not answer.
function reload(pause = 0, address = location.pathname) {
  stopped = true;
  clearTimeout(timer);
  timer = setTimeout(() => {
    location.replace(address);
    reload(LONGEST_PAUSE_MS, address);
  }, pause);
}

// Asks our server, and gives back only what our server said.
//
// Proxies, captive portals and firewalls stand between a phone and us. Each may answer in our place, with any status and
// any body, or never. What does not look like an answer of ours is none: this rejects, and the caller tries again.
async function ask(url, options) {
  const abort = attempt(() => new AbortController()) || {};
  const tooLate = new Promise((_, reject) => setTimeout(reject, LIMIT_MS, {}));
  tooLate.catch(() => attempt(() => abort.abort()));
  return Promise.race([tooLate, fetch(url, { cache: "no-store", signal: abort.signal, ...options }).then(read)]);
}

async function read(answer) {
  const { status, headers } = answer;
  const body = status < 500 && (await answer.json().catch(() => {}));
  // Each answer of ours to a script has one of these two shapes; a problem (RFC 9457) repeats its status.
  if (body && status !== 429 && (body.status === status ? body.code : body.epoch && body.next_ms)) return body;
  // Retry-After is a number of seconds, or a date by the clock of whoever sent it.
  const retry = headers.get("Retry-After");
  const retryMs = retry * 1000 || Date.parse(retry) - (Date.parse(headers.get("Date")) || Date.now());
  throw { retryMs: Math.max(0, Math.min(retryMs, 2 * LONGEST_PAUSE_MS)) };
}

const askTicket = (receipt = "") => ask(facts.ticketUrl, { headers: { "X-Ticket-Receipt": receipt } });

// One tab polls for all that show the same. Where tabs cannot agree on one, or cannot tell each other, each polls alone.
function lead(steal) {
  const agreed = channel && attempt(() => navigator.locks.request(room, { steal }, take));
  if (!agreed) return take();
  queued = queued || !steal;
  agreed.catch(({ name }) => {
    if (name !== "AbortError") return take();
    leading = false;
    if (!queued) lead(false);
  });
}

function take() {
  leading = true;
  queued = false;
  plan(polls ? 0 : 300 + Math.random() * (facts.state === "scheduled" ? 3000 : 400));
  return new Promise((resolve) => (leave = resolve));
}

// Whoever has no ticket hears nothing at the opening that the clock does not know, and everybody's click is on its way.
function plan(pause) {
  if (stopped) return;
  clearTimeout(timer);
  if (document.hidden) pause = Math.max(pause, HIDDEN_PAUSE_MS);
  const left = facts.opensAtMs - facts.nowMs - (Date.now() - loadedAt);
  if (!mine && left > -BREAK_MS && pause > left - BREAK_MS) pause = Math.max(pause, left + BREAK_MS + Math.random() * 5000);
  timer = setTimeout(run, pause);
}

async function run() {
  if (!leading) return;
  let pause;
  let news = null;
  try {
    news = await poll();
    pause = (news.ticket || news.serving).next_ms;
    failures = 0;
  } catch ({ retryMs }) {
    pause = retryMs || Math.random() * Math.min(LONGEST_PAUSE_MS, 1000 * 2 ** ++failures);
  }
  if (channel) channel.postMessage(news);
  hear(news);
  plan(pause * (0.8 + Math.random() * 0.4));
}

// The public numbers tell when something may have changed for a ticket. They may be two seconds old behind a proxy, so
// whoever is told to ask each second asks for the ticket itself, each time.
async function poll() {
  const sentAt = Date.now();
  const due = mine && (facts.nextMs <= 1000 || polls % 5 === 0);
  polls += 1;
  let [serving, ticket] = await Promise.all([ask(facts.servingUrl), due && askTicket(facts.receipt)]);
  const heardAt = Date.now();
  const restarted = String(serving.epoch) !== facts.epoch;
  const moved = restarted || serving.state !== facts.servingState || serving.serving >= mine;
  if (mine && moved && !ticket) ticket = await askTicket(facts.receipt);
  return { serving, ticket, restarted, heardAt, roundTrip: heardAt - sentAt };
}

function hear(news) {
  if (stopped) return;
  page.classList.toggle("stale", !news);
  show("offline", !news);
  if (!news) return;
  const { serving, ticket } = news;
  facts.epoch = serving.epoch;
  facts.opensAtMs = serving.opens_at_ms;
  put("left", Math.max(0, serving.quota - serving.issued));
  show("paused", serving.pause);
  put("pause", serving.pause && serving.pause[document.documentElement.lang]);
  dispatchEvent(new CustomEvent("news", { detail: news }));
  if (ticket && (ticket.state !== facts.expected || ticket.number !== mine)) return reload();
  if (ticket) keepReceipt(ticket);
  const opens = facts.state === "scheduled" && serving.state === "open";
  if (!mine && !opens && serving.state !== facts.servingState) return reload(Math.random() * 2000);
  facts.servingState = serving.state;
}

async function lookForLostPlace() {
  const receipt = attempt(() => localStorage[receiptKey] || localStorage[keptKey]);
  if (!receipt) return;
  if (!facts.user) return show("kept");
  const ticket = await askTicket(receipt).catch(({ retryMs }) => ({ retryMs: retryMs || 2000 }));
  if (ticket.retryMs) return setTimeout(lookForLostPlace, ticket.retryMs * (1 + Math.random()));
  if (ticket.number) return reload();
  attempt(() => delete localStorage[receiptKey]);
  show("lost", ticket.state === "lost");
}

function keepReceipt({ receipt, next_ms }) {
  facts.receipt = receipt;
  facts.nextMs = next_ms;
  attempt(() => (localStorage[receiptKey] = localStorage[keptKey] = receipt));
}

addEventListener("storage", ({ key, newValue }) => key === receiptKey && newValue && !mine && reload());
addEventListener("online", () => plan(0));
addEventListener("updates", ({ detail: wanted }) => {
  clearTimeout(timer);
  stopped = !wanted;
  leading = false;
  page.classList.toggle("live", wanted);
  if (wanted) lead(true);
  else if (leave) leave();
});

const canAsk = self.fetch;
Object.assign(self, { ask: canAsk && ask, put, reload });
if (location.search) attempt(() => history.replaceState(null, "", location.pathname));
if (mine) keepReceipt(facts);
else if (canAsk) lookForLostPlace();
if (facts.poll && canAsk) {
  page.classList.add("live");
  if (channel) channel.onmessage = ({ data }) => hear(data);
  document.addEventListener("visibilitychange", () => document.hidden || stopped || (leading ? plan(0) : lead(true)));
  lead(!document.hidden);
}
