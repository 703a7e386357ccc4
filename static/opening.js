// The countdown, and the button that opens by itself: before the start this closes it.
const page = document.getElementById("coupon");
const facts = page.dataset;
const timer = page.querySelector("[data-field=countdown]");
const button = page.querySelector("form button");

// An answer is late by its way and its age in caches, so the one that says the latest time knows it best.
let least = facts.nowMs - Date.now();
let offset = least;
let ticking;

// 864e5 ms are a day; Korea is 324e5 ms ahead of UTC.
const clockOf = (ms) => new Date(ms).toISOString().slice(11, 19);

function countdown(ms) {
  const days = Math.floor(ms / 864e5);
  const words = days > 1 ? timer.dataset.days : timer.dataset.day;
  return (days ? words.replace("{n}", days) + " " : "") + clockOf(ms);
}

function tick() {
  clearTimeout(ticking);
  const now = Date.now() + offset;
  const left = facts.opensAtMs - now;
  for (const part of page.querySelectorAll("[data-countdown]")) part.hidden = left <= 0;
  for (const part of page.querySelectorAll("[data-when-open]")) part.hidden = left > 0;
  if (button && !button.matches("[aria-busy]")) button.disabled = left > 0;
  if (left <= 0) return;
  put("countdown", countdown(left + 999));
  put("clock", clockOf(now + 324e5));
  ticking = setTimeout(tick, Math.min(left, ((left - 1) % 1000) + 5));
}

addEventListener("news", ({ detail: { serving, roundTrip, heardAt } }) => {
  const ahead = serving.now_ms - heardAt;
  if (ahead > least) {
    least = ahead;
    offset = ahead + roundTrip / 2;
  }
  tick();
});

tick();
