// See ARCHITECTURE.md, The page.
const page = document.getElementById("coupon");
const facts = page.dataset;
const mine = Number(facts.number);
const receiptKey = `receipt:${facts.id}`;
const room = `line:${facts.id}:${mine}`;
const channel = new BroadcastChannel(room);
const HIDDEN_PAUSE_MS = 15_000;
const LONGEST_PAUSE_MS = 30_000;

let leading, queued, stopped, timer, leave;
let polls = 0;
let failures = 0;
let store = {};
try {
  store = localStorage;
} catch {}

function show(id, shown = true) {
  document.getElementById(id).hidden = !shown;
}

function reload(pause = 0) {
  stopped = true;
  clearTimeout(timer);
  timer = setTimeout(() => location.replace(location.pathname), pause);
}

async function ask(url, headers) {
  const answer = await fetch(url, { headers, cache: "no-store", signal: AbortSignal.timeout(8000) });
  if (answer.status < 500) return answer.json();
  throw { retryMs: answer.headers.get("Retry-After") * 1000 };
}

const askTicket = (receipt = "") => ask(facts.ticketUrl, { "X-Ticket-Receipt": receipt });

function lead(steal) {
  if (!navigator.locks) return take();
  queued ||= !steal;
  navigator.locks.request(room, { steal }, take).catch(() => {
    leading = false;
    if (!queued) lead(false);
  });
}

function take() {
  leading = true;
  queued = false;
  plan(polls ? 0 : 500 + Math.random() * (facts.state === "scheduled" ? 3000 : 500));
  return new Promise((resolve) => (leave = resolve));
}

function plan(pause) {
  if (stopped) return;
  clearTimeout(timer);
  if (document.hidden) pause = Math.max(pause, HIDDEN_PAUSE_MS);
  const left = facts.opensAtMs - facts.nowMs - performance.now();
  if (left > -3000 && pause > left - 3000) pause = Math.max(pause, left + 3000 + Math.random() * 5000);
  timer = setTimeout(run, pause);
}

async function run() {
  if (!leading) return;
  let news = null;
  let pause;
  try {
    news = await poll();
    pause = facts.ahead < 500 ? 1000 : news.serving.next_ms;
    failures = 0;
  } catch ({ retryMs }) {
    pause = retryMs || Math.random() * Math.min(LONGEST_PAUSE_MS, 1000 * 2 ** ++failures);
  }
  channel.postMessage(news);
  hear(news);
  plan(pause * (0.8 + Math.random() * 0.4));
}

async function poll() {
  const sentAt = performance.now();
  const serving = await ask(facts.servingUrl);
  const roundTrip = performance.now() - sentAt;
  const news = { serving, roundTrip, heardAt: Date.now() };
  news.restarted = String(serving.epoch) !== facts.epoch;
  const moved = news.restarted || serving.state !== facts.servingState || serving.serving >= mine;
  if (mine && (moved || ++polls % 5 === 0)) news.ticket = await askTicket(facts.receipt);
  return news;
}

function hear(news) {
  if (stopped) return;
  page.classList.toggle("stale", !news);
  show("offline", !news);
  if (!news) return;
  const { serving, ticket } = news;
  if (ticket && (ticket.state !== facts.expected || ticket.number !== mine)) return reload();
  if (ticket) keepReceipt(ticket.receipt);
  const opens = facts.state === "scheduled" && serving.state === "open";
  if (!mine && !opens && serving.state !== facts.servingState) return reload(Math.random() * 2000);
  facts.epoch = serving.epoch;
  facts.servingState = serving.state;
  dispatchEvent(new CustomEvent("news", { detail: news }));
}

async function lookForLostPlace() {
  const receipt = store[receiptKey];
  if (!receipt) return;
  if (!facts.signedIn) return show("kept");
  const ticket = await askTicket(receipt).catch(({ retryMs }) => ({ retryMs: retryMs || 2000 }));
  if (ticket.retryMs) return setTimeout(lookForLostPlace, ticket.retryMs * (1 + Math.random()));
  if (ticket.number) return reload();
  delete store[receiptKey];
  show("lost", ticket.state === "lost");
}

function keepReceipt(receipt) {
  facts.receipt = receipt;
  store[receiptKey] = receipt;
}

addEventListener("pageshow", ({ persisted }) => persisted && reload());
addEventListener("storage", ({ key, newValue }) => key === receiptKey && newValue && !mine && facts.signedIn && reload());
addEventListener("online", () => plan(0));
addEventListener("updates", ({ detail }) => {
  clearTimeout(timer);
  stopped = !detail;
  leading = false;
  detail ? lead(true) : leave?.();
});

if (mine) keepReceipt(facts.receipt);
else lookForLostPlace();
if (location.search) history.replaceState(null, "", location.pathname);
if (facts.poll) {
  channel.onmessage = ({ data }) => hear(data);
  document.addEventListener("visibilitychange", () => document.hidden || stopped || (leading ? plan(0) : lead(true)));
  lead(!document.hidden);
}
