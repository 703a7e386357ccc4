const page = document.getElementById("coupon");
const facts = page.dataset;
const form = page.querySelector("form");
const button = form?.querySelector("button");
const KOREA_MS = 9 * 3600_000;
let least = facts.nowMs - Date.now();
let offset = least;

function put(name, text) {
  for (const place of page.querySelectorAll(`[data-field=${name}]`)) place.textContent = text;
}

function tick() {
  const now = Date.now() + offset;
  const left = facts.opensAtMs - now;
  for (const part of page.querySelectorAll("[data-countdown]")) part.hidden = left <= 0;
  for (const part of page.querySelectorAll("[data-when-open]")) part.hidden = left > 0;
  if (button) button.disabled = left > 0;
  if (left <= 0) return;
  const seconds = Math.ceil(left / 1000);
  const hours = String(Math.floor(seconds / 3600)).padStart(2, "0");
  put("countdown", hours + new Date(seconds * 1000).toISOString().slice(13, 19));
  put("clock", new Date(now + KOREA_MS).toISOString().slice(11, 19));
  setTimeout(tick, Math.min(left, ((left - 1) % 1000) + 5));
}

async function claim(event) {
  event.preventDefault();
  window.stop();
  dispatchEvent(new CustomEvent("updates", { detail: false }));
  const body = new URLSearchParams(new FormData(form));
  const headers = { Accept: "application/json" };
  button.disabled = button.ariaBusy = true;
  button.textContent = form.dataset.submitting;
  for (let pause = 500; ; pause = Math.min(pause * 2, 8000)) {
    const answer = await fetch(form.action, { method: "POST", body, headers }).catch(() => {});
    if (answer?.status < 500) {
      const { state, code, receipt } = await answer.json();
      const refusal = receipt && !state ? `&refusal=${receipt}` : "";
      return location.replace(`${location.pathname}?notice=${state === "issued" ? "already" : code}${refusal}`);
    }
    button.textContent = form.dataset.retrying;
    await new Promise((resolve) => setTimeout(resolve, pause * (1 + Math.random())));
  }
}

addEventListener("news", ({ detail: { serving, roundTrip, heardAt } }) => {
  put("left", (serving.quota - serving.issued).toLocaleString());
  if (serving.now_ms - heardAt <= least) return;
  least = serving.now_ms - heardAt;
  offset = least + roundTrip / 2;
});
form?.addEventListener("submit", claim);
if (page.querySelector("[data-field=countdown]")) tick();
