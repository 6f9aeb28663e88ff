// What pages do by themselves: a conversation that is open goes on, and what cannot be undone is
// asked about first. Everything works without it.

const EVERY_MS = 2000;
const CHANGING = 10; // of the last entries that may still change

function goOn(chat) {
  let isBusy = false;
  setInterval(async () => {
    if (isBusy || document.hidden) return;
    isBusy = true;
    try {
      const entries = [...chat.querySelectorAll("[data-id]")];
      // From the first that may still change, else the last: its answer may be rated.
      const first =
        entries.slice(-CHANGING).find((entry) => entry.classList.contains("pending")) ?? entries.at(-1);
      const response = await fetch(`${chat.dataset.live}?from=${first?.dataset.id ?? 0}`);
      if (response.status === 401) location.reload();
      if (response.ok) take(chat, await response.text());
    } catch {
      // The next round tries again.
    } finally {
      isBusy = false;
    }
  }, EVERY_MS);
}

function take(chat, html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  const isAtEnd = innerHeight + scrollY > document.documentElement.scrollHeight - 80;
  for (const entry of page.querySelectorAll("[data-id]")) {
    const known = document.getElementById(entry.id);
    const sound = known?.querySelector("audio");
    const isPlaying = sound && !sound.paused && !sound.ended;
    if (known?.dataset.shown === entry.outerHTML || isPlaying) continue;
    const node = document.importNode(entry, true);
    node.dataset.shown = entry.outerHTML;
    for (const [at, open] of [...(known?.querySelectorAll("details") ?? [])].entries()) {
      const again = node.querySelectorAll("details")[at];
      if (again) again.open = open.open;
    }
    if (known) known.replaceWith(node);
    else {
      chat.append(node);
      if (isAtEnd) node.scrollIntoView({ block: "end" });
    }
  }
}

for (const chat of document.querySelectorAll("[data-live]")) {
  chat.lastElementChild?.scrollIntoView({ block: "center" });
  goOn(chat);
}

for (const form of document.querySelectorAll("[data-ask]")) {
  form.addEventListener("submit", (event) => {
    if (!confirm(form.dataset.ask)) event.preventDefault();
  });
}
