// Shows one sheet after another. What is approved is stored while the next sheet is looked at; what was not stored, and
// what was taken out, is kept until it is dealt with.
const project = document.body.dataset.project;
const TAKEN = `drape-taken-out-${project}`;
const BY = "drape-approve-as";
// A key pressed twice must not approve a sheet that nobody has seen.
const UNSEEN_MS = 400;
const [said, again, undo, approve, by] = ["said", "again", "undo", "approve", "by"].map((id) => document.getElementById(id));
const taken = new Set(JSON.parse(sessionStorage.getItem(TAKEN) ?? "[]"));
const approvals = []; // each { sheet, stored: task -> annotation }
let unsaved = []; // requests of which something was not stored
let queue = Promise.resolve(); // approvals and undoings happen in their order
let pending = 0;
let busy = false;
let upcoming = null;
let shownAt = 0;

const sheet = () => document.getElementById("sheet");
const tiles = () => [...sheet().querySelectorAll(".look")];
const isOut = (tile) => tile.getAttribute("aria-pressed") === "true" || tile.parentElement.classList.contains("barred");
const left = () => tiles().filter((tile) => !isOut(tile));
const say = (...sentences) => { said.textContent = sentences.filter(Boolean).join(" "); };
const isSeen = () => performance.now() - shownAt >= UNSEEN_MS;
const name = () => by.selectedOptions[0].text;

async function readSheet(address) {
  const answer = await fetch(address);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("sheet");
  if (!answer.ok || !fresh) throw new Error(fresh?.textContent.trim() || `The backend answered ${answer.status}.`);
  return document.adoptNode(fresh);
}

function prefetch() {
  const address = sheet().dataset.next;
  upcoming = address ? readSheet(address) : null;
  upcoming?.catch(() => {});
}

function show(fresh) {
  if (fresh !== sheet()) sheet().replaceWith(fresh);
  for (const tile of tiles()) tile.setAttribute("aria-pressed", taken.has(tile.parentElement.dataset.task));
  tiles()[0]?.focus();
  scrollTo(0, 0);
  shownAt = performance.now();
  setTimeout(refresh, UNSEEN_MS);
  refresh();
}

function refresh() {
  approve.querySelector("b").textContent = tiles().length ? left().length : "";
  approve.disabled = busy || !tiles().length || !isSeen();
  undo.disabled = busy || !approvals.length;
  again.hidden = !unsaved.length && upcoming !== "failed";
  const list = document.getElementById("taken");
  list.hidden = !taken.size;
  list.querySelector("summary").textContent = `${taken.size} taken out`;
  list.querySelector("ul").replaceChildren(...[...taken].map((task) => {
    const [item, link] = [document.createElement("li"), document.createElement("a")];
    Object.assign(link, { href: `${document.body.dataset.tasksUrl}?task=${task}`, target: "_blank", rel: "noreferrer" });
    link.textContent = `Task ${task}`;
    item.append(link);
    return item;
  }));
}

function take(tile) {
  const task = tile.parentElement.dataset.task;
  if (tile.parentElement.classList.contains("barred")) return;
  tile.setAttribute("aria-pressed", !isOut(tile));
  taken[isOut(tile) ? "add" : "delete"](task);
  sessionStorage.setItem(TAKEN, JSON.stringify([...taken]));
  refresh();
}

