// The numbers of whoever waits: how many are ahead, when it is their turn, what is left.
const page = document.getElementById("coupon");
const facts = page.dataset;
const toggle = document.getElementById("updates");
const words = page.querySelector("[data-field=band]").dataset;
const title = document.title.replace(/^\(.*?\)/, "");
const RATE_WINDOW_MS = 30_000;

// What number was served when, by the server's clock; the page itself was the first to say.
let samples = [[+facts.nowMs, +facts.serving]];
let doubtfulUntil = 0;
let spokenAt = Date.now();
let on = true;

// However rare the polls are, the last two give a rate.
function secondsToGo(at, serving, ahead) {
  if (!samples.some(([heardAt]) => heardAt >= at)) samples.push([at, serving]);
  while (samples.length > 2 && at - samples[0][0] > RATE_WINDOW_MS) samples.shift();
  const [firstAt, first] = samples[0];
  return ((ahead / Math.max(0, serving - first)) * (at - firstAt)) / 1000;
}

function timeBand({ state, now_ms, serving }, ahead) {
  const seconds = secondsToGo(now_ms, serving, ahead);
  if (state === "paused") return words.paused;
  if (!ahead || seconds < 10) return words.soon;
  if (seconds < 60) return words.seconds.replace("{n}", Math.ceil(seconds / 10) * 10);
  if (seconds < 1800) return words.minutes.replace("{n}", Math.ceil(seconds / 60));
  return seconds < Infinity ? words.long : words.unknown;
}

addEventListener("news", ({ detail: { serving, ticket, restarted } }) => {
  // The page is loaded again for the code; the word that it is theirs need not wait for that.
  if (ticket && ticket.state !== "waiting") return ticket.state === "issued" && put("word", words.issued);
  if (restarted) {
    samples = [];
    doubtfulUntil = serving.now_ms + 10_000;
    document.getElementById("found").hidden = false;
  }
  // In a line that begins anew, places of people ahead still come back: the numbers count them, and the line not yet.
  const inLine = ticket && serving.now_ms > doubtfulUntil ? ticket.ahead : Infinity;
  const ahead = Math.max(0, Math.min(facts.ahead, inLine, facts.number - serving.serving - 1));
  facts.ahead = ahead;
  put("ahead", ahead);
  put("band", timeBand(serving, ahead));
  put("updated", new Date().toTimeString().slice(0, 8));
  page.querySelector("progress").value = serving.serving - facts.base;
  for (const note of page.querySelectorAll("[data-honest]")) note.hidden = ahead < serving.quota - serving.issued;
  document.title = `(${page.querySelector("[data-field=ahead]").textContent})${title}`;
  if (Date.now() - spokenAt < (ahead < 100 ? 5000 : 15_000)) return;
  spokenAt = Date.now();
  document.getElementById("spoken").textContent = page.querySelector(".ahead").textContent;
});

toggle.hidden = false;
toggle.onclick = () => {
  on = !on;
  toggle.setAttribute("aria-pressed", !on);
  toggle.textContent = on ? toggle.dataset.off : toggle.dataset.on;
  dispatchEvent(new CustomEvent("updates", { detail: on }));
};
