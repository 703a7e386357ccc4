// Keeps the first receipt of a refusal, one for each of those who share the browser, and links to it.
const place = document.getElementById("refusal");
const { coupon, user, refusal } = place.dataset;
const key = `refusal:${coupon}:${user}`;
try {
  // An earlier version kept one for the coupon alone; it names its user.
  const old = localStorage[`refusal:${coupon}`];
  if (old && old.split(".")[2] === user) localStorage[key] = old;
  const kept = localStorage[key];
  if (refusal && !kept) localStorage[key] = refusal;
  if (!refusal && kept) {
    place.querySelector("a").search = `?refusal=${kept}`;
    place.hidden = false;
  }
} catch {}
