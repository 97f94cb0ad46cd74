// The page of a library: what is searched for, the search, and the player. The address holds the search.

import { onFile } from "/page/files.js";
import { decoded } from "/page/sound.js";
import { Hits, element } from "./hits.js";
import { Player } from "./player.js";
import { Service } from "./service.js";

const at = (id) => document.getElementById(id);
const NAMES = 0.2; // what the best file name adds to the score: as much as lies between a good hit and a fair one
const narrow = matchMedia("(max-width: 55.99rem)"); // one column: the sounds are below the form
const service = new Service(() => at("token").value);
const player = new Player(at("player"), service);
const hits = new Hits(at("hits"), {
  play,
  toggle: () => player.toggle(),
  move: (seconds) => player.id && player.move(seconds),
  more: (hit) => add(hit, false),
  less: (hit) => add(hit, true),
  peaks: (id, columns) => service.peaks(id, columns),
  top: () => at("text").focus(),
});
let facts = null; // of the service
let library = null; // its facts
let parts = []; // sounds in the search: { id or file, name, less }
let pending = null; // AbortController of the search in progress

function say(text, state) {
  at("status").textContent = text;
  at("status").dataset.state = state;
  at("found").classList.toggle("stale", state === "busy");
}

async function readFacts() {
  facts = await service.json("/page/facts");
  if (facts.library_model) facts = await service.json(`/models/${facts.library_model}/page/facts`);
  at("token-row").hidden = !facts.token;
  at("facts").textContent = `${facts.model} on ${facts.provider} in ${facts.precision} · ${facts.fingerprint}`;
  if (!facts.token) await readLibrary();
}

// How many sounds there are and whether they can be played; with a token, once it is there.
async function readLibrary() {
  library = await service.json("/library/facts");
  const { sounds, audio } = library;
  document.body.classList.toggle("silent", !audio);
  at("found-title").textContent = `${sounds.toLocaleString("en")} sound${sounds === 1 ? "" : "s"}`;
}

function fields() {
  const ids = (less) => parts.filter((part) => part.id && part.less === less).map((part) => part.id);
  const [text, minus, where] = ["text", "minus", "where"].map((id) => at(id).value.trim());
  const names = at("names").checked && text ? NAMES : 0;
  return { text, minus, where, ids: ids(false), minus_ids: ids(true), k: Number(at("count").value), names };
}

// Searches; `remember` puts the search into the address and the history.
async function ask(remember = true) {
  const query = fields();
  const file = parts.find((part) => part.file)?.file;
  showParts();
  if (remember) history.pushState(null, "", address(query));
  pending?.abort();
  if (!query.text && !query.ids.length && !file) {
    clear();
    return query.minus_ids.length || query.minus ? say("Say also what it should sound like.", "wrong") : say("", "idle");
  }
  const most = facts?.limits.bytes ?? Infinity;
  if (file?.size > most) return fail(`The file is larger than the limit of ${most >> 20} MB.`);
  const mine = new AbortController();
  pending = mine;
  say("Searching…", "busy");
  try {
    await started;
    if (!library) await readLibrary();
    const found = await answer(query, file, mine.signal);
    if (!mine.signal.aborted) show(found);
  } catch (error) {
    if (mine.signal.aborted) return undefined;
    if (error.status === 401) at("token").focus();
    fail(error.message);
  }
  return undefined;
}

// A file that the service cannot read is decoded by the browser and sent once more.
async function answer(query, file, signal) {
  try {
    return await service.search({ ...query, file }, signal);
  } catch (error) {
    const again = file && error.type === "AudioDecodeError" ? await decoded(file).catch(() => null) : null;
    if (!again) throw error;
    return service.search({ ...query, file: again }, signal);
  }
}

function show(found) {
  const hadFocus = at("hits").contains(document.activeElement);
  hits.show(found, facts.window_s, library.audio);
  if (hadFocus) hits.focusFirst();
  follow();
  at("empty").hidden = found.length > 0;
  at("keyboard").hidden = found.length > 0;
  at("empty").textContent = "No sound fits these filters.";
  say(found.length ? `${found.length} sound${found.length === 1 ? "" : "s"}, the best first.` : "No sounds.", "done");
  if (narrow.matches && found.length) at("found").scrollIntoView();
}

