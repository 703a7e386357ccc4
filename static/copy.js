// Copies a code. Where the browser refuses that, the code is marked instead, to be copied by hand.
if (navigator.clipboard) {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.dataset.copy);
        button.textContent = button.dataset.copied;
      } catch {
        getSelection().selectAllChildren(button.parentElement.parentElement.querySelector(".code"));
      }
    });
  }
}
