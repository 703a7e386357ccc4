for (const time of document.querySelectorAll("time")) {
  const text = (timeZone) =>
    new Date(time.dateTime).toLocaleString(document.documentElement.lang, { timeZone, dateStyle: "medium", timeStyle: "short" });
  if (text() !== text("Asia/Seoul")) time.append(` (${document.body.dataset.here} ${text()})`);
}
