const page = document.getElementById("coupon");
const key = `joy:${page.dataset.id}`;
try {
  if (!localStorage[key]) page.classList.add("joy");
  localStorage[key] = "shown";
} catch {}
