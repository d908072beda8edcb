// Shows the garments, or one of them, as the part of the address after # says; so the browser's back button works.
"use strict";
const { garments, photographs, labels, colours, title, tasks_url: tasksUrl } =
  JSON.parse(document.getElementById("wardrobe").textContent);
const [list, view, search, photograph, count, clear, tiles, end] =
  ["list", "garment", "search", "photograph", "count", "clear", "tiles", "end"].map((id) => document.getElementById(id));
const byKey = new Map(garments.map((garment) => [garment.key, garment]));
const EVERYTHING = { words: "", photograph: "", labels: [], colours: [] };
// So many more tiles are made when the end of the list comes near: thousands at once take seconds.
const BATCH = 150;
const AHEAD = "1500px";
let filter = EVERYTHING;
let shown = garments;
let scrolled = 0;
let opened = null; // the garment that is shown
let from = null; // and the one before it: its tile is focused again

// Names that people chose become text and attributes here, never HTML.
function element(name, attributes = {}, ...children) {
  const made = name.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}
const fileUrl = (path) => path.split("/").map(encodeURIComponent).join("/");
const hashOf = (garment) => `#garment=${garment.key}`;
const colourNames = (garment) => garment.colours.map((colour) => colour.name).join(", ") || "no colour";
const plural = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
function swatch(colour) {
  const made = element("span", { class: "swatch", "aria-hidden": "true" });
  made.style.background = colour;
  return made;
}

function tile(garment, note = "") {
  const picture = element("img", { src: fileUrl(garment.small), loading: "lazy", decoding: "async", alt: "" });
  const dots = element("span", { class: "dots" }, ...garment.colours.slice(0, 3).map((colour) => swatch(colour.hex)));
  const about = element("span", { class: "about" }, element("span", {}, garment.label), dots);
  const link = element("a", { class: "tile", href: hashOf(garment), "data-key": garment.key,
    "aria-label": `${garment.label}, ${colourNames(garment)}, task ${photographs[garment.photograph].task}` },
  element("span", { class: "cloth" }, picture), about);
  if (note) link.append(element("span", { class: "note" }, note));
  return element("li", {}, link);
}

// The list and its filters.

function hashOfFilter({ words, photograph: name, labels: chosen, colours: named }) {
  const parts = new URLSearchParams();
  if (words) parts.set("search", words);
  if (name) parts.set("photograph", name);
  for (const label of chosen) parts.append("label", label);
  for (const colour of named) parts.append("colour", colour);
  return `#${parts}`;
}

function filterOf(parts) {
  return {
    words: parts.get("search") ?? "",
    photograph: parts.get("photograph") ?? "",
    labels: parts.getAll("label").filter((label) => labels.includes(label)),
    colours: parts.getAll("colour").filter((colour) => colour in colours),
  };
}

const texts = garments.map((garment) => {
  const { name, task } = photographs[garment.photograph];
  return [garment.label, colourNames(garment), name, task].join(" ").toLocaleLowerCase();
});

// One of the labels, but all of the colours: a garment has one label and several colours.
function matches(number, wanted, words) {
  const garment = garments[number];
  return (!wanted.labels.length || wanted.labels.includes(garment.label))
    && wanted.colours.every((name) => garment.colours.some((colour) => colour.name === name))
    && (!wanted.photograph || photographs[garment.photograph].name === wanted.photograph)
    && words.every((word) => texts[number].includes(word));
}

function matching(wanted) {
  const words = wanted.words.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  return garments.filter((_, number) => matches(number, wanted, words));
}

function counts(found, namesOf) {
  const counted = new Map();
  for (const garment of found) for (const name of namesOf(garment)) counted.set(name, (counted.get(name) ?? 0) + 1);
  return counted;
}

function refreshChips(id, chosen, counted) {
  for (const chip of document.getElementById(id).children) {
    const number = counted.get(chip.dataset.name) ?? 0;
    chip.setAttribute("aria-pressed", chosen.includes(chip.dataset.name));
    chip.classList.toggle("none", !number);
    chip.lastChild.textContent = number.toLocaleString("en");
  }
}

function drawMore() {
  const drawn = tiles.children.length;
  tiles.append(...shown.slice(drawn, drawn + BATCH).map((garment) => tile(garment)));
  // Watched anew: it may be in view still, which is no change to tell of.
  nearEnd.unobserve(end);
  if (tiles.children.length < shown.length) nearEnd.observe(end);
}

