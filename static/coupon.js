// Keeps the page fresh: moves numbers, opens the button on time, and loads the page again when the visitor's
// state has changed. Every text comes from the page.
import "./copy.js";

const page = document.getElementById("coupon");
const facts = page.dataset;
const mine = Number(facts.number) || null;
const storeKey = `receipt:${facts.id}`;
const LONGEST_PAUSE_MS = 30_000;
const HIDDEN_PAUSE_MS = 15_000;
const RATE_WINDOW_MS = 30_000;

let clockOffset = Number(facts.nowMs) - Date.now();
let bestRoundTrip = Infinity;
let ahead = facts.ahead === "" || facts.ahead === undefined ? null : Number(facts.ahead);
const aheadAtFirst = ahead;
let samples = [[performance.now(), Number(facts.serving)]];
let polls = 0;
let failures = 0;
let timer = 0;

const numbers = new Intl.NumberFormat(document.documentElement.lang);
const title = document.title;

function put(name, text) {
  for (const place of page.querySelectorAll(`[data-field=${name}]`)) place.textContent = text;
}

function now() {
  return Date.now() + clockOffset;
}

function clockText(ms) {
  return new Date(ms).toLocaleTimeString("en-GB", { timeZone: "Asia/Seoul" });
}

// The countdown, by the server's clock; nothing is asked at the moment of opening.

function tick() {
  const left = Number(facts.opensAtMs) - now();
  put("clock", clockText(now()));
  if (left <= 0) return open();
  const seconds = Math.ceil(left / 1000);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  put("countdown", parts.map((part) => String(part).padStart(2, "0")).join(":"));
  setTimeout(tick, Math.min(left, ((left - 1) % 1000) + 5));
}

function open() {
  for (const part of page.querySelectorAll("[data-countdown]")) part.hidden = true;
  for (const part of page.querySelectorAll("[data-when-open]")) part.hidden = false;
  for (const button of page.querySelectorAll("[data-claim] button")) button.disabled = false;
  facts.servingState = "open";
}

for (const form of page.querySelectorAll("[data-claim]")) {
  form.addEventListener("submit", () => {
    const button = form.querySelector("button");
    button.setAttribute("aria-busy", "true");
    button.textContent = form.dataset.submitting;
    setTimeout(() => (button.disabled = true));
    clearTimeout(timer);
  });
}

async function ask(url, headers = {}) {
  const response = await fetch(url, { headers, signal: AbortSignal.timeout(8000) });
  if (response.status === 401) return reload();
  if (!response.ok) {
    const busy = new Error(String(response.status));
    busy.retryMs = Number(response.headers.get("Retry-After")) * 1000;
    throw busy;
  }
  return response.json();
}

function reload() {
  clearTimeout(timer);
  timer = -1;
  location.replace(location.pathname);
  return new Promise(() => {});
}

function keepTime(sentAt, serverMs) {
  const roundTrip = performance.now() - sentAt;
  if (roundTrip >= bestRoundTrip) return;
  bestRoundTrip = roundTrip;
  clockOffset = serverMs + roundTrip / 2 - Date.now();
}

async function poll() {
  const sentAt = performance.now();
  const serving = await ask(facts.servingUrl);
  keepTime(sentAt, serving.now_ms);
  polls += 1;
  if (mine) await pollWaiting(serving);
  else await pollWithoutTicket(serving);
  showNumbers(serving);
  return ahead !== null && ahead < 500 ? 1000 : serving.next_ms;
}

async function pollWaiting(serving) {
  if (facts.state !== "waiting") {
    // Coupons may have come back and be gone again between two polls: then only the number has moved.
    if (serving.state !== facts.servingState || serving.serving >= mine) await askTicket();
    return;
  }
  // A new epoch: the line was lost, and the receipt wins the place back.
  const lost = String(serving.epoch) !== facts.epoch;
  const maybeDecided = serving.serving >= mine || serving.state !== facts.servingState;
  facts.epoch = serving.epoch;
  facts.servingState = serving.state;
  if (lost || maybeDecided || polls % 5 === 0) await askTicket(lost);
  if (ahead !== null) ahead = Math.min(ahead, Math.max(0, mine - serving.serving - 1));
}

