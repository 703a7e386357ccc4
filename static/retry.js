const { dataset } = document.getElementById("retry");
const url = dataset.url || location.href;

async function retry() {
  const answer = await fetch(url, { method: "HEAD" }).catch(() => {});
  if (answer?.status < 500) return location.replace(url);
  setTimeout(retry, dataset.pauseS * 1000 * (1 + Math.random()));
}

setTimeout(retry, dataset.pauseS * 1000);
