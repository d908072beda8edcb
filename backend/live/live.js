// Sends the newest picture to each chosen version, waits for both answers, and draws them over that same picture. What
// the source shows meanwhile is dropped, and counted.
import { draw, encoded, reduced, together } from "/live/drawing.js";
import { cameras, hasCamera, openCamera, openPhotographs, openVideo } from "/live/sources.js";

const { project, photographBytes } = document.body.dataset;
// The picture that is shown, and stored where it is asked for: no larger than this, so that any machine keeps up.
const SHOWN_PX = 1280;
const FRAME_QUALITY = 0.8;
const STORED_QUALITY = 0.92;
const RETRY_S = 1; // after an answer that names no time
const PACE_MS = 3000; // frames a second are counted over this time
const at = (id) => document.getElementById(id);
const [mode, size, target, said] = ["mode", "size", "target", "said"].map(at);

let source = null;
let frozen = false;
let run = 0; // each start and stop makes the loop before it end
let shown = null; // the frame that is shown: { picture, sent }
let garment = null; // the wardrobe's
const say = (sentence) => { said.textContent = sentence; };
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

class Pane {
  constructor(element) {
    this.element = element;
    for (const name of ["version", "stage", "pace", "found", "trouble", "send"]) this[name] = element.querySelector(`.${name}`);
    this.canvas = element.querySelector("canvas");
    this.frame = this.seen = null;
    this.wanted = this.working = null;
    this.answered = []; // when
    this.refused = 0;
  }

  get isOn() { return Boolean(this.version.value); }

  // One frame is under way at most, and of those that come meanwhile the newest counts. Resolves when none is left.
  see(frame) {
    this.wanted = frame;
    this.working ??= this.work().finally(() => { this.working = null; });
    return this.working;
  }

  async work() {
    while (this.wanted) {
      const frame = this.wanted;
      this.wanted = null;
      const wait_s = await this.ask(frame, this.version.value);
      if (wait_s) {
        await pause(1000 * wait_s);
        if (frozen && frame === shown && this.isOn) this.wanted ??= frame;
      }
    }
  }

  // Returns how many seconds to wait before the backend is asked again; 0 after an answer.
  async ask(frame, version) {
    let answer;
    try {
      answer = await fetch(`/projects/${project}/live/frame?${new URLSearchParams({ version })}`, { method: "POST", body: frame.small });
    } catch {
      return this.fail("The backend does not answer.", RETRY_S);
    }
    const content = await answer.json().catch(() => ({}));
    if (version !== this.version.value || frame.source !== source) return 0;
    const retry_s = Number(answer.headers.get("Retry-After"));
    if (retry_s) {
      this.refused += 1;
      return this.fail("Others go first: a picture was dropped.", retry_s);
    }
    // Asked again, it would say the same of a frozen picture; of the next one, it may not.
    if (!answer.ok) return this.fail([content.detail ?? `The backend answered ${answer.status}.`].flat().join(" "), frozen ? 0 : RETRY_S);
    this.trouble.textContent = "";
    this.answered.push(performance.now());
    Object.assign(this, { frame, seen: content });
    // While pictures come, both versions' answers are drawn at once: what stands side by side is the same moment.
    if (frozen) this.show();
    return 0;
  }

  fail(sentence, wait_s) {
    this.trouble.textContent = `▲ ${sentence}`;
    return wait_s;
  }

  show() {
    this.element.classList.toggle("off", !this.isOn);
    this.stage.classList.toggle("cut", mode.value === "cut" && Boolean(this.seen));
    if (!this.seen) return;
    draw(this.canvas, this.frame.picture, this.seen, mode.value, { garment, label: target.value });
    const names = this.seen.garments.map((one) => `${one.label} ${one.score.toFixed(2)}`).join(", ");
    this.found.textContent = names || "no garment";
    this.canvas.setAttribute("aria-label", names || "no garment");
    this.pace.textContent = this.paceOf();
  }

  paceOf() {
    const since = performance.now() - PACE_MS;
    this.answered = this.answered.filter((time) => time >= since);
    const [first, last] = [this.answered[0], this.answered.at(-1)];
    const a_second = last > first ? (1000 * (this.answered.length - 1)) / (last - first) : 0;
    return `${Math.round(this.seen.ms)} ms${a_second && !frozen ? ` · ${a_second.toFixed(1)} frames a second` : ""}`;
  }

  forget() {
    this.answered = [];
    this.refused = 0;
    this.seen = this.frame = null;
    for (const part of [this.pace, this.found, this.trouble]) part.textContent = "";
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
  }
}