function refreshList() {
  if (search.value.trim() !== filter.words) search.value = filter.words;
  photograph.value = filter.photograph;
  shown = matching(filter);
  tiles.replaceChildren();
  drawMore();
  refreshChips("labels", filter.labels, counts(matching({ ...filter, labels: [] }), (garment) => [garment.label]));
  refreshChips("colours", filter.colours, counts(shown, (garment) => garment.colours.map((colour) => colour.name)));
  const all = shown.length === garments.length;
  count.textContent = shown.length
    ? `${all ? "" : `${shown.length.toLocaleString("en")} of `}${plural(garments.length, "garment")}`
    : "No garment is like that. Take a filter away.";
  clear.hidden = all;
}

// While somebody types, the address changes without a new entry in the history.
function apply(changes) {
  filter = { ...filter, ...changes };
  history.replaceState(null, "", hashOfFilter(filter));
  refreshList();
}

function chip(kind, name, colour) {
  const made = element("button", { type: "button", "data-name": name, "aria-pressed": "false" },
    ...(colour ? [swatch(colour)] : []), name, " ", element("small"));
  made.addEventListener("click", () => {
    const chosen = filter[kind];
    apply({ [kind]: chosen.includes(name) ? chosen.filter((other) => other !== name) : [...chosen, name] });
  });
  return made;
}

// One garment.

function drawn(garment) {
  const { file, size_wh: [width, height] } = photographs[garment.photograph];
  const others = garments.filter((other) => other.photograph === garment.photograph && other !== garment);
  return element("svg:svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `The photograph of task ${photographs[garment.photograph].task}, with the garment outlined` },
  element("svg:image", { href: fileUrl(file), width, height }),
  element("svg:path", { class: "veil", d: `M0,0H${width}V${height}H0z${garment.outline}` }),
  ...others.map((other) => element("svg:a", { href: hashOf(other), tabindex: "-1" },
    element("svg:path", { class: "other", d: other.outline }, element("svg:title", {}, other.label)))),
  element("svg:path", { class: "halo", d: garment.outline }), element("svg:path", { class: "line", d: garment.outline }));
}

const timeOf = (iso) => `${iso.slice(0, 16).replace("T", " ")}${iso.endsWith("Z") ? " UTC" : ""}`;

function facts(garment) {
  const { name, task } = photographs[garment.photograph];
  const [width, height] = garment.size_wh;
  const pixels = garment.area_px.toLocaleString("en");
  const parts = garment.colours.map(({ name: colour, hex, share }) =>
    element("li", {}, swatch(hex), `${colour} ${Math.round(100 * share)} %`));
  const rows = [
    ["colours", parts.length ? element("ul", {}, ...parts) : "none"],
    ["size", `${width} × ${height} px, ${pixels} of them cloth`],
    ["photograph", element("a", { href: hashOfFilter({ ...EVERYTHING, photograph: name }) }, name)],
    ["task", String(task)],
    ["approved by", garment.by === "person" ? "a person" : "the model"],
    ["score", garment.score === null ? "" : garment.score.toFixed(2)],
    ["annotated", timeOf(garment.made_at)],
    ["cut-out", element("a", { href: fileUrl(garment.file) }, "PNG in full size")],
  ];
  return element("dl", { class: "facts" },
    ...rows.filter(([, value]) => value).flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]));
}

function step(garment, by, word) {
  const other = shown[shown.indexOf(garment) + by];
  return other && shown.includes(garment) ? element("a", { href: hashOf(other), rel: word }, word)
    : element("span", { "aria-disabled": "true" }, word);
}

function row(heading, how, none, items) {
  return [element("h3", {}, heading, " ", element("small", {}, items.length ? how : "")), items.length
    ? element("ul", { class: "tiles few" }, ...items) : element("p", { class: "soft" }, none)];
}