async function askTicket(comingBack = false) {
  const ticket = await ask(facts.ticketUrl, { "X-Ticket-Receipt": facts.receipt || "" });
  if (ticket.state !== { waiting: "waiting", missed: "sold_out" }[facts.state]) await reload();
  if (ticket.receipt) keepReceipt(ticket.receipt);
  // The others ahead come back at the same time: they are not counted yet.
  if (ticket.ahead !== null && !comingBack) ahead = Math.min(ahead ?? Infinity, ticket.ahead);
}

async function pollWithoutTicket(serving) {
  if (serving.state === facts.servingState) return;
  if (serving.state === "open" && facts.servingState === "scheduled" && facts.state === "scheduled") return;
  // Everybody sees this at the same moment: come back one by one.
  await new Promise((resolve) => setTimeout(resolve, Math.random() * 2000));
  await reload();
}

function showNumbers(serving) {
  page.classList.remove("stale");
  document.getElementById("offline").hidden = true;
  if (serving.quota !== null) {
    const left = Math.max(0, serving.quota - serving.issued);
    put("left", numbers.format(left));
    const honest = page.querySelector("[data-honest]");
    if (honest) honest.hidden = ahead === null || ahead < left;
  }
  if (ahead === null) return;
  put("ahead", numbers.format(ahead));
  put("updated", clockText(now()));
  document.title = `(${numbers.format(ahead)}) ${title}`;
  const progress = page.querySelector("progress");
  if (progress) progress.value = aheadAtFirst - ahead;
  const band = page.querySelector("[data-field=band]");
  if (band) band.textContent = timeBand(serving.serving, band.dataset);
}

function timeBand(servingNow, words) {
  const at = performance.now();
  samples.push([at, servingNow]);
  samples = samples.filter(([when]) => at - when <= RATE_WINDOW_MS);
  const [firstAt, first] = samples[0];
  const rate = (servingNow - first) / Math.max(1, at - firstAt);
  if (rate <= 0) return words.unknown;
  const seconds = ahead / rate / 1000;
  if (seconds < 10) return words.soon;
  if (seconds < 60) return words.seconds.replace("{n}", Math.ceil(seconds / 10) * 10);
  if (seconds < 1800) return words.minutes.replace("{n}", Math.ceil(seconds / 60));
  return words.long;
}

async function run() {
  let pause;
  try {
    pause = await poll();
    failures = 0;
  } catch (error) {
    failures += 1;
    page.classList.add("stale");
    document.getElementById("offline").hidden = false;
    pause = error.retryMs || Math.random() * Math.min(LONGEST_PAUSE_MS, 1000 * 2 ** failures);
  }
  plan(pause * (0.8 + Math.random() * 0.4));
}

function plan(pause) {
  if (timer === -1) return;
  clearTimeout(timer);
  if (document.hidden) pause = Math.max(pause, HIDDEN_PAUSE_MS);
  if (facts.servingState === "scheduled") {
    // Never ask in the seconds around the opening, when everybody clicks.
    const left = Number(facts.opensAtMs) - now();
    if (pause > left - 3000 && left > -3000) pause = Math.max(pause, left + 3000 + Math.random() * 5000);
  }
  timer = setTimeout(run, pause);
}

// A receipt that outlived its ticket.

async function lookForLostPlace() {
  const receipt = localStorage.getItem(storeKey);
  if (!receipt || !facts.signedIn || mine) return;
  const ticket = await ask(facts.ticketUrl, { "X-Ticket-Receipt": receipt });
  if (ticket.number) return reload();
  localStorage.removeItem(storeKey);
  if (ticket.state === "lost") document.getElementById("lost").hidden = false;
}

function keepReceipt(receipt) {
  facts.receipt = receipt;
  localStorage.setItem(storeKey, receipt);
}

addEventListener("pageshow", (event) => event.persisted && reload());
document.addEventListener("visibilitychange", () => !document.hidden && facts.poll && plan(0));

for (const part of page.querySelectorAll("[data-needs-js]")) part.hidden = false;
if (facts.receipt) keepReceipt(facts.receipt);
else lookForLostPlace().catch(() => {});
if (page.querySelector("[data-final]")) page.querySelector("[data-final]").focus();
if (page.querySelector("[data-field=countdown]")) tick();
if (new URLSearchParams(location.search).has("notice")) history.replaceState(null, "", location.pathname);
if (facts.poll) plan(facts.state === "scheduled" ? Math.random() * 3000 : 500 + Math.random() * 500);
