// The countdown, the button that opens by itself, and the click.
//
// Before the scripts run the button is a plain one in a plain form, and works; this one only closes it until the start.
const page = document.getElementById("coupon");
const facts = page.dataset;
const form = page.querySelector("[data-claim]");
const button = page.querySelector("[data-claim] button");
const timer = page.querySelector("[data-field=countdown]");
const HOUR_MS = 3600_000;

// An answer is late by its way and its age in caches, so the one that says the latest time knows it best.
let least = facts.nowMs - Date.now();
let offset = least;
let claiming, ticking;

const clockOf = (ms) => new Date(ms).toISOString().slice(11, 19);

function countdown(ms) {
  const days = Math.floor(ms / HOUR_MS / 24);
  const words = days > 1 ? timer.dataset.days : timer.dataset.day;
  return (days ? words.replace("{n}", days) + " " : "") + clockOf(ms);
}

function tick() {
  clearTimeout(ticking);
  const now = Date.now() + offset;
  const left = facts.opensAtMs - now;
  for (const part of page.querySelectorAll("[data-countdown]")) part.hidden = left <= 0;
  for (const part of page.querySelectorAll("[data-when-open]")) part.hidden = left > 0;
  if (button && !claiming) button.disabled = left > 0;
  if (left <= 0) return;
  put("countdown", countdown(left + 999));
  put("clock", clockOf(now + 9 * HOUR_MS));
  ticking = setTimeout(tick, Math.min(left, ((left - 1) % 1000) + 5));
}

// A repeated claim has the same answer, so it is sent until an answer of ours comes, whatever comes instead.
async function send(pause = 500) {
  const headers = { Accept: "application/json", "Content-Type": "application/x-www-form-urlencoded" };
  const body = "csrf_token=" + form.csrf_token.value;
  const { state, code, receipt, retryMs } = await ask(form.action, { method: "POST", headers, body }).catch((error) => error);
  // The receipt of a refusal is shown by the page; any other it takes for none.
  if (state || code) return reload(0, `${location.pathname}?notice=${state === "issued" ? "already" : code}&refusal=${receipt}`);
  button.textContent = form.dataset.retrying;
  setTimeout(send, retryMs || pause * (1 + Math.random()), Math.min(pause * 2, 8000));
}

function claim(event) {
  event.preventDefault();
  if (claiming) return;
  claiming = true;
  // A reload that was planned, or has begun, would take the page away under the click.
  if (self.stop) stop();
  dispatchEvent(new CustomEvent("updates", { detail: false }));
  button.disabled = true;
  button.setAttribute("aria-busy", true);
  button.textContent = form.dataset.submitting;
  send();
}

addEventListener("news", ({ detail: { serving, roundTrip, heardAt } }) => {
  if (serving.now_ms - heardAt > least) {
    least = serving.now_ms - heardAt;
    offset = least + roundTrip / 2;
  }
  if (timer) tick();
});

if (timer) {
  tick();
  facts.counts = 1;
}
if (form && self.ask) form.addEventListener("submit", claim);