function showGarment(garment) {
  const task = photographs[garment.photograph].task;
  const name = element("h2", { id: "name", tabindex: "-1" }, garment.label);
  const near = garment.goes_with.map(([number, distance]) => tile(garments[number], `distance ${distance.toFixed(1)}`));
  const worn = garments.filter((other) => other.photograph === garment.photograph && other !== garment);
  const link = tasksUrl
    ? element("p", {}, element("a", { class: "open", href: tasksUrl + task, target: "_blank", rel: "noreferrer" }, "Open in Label Studio"))
    : null;
  const cutOut = element("img", { src: fileUrl(garment.file), alt: `${garment.label}, ${colourNames(garment)}` });
  view.replaceChildren(
    element("div", { class: "bar" }, element("a", { id: "back", href: hashOfFilter(filter) }, "← All garments"),
      element("nav", { "aria-label": "Garments" }, step(garment, -1, "previous"), step(garment, 1, "next"))),
    element("div", { class: "pair" },
      element("figure", {}, drawn(garment), element("figcaption", {}, "Where it is worn")),
      element("figure", {}, element("span", { class: "cloth" }, cutOut), element("figcaption", {}, "The cut-out")),
      element("div", {}, name, facts(garment), link)),
    ...row("Goes with", "the same label and like colours, the nearest first (CIEDE2000)", `No other photograph has a ${garment.label} of like colours.`, near),
    ...row("Worn in the same photograph", "", "Nothing else is outlined in this photograph.", worn.map((other) => tile(other))));
  document.title = `${garment.label} · ${title || "Wardrobe"}`;
  scrollTo(0, 0);
  name.focus({ preventScroll: true });
}

function showMissing() {
  view.replaceChildren(element("h2", { id: "name", tabindex: "-1" }, "This garment is not here"),
    element("p", {}, "It may have been annotated again since. ", element("a", { id: "back", href: "#" }, "All garments")));
}

function focusTile(number) {
  while (tiles.children.length <= number) drawMore();
  tiles.children[number]?.querySelector(".tile").focus();
}

// Shows what the address names.
function show() {
  const parts = new URLSearchParams(location.hash.slice(1));
  if (parts.has("garment")) {
    if (!list.hidden) scrolled = scrollY;
    opened = byKey.get(parts.get("garment")) ?? null;
    [list.hidden, view.hidden] = [true, false];
    from = opened;
    if (opened) showGarment(opened);
    else showMissing();
    return;
  }
  const wanted = filterOf(parts);
  document.title = title || "Wardrobe";
  [list.hidden, view.hidden, opened] = [false, true, null];
  view.replaceChildren();
  // The list that was left is there still, as far as it was drawn.
  if (!tiles.childElementCount || hashOfFilter(filter) !== hashOfFilter(wanted)) {
    filter = wanted;
    refreshList();
  }
  scrollTo(0, scrolled);
  if (from) focusTile(shown.indexOf(from));
  from = null;
}

function tileTowards(key, current) {
  const links = [...current.closest(".tiles").querySelectorAll(".tile")];
  const [top, index] = [links[0].offsetTop, links.indexOf(current)];
  const next = links.findIndex((link) => link.offsetTop !== top);
  const columns = next < 0 ? links.length : next;
  return links[index + { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key]];
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isTyping = event.target.matches("input, select");
  const current = event.target.closest?.(".tile");
  if (event.key === "/" && !isTyping && !list.hidden) {
    event.preventDefault();
    search.focus();
  } else if (event.key === "Escape" && !view.hidden) {
    document.getElementById("back").click();
  } else if (event.key.startsWith("Arrow") && current) {
    const next = tileTowards(event.key, current);
    if (next) event.preventDefault();
    next?.focus();
  } else if (["ArrowLeft", "ArrowRight"].includes(event.key) && opened && !isTyping) {
    view.querySelector(`[rel="${event.key === "ArrowLeft" ? "previous" : "next"}"]`)?.click();
  }
}

const nearEnd = new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) drawMore(); },
  { rootMargin: AHEAD });
history.scrollRestoration = "manual";
document.getElementById("labels").append(...labels.map((name) => chip("labels", name)));
document.getElementById("colours").append(...Object.entries(colours).map(([name, colour]) => chip("colours", name, colour)));
photograph.append(...photographs.map(({ name }) => element("option", { value: name }, name)));
search.addEventListener("input", () => apply({ words: search.value.trim() }));
photograph.addEventListener("change", () => apply({ photograph: photograph.value }));
clear.addEventListener("click", () => { apply(EVERYTHING); search.focus(); });
document.getElementById("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  focusTile(0);
});
document.addEventListener("keydown", onKey);
addEventListener("hashchange", show);
show();
