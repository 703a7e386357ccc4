// Where the visitor's clock is not Korea's, a time names its zone, and the visitor's own stands beside it.
for (const time of document.querySelectorAll("time")) {
  const at = new Date(time.dateTime);
  if (at.getTimezoneOffset() === -540) continue;
  const here = at.toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  time.append(` ${time.dataset.zone || ""} (${document.body.dataset.here} ${here})`);
}
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