const panes = [...document.querySelectorAll(".pane")].map((element) => new Pane(element));
const on = () => panes.filter((pane) => pane.isOn);

async function look(picture) {
  const frame = { picture, source, sent: false, small: null };
  shown = frame;
  frame.small = await encoded(reduced(picture, [picture.width, picture.height], Number(size.value)), FRAME_QUALITY);
  if (frame !== shown) return;
  await Promise.all(on().map((pane) => pane.see(frame)));
  if (source === frame.source) showAll();
  refresh();
}

const takePicture = () => reduced(source.take(), source.size, SHOWN_PX);

// The loop: one picture after the other, each the newest.
async function watch() {
  run += 1;
  const mine = run;
  try {
    while (mine === run && source && !frozen) {
      await source.next();
      if (mine !== run) return;
      await look(takePicture());
    }
  } catch (error) {
    say(error.message);
  }
}

// The same picture again: another version or size was chosen.
function lookAgain() {
  showAll();
  if (shown && frozen) look(shown.picture).catch((error) => say(error.message));
}

// Nothing new is asked of the backend: only the drawing changes.
function showAll() { for (const pane of panes) pane.show(); }

function refresh() {
  for (const pane of panes) {
    if (frozen && pane.seen) pane.pace.textContent = pane.paceOf();
    pane.send.disabled = !(frozen && pane.seen && pane.frame === shown && !shown.sent);
  }
  const [moves, some] = [Boolean(source && !source.isStill), Boolean(shown)];
  at("freeze").disabled = !moves;
  at("freeze").setAttribute("aria-pressed", moves && frozen);
  at("freeze").textContent = moves && frozen ? "Go on" : "Freeze";
  at("step").disabled = !moves && !source?.canGoBack;
  at("back").disabled = !source?.canGoBack;
  at("save").disabled = !some;
  const refused = panes.reduce((sum, pane) => sum + pane.refused, 0);
  at("counts").textContent = moves ? [`${source.taken} frames answered, ${source.dropped} dropped`, refused && `${refused} gave way to others`].filter(Boolean).join(", ") : "";
}

async function start(open, button) {
  say("One moment…");
  let opened;
  try {
    opened = await open();
  } catch (error) {
    say(error.message);
    return;
  }
  source?.stop();
  run += 1;
  source = opened;
  frozen = source.isStill;
  shown = null;
  for (const pane of panes) pane.forget();
  for (const one of document.querySelectorAll(".sources button")) one.setAttribute("aria-pressed", one.id === button);
  at("which-camera").hidden = true;
  say("");
  refresh();
  at(source.isStill ? "step" : "freeze").focus();
  if (source.isStill) showStill();
  else watch();
}

function showStill() {
  say(source.files.length > 1 ? `${source.file.name}, ${source.at + 1} of ${source.files.length}` : source.file.name);
  look(takePicture()).catch((error) => say(error.message));
}

async function startCamera(deviceId) {
  await start(() => openCamera(deviceId), "camera");
  const found = await cameras();
  if (source?.video?.srcObject && found.length > 1) {
    const current = source.video.srcObject.getVideoTracks()[0].getSettings().deviceId;
    at("cameras").replaceChildren(...found.map((one, number) => new Option(one.label || `Camera ${number + 1}`, one.deviceId, false, one.deviceId === current)));
    at("which-camera").hidden = false;
  }
}

async function freeze() {
  if (!source || source.isStill) return;
  frozen = !frozen;
  run += 1;
  if (frozen) source.freeze();
  else {
    await source.goOn();
    watch();
  }
  showAll();
  refresh();
}

