// Asks for the page again and again, and changes what has changed: focus, open parts and scrolling stay.
const POLL_MS = 3000;
const NOTICE_MS = 10000;
const note = document.getElementById("connection");

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(`the backend answered ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    Idiomorph.morph(document.querySelector("main"), fresh.querySelector("main"), {
      callbacks: { beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS") },
    });
    Idiomorph.morph(document.querySelector("header"), fresh.querySelector("header"));
    note.textContent = "";
  } catch (error) {
    note.textContent = `Connection lost (${error.message}). The figures below are out of date. Trying again.`;
  }
}

async function poll() {
  await refresh();
  setTimeout(poll, POLL_MS);
}

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.question;
  if (question && !confirm(question)) event.preventDefault();
});
document.addEventListener("visibilitychange", refresh);
// By then the notice about a pressed button has been read.
setTimeout(() => {
  const address = new URL(location.href);
  address.searchParams.delete("said");
  history.replaceState(null, "", address);
}, NOTICE_MS);
setTimeout(poll, POLL_MS);
