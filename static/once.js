const AGAIN_MS = 10000;

const free = (form) => {
  delete form.dataset.sent;
  for (const button of form.querySelectorAll("button")) button.disabled = false;
};

addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = "yes";
  setTimeout(() => {
    for (const button of form.querySelectorAll("button")) button.disabled = true;
  });
  setTimeout(() => free(form), AGAIN_MS);
});

addEventListener("pageshow", () => {
  for (const form of document.forms) free(form);
});
