// Shares a page by the device's own sheet, or copies its address. A browser that can do neither shows the address alone.
const sheet = document.querySelector("[data-share]");
const copy = document.querySelector("[data-address]");

if (navigator.share) {
  sheet.hidden = false;
  sheet.addEventListener("click", () => {
    // Whoever closes the sheet changes their mind, which is no error.
    navigator.share({ title: sheet.dataset.title, url: sheet.dataset.share }).catch(() => {});
  });
}

if (navigator.clipboard) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(copy.dataset.address);
      copy.textContent = copy.dataset.copied;
    } catch {
      document.getElementById("address").select();
    }
  });
}