async function send(path, body) {
  const headers = { "Content-Type": "application/json" };
  let answer;
  try {
    answer = await fetch(`/projects/${project}/review/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  } catch {
    throw new Error("The backend does not answer.");
  }
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error([content.detail ?? `The backend answered ${answer.status}.`].flat().join(" "));
  return content;
}

// What became of the tasks that were not done, a sentence each; one for all that share a reason.
function reasons(outcomes) {
  return [...new Set(outcomes.map((one) => one.reason))].map((reason) => {
    const tasks = outcomes.filter((one) => one.reason === reason).map((one) => one.task_id);
    return /^[a-z]/.test(reason) ? tasks.map((task) => `Task ${task} ${reason}`).join(" ") : reason;
  });
}

// Does one thing after the other, and says so; the page asks before it is left meanwhile.
function enqueue(work) {
  pending += 1;
  queue = queue.then(work).catch((error) => say(error.message)).finally(() => { pending -= 1; refresh(); });
  return queue;
}

async function store(request) {
  let outcomes;
  try {
    outcomes = await send("approve", request.body);
  } catch (error) {
    outcomes = Object.keys(request.body.predictions).map((task) => ({ task_id: Number(task), state: "failed", reason: error.message }));
  }
  const [done, stay, failed] = ["done", "left", "failed"].map((state) => outcomes.filter((one) => one.state === state));
  for (const one of done) request.approval.stored[one.task_id] = { id: one.annotation_id, updated_at: one.updated_at };
  if (failed.length) {
    const predictions = Object.fromEntries(failed.map((one) => [one.task_id, request.body.predictions[one.task_id]]));
    unsaved.push({ ...request, body: { ...request.body, predictions } });
  }
  say(
    done.length && `${done.length} approved as ${request.name}.`,
    ...reasons(stay),
    failed.length && `${failed.length} not stored: they are kept on this page.`,
    ...reasons(failed),
  );
}

function predictionsOf(some) {
  return Object.fromEntries(some.map((tile) => [tile.parentElement.dataset.task, Number(tile.parentElement.dataset.prediction)]));
}

async function approveSheet() {
  if (busy || !tiles().length || !isSeen()) return;
  const some = left();
  if (some.length && !by.value) {
    say("Choose first as whom you approve.");
    by.focus();
    return;
  }
  busy = true;
  if (some.length) {
    const seconds = Math.min((performance.now() - shownAt) / 1000 / tiles().length, 3600);
    const approval = { sheet: sheet(), stored: {} };
    const request = { approval, name: name(), body: { by: Number(by.value), seconds, predictions: predictionsOf(some) } };
    approvals.push(approval);
    say(`Storing ${some.length}…`);
    enqueue(() => store(request));
  }
  await showNext();
}

// An empty sheet stands where the next one cannot be had: what was approved is not approved again.
async function showNext() {
  busy = true;
  refresh();
  const blank = sheet().cloneNode(false);
  try {
    const fresh = await (upcoming === "failed" ? readSheet(blank.dataset.next) : upcoming);
    if (fresh) {
      show(fresh);
      prefetch();
    } else {
      const end = Object.assign(document.createElement("p"), { className: "card", textContent: "That was the last sheet. What was taken out waits in Label Studio." });
      blank.append(end);
      blank.dataset.next = "";
      show(blank);
    }
  } catch (error) {
    blank.append(Object.assign(document.createElement("p"), { className: "card bad", textContent: `▲ The next sheet could not be read. ${error.message}` }));
    show(blank);
    upcoming = "failed";
  }
  busy = false;
  refresh();
  tiles()[0]?.focus();
}

function undoLast() {
  if (busy || !approvals.length) return;
  const approval = approvals.pop();
  busy = true;
  refresh();
  enqueue(async () => {
    let outcomes = [];
    try {
      // Of what seems not stored, only the answer may be lost: asked again, the backend says what there is to undo.
      const open = unsaved.filter((request) => request.approval === approval);
      unsaved = unsaved.filter((request) => request.approval !== approval);
      for (const request of open) await store(request);
      if (unsaved.some((request) => request.approval === approval)) throw new Error(said.textContent);
      if (Object.keys(approval.stored).length) outcomes = await send("undo", { annotations: approval.stored });
    } catch (error) {
      approvals.push(approval);
      say("Not undone.", error.message);
      return;
    } finally {
      busy = false;
    }
    const [done, stay, failed] = ["done", "left", "failed"].map((state) => outcomes.filter((one) => one.state === state));
    for (const one of [...done, ...stay]) delete approval.stored[one.task_id];
    if (failed.length) {
      approvals.push(approval);
      say(`${failed.length} not undone: press U to try again.`, ...reasons(failed));
      return;
    }
    const current = sheet();
    if (current.querySelector(".look") || !current.dataset.next) upcoming = Promise.resolve(current);
    show(approval.sheet);
    say(`${done.length} undone.`, ...reasons(stay));
  });
}

function tryAgain() {
  const requests = unsaved;
  unsaved = [];
  for (const request of requests) enqueue(() => store(request));
  if (upcoming === "failed") showNext();
  refresh();
}

function move(step) {
  const all = tiles();
  const at = all.indexOf(document.activeElement);
  all[at < 0 ? 0 : Math.min(Math.max(at + step, 0), all.length - 1)]?.focus();
}

const columns = () => tiles().filter((tile) => tile.offsetTop === tiles()[0].offsetTop).length;
const KEYS = {
  ArrowLeft: () => move(-1),
  ArrowRight: () => move(1),
  ArrowUp: () => move(-columns()),
  ArrowDown: () => move(columns()),
  Enter: approveSheet,
  u: undoLast,
  r: tryAgain,
};

document.addEventListener("keydown", (event) => {
  const act = KEYS[event.key] ?? KEYS[event.key.toLowerCase()];
  // Everything that has keys of its own keeps them; tiles keep the space bar, which presses a button.
  const own = event.target.closest("a, select, summary") || (event.key === "Enter" && event.target.closest(".bar button"));
  if (!act || own || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  if (!event.repeat || event.key.startsWith("Arrow")) act();
});
document.addEventListener("click", (event) => {
  const tile = event.target.closest(".look");
  if (tile) take(tile);
});
approve.addEventListener("click", approveSheet);
undo.addEventListener("click", undoLast);
again.addEventListener("click", tryAgain);
by.addEventListener("change", () => {
  localStorage.setItem(BY, by.value);
  tiles()[0]?.focus();
});
addEventListener("beforeunload", (event) => {
  if (pending || unsaved.length) event.preventDefault();
});

by.value = localStorage.getItem(BY) ?? "";
if (by.selectedIndex < 0) by.value = "";
if (!by.value && by.options.length === 2) by.selectedIndex = 1;
show(sheet());
prefetch();
