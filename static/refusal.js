const place = document.getElementById("refusal");
const { coupon, refusal } = place.dataset;
const key = `refusal:${coupon}`;
const owner = (text) => text.split(".")[2];
try {
  const kept = localStorage[key];
  if (refusal && !(kept && owner(kept) === owner(refusal))) localStorage[key] = refusal;
  if (!refusal && kept) {
    place.querySelector("a").search = `?refusal=${kept}`;
    place.hidden = false;
  }
} catch {}
