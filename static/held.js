const { heldUrl, heldMark } = document.querySelector("[data-held-url]").dataset;
let failures = 0;
let timer;

function plan(pause) {
  clearTimeout(timer);
  timer = setTimeout(ask, Math.max(pause, document.hidden ? 60_000 : 0) * (1 + Math.random() / 8));
}

async function heard(signal) {
  const answer = await fetch(heldUrl, { headers: { Accept: "application/json" }, cache: "no-store", signal });
  if (answer.status > 404) throw answer.headers.get("Retry-After");
  const { mark, code, next_ms } = await answer.json();
  if (!mark && !/^(unauthenticated|not_found)$/.test(code)) throw 0;
  return mark === heldMark && next_ms;
}

async function ask() {
  const limit = window.AbortController && new AbortController();
  let late;
  let pause;
  try {
    const tooLate = new Promise((_, fail) => (late = setTimeout(fail, 5000)));
    pause = await Promise.race([heard(limit?.signal), tooLate]);
    if (!pause) return location.reload();
    failures = 0;
  } catch (retryS) {
    limit?.abort();
    pause = Math.min(retryS > 0 ? retryS : Math.random() * 2 ** Math.min(++failures, 5), 600) * 1000;
  }
  clearTimeout(late);
  plan(pause);
}

document.addEventListener("visibilitychange", () => document.hidden || plan(0));
addEventListener("pageshow", ({ persisted }) => persisted && plan(0));
addEventListener("online", () => plan(0));
plan(3000 + Math.random() * 4000);
