const page = document.getElementById("coupon");
const facts = page.dataset;
const spoken = document.getElementById("spoken");
const words = page.querySelector("[data-field=band]").dataset;
const numbers = new Intl.NumberFormat(document.documentElement.lang);
const title = document.title.replace(/^\(.*?\) /, "");
const RATE_WINDOW_MS = 30_000;
let samples = [[performance.now(), facts.serving]];
let spokenAt = 0;

function put(name, text) {
  for (const place of page.querySelectorAll(`[data-field=${name}]`)) place.textContent = text;
}

function timeBand(serving, ahead) {
  const at = performance.now();
  samples = [...samples, [at, serving]].filter(([when]) => at - when <= RATE_WINDOW_MS);
  const [firstAt, first] = samples[0];
  const seconds = ((ahead / (serving - first)) * (at - firstAt)) / 1000;
  if (!(seconds < Infinity)) return words.unknown;
  if (seconds < 10) return words.soon;
  if (seconds < 60) return words.seconds.replace("{n}", Math.ceil(seconds / 10) * 10);
  return seconds < 1800 ? words.minutes.replace("{n}", Math.ceil(seconds / 60)) : words.long;
}

addEventListener("news", ({ detail: { serving, ticket, restarted } }) => {
  const counted = ticket && !restarted ? ticket.ahead : facts.number - serving.serving - 1;
  const ahead = (facts.ahead = Math.max(0, Math.min(facts.ahead, counted)));
  const left = serving.quota - serving.issued;
  if (restarted) document.getElementById("found").hidden = false;
  put("ahead", numbers.format(ahead));
  put("left", numbers.format(left));
  put("band", timeBand(serving.serving, ahead));
  put("updated", new Date().toLocaleTimeString("en-GB"));
  page.querySelector("progress").value = serving.serving - facts.base;
  for (const note of page.querySelectorAll("[data-honest]")) note.hidden = ahead < left;
  document.title = `(${numbers.format(ahead)}) ${title}`;
  if (performance.now() - spokenAt < (ahead < 100 ? 5000 : 15_000)) return;
  spokenAt = performance.now();
  spoken.textContent = page.querySelector(".ahead").textContent;
});

document.getElementById("updates").onclick = ({ target }) => {
  const stopped = target.ariaPressed === "true";
  target.ariaPressed = !stopped;
  dispatchEvent(new CustomEvent("updates", { detail: stopped }));
};