let stepping = false;
async function step(direction) {
  if (!source || stepping || (direction < 0 && !source.canGoBack) || at("step").disabled) return;
  stepping = true;
  try {
    if (!frozen) await freeze();
    await source.step(direction);
    if (source.isStill) showStill();
    else look(takePicture()).catch((error) => say(error.message));
  } catch (error) {
    say(error.message);
  } finally {
    stepping = false;
  }
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
const tooLarge = (name, bytes) => `${name} has ${megabytes(bytes)}, and a photograph may have ${megabytes(photographBytes)}: save it with a lower quality or with fewer pixels, or have IMAGE_MAX_BYTES and REQUEST_MAX_BYTES raised.`;

const stamp = () => new Date().toISOString().slice(0, 19).replaceAll(":", "-");

async function save() {
  const drawn = on().filter((pane) => pane.seen);
  if (!drawn.length) return;
  const captions = drawn.map((pane) => `${pane.seen.version}, ${pane.paceOf()}`);
  const blob = await encoded(together(drawn.map((pane) => pane.canvas), captions), undefined, "image/png");
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `drape-${stamp()}.png` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  say(`Saved as ${link.download}.`);
}

async function send(pane) {
  const frame = shown;
  if (!frame || frame.sent || pane.frame !== frame) return;
  frame.sent = true;
  refresh();
  say("Sending…");
  try {
    const [name, body] = source.isStill ? [source.file.name, source.file] : [`live-${stamp()}.jpg`, await encoded(frame.picture, STORED_QUALITY)];
    // Not sent at all: a connection that ends before the file does would tell the browser nothing.
    if (body.size > photographBytes) throw Object.assign(new Error(tooLarge(name, body.size)), { isRefused: true });
    const query = new URLSearchParams({ version: pane.version.value, name });
    const answer = await fetch(`/projects/${project}/live/task?${query}`, { method: "POST", body });
    const content = await answer.json().catch(() => ({}));
    if (!answer.ok) {
      const reason = [content.detail ?? `The backend answered ${answer.status}.`].flat().join(" ");
      // Told that it takes too long: it may go on all the same.
      throw Object.assign(new Error(reason), { isRefused: answer.status !== 503 });
    }
    say(`Stored as task ${content.task_id}, with ${content.garments} garment${content.garments === 1 ? "" : "s"} of ${content.version}. `);
    if (content.url) said.append(Object.assign(document.createElement("a"), { href: content.url, target: "_blank", rel: "noreferrer", textContent: "Open it" }));
  } catch (error) {
    frame.sent = false;
    say(`${error.isRefused ? "Not stored." : "It may be stored: look for the newest task before you send it again."} ${error.message}`);
  }
  refresh();
}

async function chooseGarment(file) {
  try {
    garment = await createImageBitmap(file);
    at("garment-name").textContent = file.name;
  } catch {
    say("The browser cannot show this file: choose a PNG from a folder of cut-outs.");
  }
  lookAgain();
}

function take(files) {
  const all = [...files];
  const video = all.find((file) => file.type.startsWith("video/"));
  if (video) return start(() => openVideo(video), "pick-video");
  const photographs = all.filter((file) => file.type.startsWith("image/"));
  if (photographs.length) return start(() => openPhotographs(photographs), "pick-photographs");
  return say("Neither a video nor photographs.");
}

function changeMode() {
  at("wardrobe").hidden = mode.value !== "worn";
  showAll();
}

const KEYS = {
  " ": freeze,
  ArrowRight: () => step(1),
  ArrowLeft: () => step(-1),
  s: save,
  o: () => {
    mode.selectedIndex = (mode.selectedIndex + 1) % mode.options.length;
    changeMode();
  },
};

document.addEventListener("keydown", (event) => {
  const act = KEYS[event.key] ?? KEYS[event.key.toLowerCase()];
  // Everything that has keys of its own keeps them: the space bar presses the button that was reached by keys.
  const own = event.target.closest("a, select, input") || (event.key === " " && event.target.closest("button:focus-visible"));
  if (!act || own || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  if (!event.repeat || event.key.startsWith("Arrow")) act();
});

for (const [button, input, use] of [
  ["pick-video", "video-file", take],
  ["pick-photographs", "photographs", take],
  ["pick-garment", "garment-file", ([file]) => chooseGarment(file)],
]) {
  at(button).addEventListener("click", () => at(input).click());
  at(input).addEventListener("change", () => {
    if (at(input).files.length) use([...at(input).files]);
    at(input).value = "";
  });
}
at("camera").addEventListener("click", () => startCamera());
at("cameras").addEventListener("change", () => startCamera(at("cameras").value));
at("freeze").addEventListener("click", freeze);
at("step").addEventListener("click", () => step(1));
at("back").addEventListener("click", () => step(-1));
at("save").addEventListener("click", save);
mode.addEventListener("change", changeMode);
target.addEventListener("change", showAll);
size.addEventListener("change", lookAgain);
for (const pane of panes) {
  pane.version.addEventListener("change", () => {
    pane.forget();
    lookAgain();
  });
  pane.send.addEventListener("click", () => send(pane));
  pane.show();
}
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  take(event.dataTransfer.files);
});
addEventListener("pagehide", () => source?.stop());

at("insecure").hidden = hasCamera();
at("camera").disabled = !hasCamera();
changeMode();
