// The click.
//
// Before the scripts run the button is a plain one in a plain form, and works; this one asks without leaving the page.
const form = document.querySelector("[data-claim]");
const button = form.querySelector("button");

// A repeated claim has the same answer, so it is sent until an answer of ours comes, whatever comes instead.
async function send(pause = 500) {
  const headers = { Accept: "application/json", "Content-Type": "application/x-www-form-urlencoded" };
  const body = "csrf_token=" + form.csrf_token.value;
  const { state, code, receipt, retryMs } = await ask(form.action, { method: "POST", headers, body }).catch((error) => error);
  // The receipt of a refusal is shown by the page; any other it takes for none.
  if (state || code) return reload(0, `${location.pathname}?notice=${state === "issued" ? "already" : code}&refusal=${receipt}`);
  button.textContent = form.dataset.retrying;
  setTimeout(send, retryMs || pause * (1 + Math.random()), Math.min(pause * 2, 8000));
}

function claim(event) {
  event.preventDefault();
  if (button.matches("[aria-busy]")) return;
  // A reload that was planned, or has begun, would take the page away under the click.
  if (self.stop) stop();
  dispatchEvent(new CustomEvent("updates", { detail: false }));
  button.disabled = true;
  button.setAttribute("aria-busy", true);
  button.textContent = form.dataset.submitting;
  send();
}

if (self.ask) form.addEventListener("submit", claim);
