// Keeps the live board fresh: asks once a second for the part that changes, and puts in what differs.
//
// It goes on while the server does not answer, and in a hidden tab it rests. Without it the page works by a link.
const board = document.getElementById("board");
const hold = document.getElementById("hold");
const { eachMs, nowUrl } = board.dataset;
const LIMIT_MS = 8000;
let held, timer, failures = 0;

function limited(request) {
  return Promise.race([request, new Promise((_, reject) => setTimeout(reject, LIMIT_MS, LIMIT_MS))]);
}

// Who is signed out, or has no role any more, gets no page; neither is there one for a campaign that is gone.
function read(answer) {
  if ([403, 404].includes(answer.status)) return location.reload();
  if (!answer.ok) throw answer.status;
  return answer.text();
}

async function look() {
  const began = Date.now();
  try {
    const page = await limited(fetch(nowUrl, { cache: "no-store" }).then(read));
    if (page) show(new DOMParser().parseFromString(page, "text/html"));
    hear(true);
  } catch {
    hear(false);
  }
  plan(Math.max(100, eachMs * Math.min(5, 1 + failures) - (Date.now() - began)));
}

// Only what differs is touched, so that nobody loses what they have marked, opened or listen to.
function show(news) {
  for (const then of news.querySelectorAll("[data-part]")) {
    const now = board.querySelector(`[data-part=${then.dataset.part}]`);
    if (!now) continue;
    if (now.className !== then.className) now.className = then.className;
    if (now.innerHTML !== then.innerHTML) now.innerHTML = then.innerHTML;
  }
}

function hear(answered) {
  failures = answered ? 0 : failures + 1;
  // One answer that is lost is no news.
  board.classList.toggle("unheard", failures > 1);
  document.getElementById("unheard").hidden = failures < 2;
}

function plan(pause) {
  clearTimeout(timer);
  if (!held && !document.hidden) timer = setTimeout(look, pause);
}

hold.hidden = false;
hold.addEventListener("click", () => {
  held = !held;
  hold.textContent = hold.dataset[held ? "off" : "on"];
  plan(0);
});
document.addEventListener("visibilitychange", () => plan(0));
document.body.classList.add("lively");
plan(eachMs);