function clear() {
  hits.show([]);
  at("empty").hidden = at("keyboard").hidden = false;
  at("empty").textContent = "Type what it sounds like, or drop a sound.";
}

// What is shown is not of the search that failed.
function fail(text) {
  clear();
  at("empty").hidden = true;
  say(text, "wrong");
}

function add(hit, less) {
  parts = [...parts.filter((part) => part.id !== hit.id), { id: hit.id, name: hit.path.split("/").pop(), less }];
  ask();
}

function take(file) {
  parts = [...parts.filter((part) => !part.file), { file, name: file.name, less: false }];
  ask();
}

function showParts() {
  at("parts").hidden = !parts.length;
  at("parts").replaceChildren(...parts.map((part) => {
    const item = element("li", part.less ? "less" : "");
    const remove = element("button", "", "×");
    remove.type = "button";
    remove.setAttribute("aria-label", `Remove ${part.name}`);
    remove.addEventListener("click", () => {
      parts = parts.filter((one) => one !== part);
      at("text").focus();
      ask();
    });
    item.append(element("span", "", `${part.less ? "less like" : "like"} ${part.name}`), remove);
    return item;
  }));
}

function address({ text, minus, where, ids, minus_ids: less, k, names }) {
  const shown = new URLSearchParams();
  const values = { q: text, minus, where, like: ids.join(","), unlike: less.join(","), k: k === 20 ? "" : k, names: names ? 1 : "" };
  for (const [name, value] of Object.entries(values)) if (value) shown.set(name, value);
  const query = shown.toString();
  return query ? `?${query}` : location.pathname;
}

// The form as the address has it. A file is not in it.
function fill() {
  const stated = new URLSearchParams(location.search);
  at("text").value = stated.get("q") ?? "";
  at("minus").value = stated.get("minus") ?? "";
  at("where").value = stated.get("where") ?? "";
  at("names").checked = stated.has("names");
  at("count").value = stated.get("k") ?? "20";
  if (at("count").selectedIndex < 0) at("count").value = "20";
  at("more").open ||= ["minus", "where", "names"].some((name) => stated.get(name));
  const named = (name, less) => (stated.get(name) ?? "").split(",").filter(Boolean).map((id) => ({ id, name: id, less }));
  parts = [...named("like", false), ...named("unlike", true)];
}

// The search of the form, once the sounds in it have their names.
async function resume() {
  if (facts.token && !at("token").value) return showParts();
  await Promise.all(parts.map(async (part) => {
    part.name = await service.sound(part.id).then((sound) => sound.path.split("/").pop(), () => part.id);
  }));
  return ask(false);
}

function play(hit, from) {
  at("bar").hidden = false;
  at("playing").textContent = hit.path.split("/").pop();
  player.play(hit.id, from);
  follow();
}

function stop() {
  player.stop();
  at("bar").hidden = true;
  follow();
}

// The line over the waveform of the sound that plays.
function follow() {
  hits.mark(player.id, player.seconds, player.paused);
  if (!player.paused) requestAnimationFrame(follow);
}

player.failed = (text) => {
  stop();
  say(text, "wrong");
};
for (const kind of ["play", "pause", "seeked", "ended"]) at("player").addEventListener(kind, follow);
at("stop").addEventListener("click", stop);
at("question").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
for (const id of ["count", "names"]) at(id).addEventListener("change", () => ask());
onFile(at("file"), at("drop"), take);
at("text").addEventListener("keydown", (event) => {
  if (event.key !== "ArrowDown" || !at("hits").children.length) return;
  event.preventDefault();
  hits.focusFirst();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && player.id) stop();
  if (event.key !== "/" || event.target.matches("input:not([type=file]), textarea, select")) return;
  event.preventDefault();
  at("text").focus();
  at("text").select();
});
addEventListener("popstate", () => {
  fill();
  return resume();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => hits.redraw());
// The form is filled before anybody can type into it, and a search that was begun while the facts were read is left alone.
fill();
clear();
const started = readFacts();
started.then(() => (location.search && !pending ? resume() : undefined)).catch((error) => fail(error.message));
