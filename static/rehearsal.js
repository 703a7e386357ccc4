// Keeps the progress of a rehearsal fresh, and loads the page once it is over.
const place = () => document.getElementById("rehearsal");
async function look() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    const news = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("rehearsal");
    if (news && !news.dataset.everyMs) return location.reload();
    for (const part of ["h2", "p", "progress"]) {
      const [now, then] = [place().querySelector(part), news?.querySelector(part)];
      if (!then) continue;
      if (part === "progress") Object.assign(now, { max: then.max, value: then.value });
      else if (now.textContent !== then.textContent) now.textContent = then.textContent;
    }
  } catch {
    // The next look tries again.
  }
  setTimeout(look, place().dataset.everyMs);
}
if (place()?.dataset.everyMs) setTimeout(look, place().dataset.everyMs);
