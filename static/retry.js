// The page of a busy server: loads what was wanted as soon as it is there.
const { dataset } = document.getElementById("retry");
const url = dataset.url || location.href;
const LIMIT_MS = 8000;

function limited(request) {
  return Promise.race([request, new Promise((resolve) => setTimeout(resolve, LIMIT_MS))]);
}

// Anything but "busy" is for the person to see, also what stands in front of us and asks them something.
async function retry() {
  const answer = await limited(fetch(url, { method: "HEAD", cache: "no-store" })).catch(() => null);
  if (answer && answer.status < 500 && answer.status !== 429) location.replace(url);
  const asked = answer ? answer.headers.get("Retry-After") * 1000 : 0;
  setTimeout(retry, Math.max(dataset.pauseS * 1000, Math.min(asked || 0, 60_000)) * (1 + Math.random()));
}

setTimeout(retry, dataset.pauseS * 1000);
