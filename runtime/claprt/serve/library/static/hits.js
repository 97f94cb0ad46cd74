// The list of sounds that were found.

import { drawOutline } from "./outline.js";

const COLUMNS = 180;
const AT_ONCE = 3; // waveforms that are asked for at the same time
const MOST_PLACES = 4;
const NEARLY = 0.8; // of the best window's score: what is shown of the others

export class Hits {
  #list;
  #actions;
  #window;
  #plays;
  #outlines = new WeakMap(); // of rows
  #waiting = [];
  #running = 0;
  #seen = new IntersectionObserver((entries) => entries.forEach((entry) => entry.isIntersecting && this.#ask(entry.target)), { rootMargin: "200px" });

  // `actions` are what a row does: play(hit, seconds), toggle(), more(hit), less(hit), peaks(id, columns).
  constructor(list, actions) {
    this.#list = list;
    this.#actions = actions;
    list.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.redraw()).observe(list);
  }

  // Shows hits; `window` is the length of one in seconds, `plays` whether sounds can be played.
  show(hits, window, plays) {
    this.#window = window;
    this.#plays = plays;
    this.#seen.disconnect();
    this.#waiting = [];
    const rows = hits.map((hit) => this.#row(hit));
    this.#list.replaceChildren(...rows);
    rows.forEach((row) => this.#seen.observe(row));
  }

  focusFirst() {
    this.#first(this.#list.firstElementChild)?.focus();
  }

  redraw() {
    for (const row of this.#list.children) this.#draw(row);
  }

  // Marks the sound that plays, and where it is.
  mark(id, seconds, paused) {
    for (const row of this.#list.children) {
      const isCurrent = row.dataset.id === id;
      const plays = isCurrent && !paused;
      this.#name(row, isCurrent, plays);
      const { style } = row.querySelector(".playhead");
      style.visibility = isCurrent && seconds > 0 ? "visible" : "hidden";
      if (isCurrent) style.left = `${100 * Math.min(1, seconds / this.#lasts(row))}%`;
    }
  }

  // Says what the button of a row does; called for every frame, so that it does nothing where nothing has changed.
  #name(row, isCurrent, plays) {
    const button = row.querySelector(".play");
    const state = `${isCurrent} ${plays}`;
    if (button.dataset.state === state) return;
    const { path, start_s: start } = row.hit;
    button.dataset.state = state;
    row.classList.toggle("current", isCurrent);
    button.classList.toggle("plays", plays);
    const from = !isCurrent && start ? ` from ${clock(start)}` : "";
    button.setAttribute("aria-label", plays ? `Pause ${path}` : `Play ${path}${from}`);
  }

  #row(hit) {
    const row = element("li", "hit");
    row.hit = hit;
    row.dataset.id = hit.id;
    const slash = hit.path.lastIndexOf("/") + 1;
    const what = element("div", "what");
    const facts = element("p", "quiet");
    facts.append(element("span", "score", hit.score.toFixed(3).replace("-", "−")), hit.duration_s === null ? "" : ` · ${length(hit.duration_s)}`, this.#places(hit));
    what.append(element("strong", "", hit.path.slice(slash)), element("span", "quiet", hit.path.slice(0, slash)), facts);
    const play = button("play", "", () => this.#toggle(row));
    const chart = element("div", "chart");
    chart.append(element("canvas"), element("i", "playhead"));
    chart.firstChild.setAttribute("aria-hidden", "true");
    chart.addEventListener("click", (event) => this.#actions.play(hit, (event.offsetX / chart.clientWidth) * this.#lasts(row)));
    const acts = element("div", "acts");
    for (const [kind, name] of [["more", "More"], ["less", "Less"]]) {
      const act = button("second", `${name} like this`, () => this.#actions[kind](hit));
      act.setAttribute("aria-label", `${name} like ${hit.path.slice(slash)}`);
      acts.append(act);
    }
    row.append(play, what, chart, acts);
    return row;
  }

  // How long a sound lasts; where the library does not know, as its waveform says.
  #lasts(row) {
    return row.hit.duration_s ?? this.#outlines.get(row)?.seconds ?? 0;
  }

  // The places of the best windows, in the order of time.
  #places(hit) {
    const places = element("span", "places");
    if (hit.duration_s !== null && hit.duration_s <= this.#window) return places;
    places.append(" · at");
    for (const start of starts(hit).sort((one, other) => one - other)) {
      const place = this.#plays ? button("", clock(start), () => this.#actions.play(hit, start)) : element("span", "", clock(start));
      if (this.#plays) place.setAttribute("aria-label", `Play from ${clock(start)}`);
      places.append(" ", place);
    }
    return places;
  }

  #toggle(row) {
    if (row.classList.contains("current")) this.#actions.toggle();
    else this.#actions.play(row.hit, row.hit.start_s);
  }

  #ask(row) {
    this.#seen.unobserve(row);
    if (this.#plays) this.#waiting.push(row);
    this.#next();
  }

  #next() {
    while (this.#running < AT_ONCE && this.#waiting.length) {
      const row = this.#waiting.shift();
      this.#running += 1;
      this.#actions.peaks(row.dataset.id, COLUMNS).then((outline) => {
        this.#outlines.set(row, outline);
        this.#draw(row);
      }).catch((error) => { row.querySelector(".chart").title = error.message; }).finally(() => {
        this.#running -= 1;
        this.#next();
      });
    }
  }

  #draw(row) {
    const outline = this.#outlines.get(row);
    const { hit } = row;
    const windows = starts(hit).map((start) => [start, start + this.#window]);
    if (outline) drawOutline(row.querySelector("canvas"), outline, windows);
  }

  #first(row) {
    return [...(row?.querySelectorAll("button") ?? [])].find((one) => one.offsetParent !== null);
  }

  #key(event) {
    const row = event.target.closest(".hit");
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const { key } = event;
    if (key === "ArrowDown" || key === "ArrowUp") {
      const next = key === "ArrowDown" ? row.nextElementSibling : row.previousElementSibling;
      event.preventDefault();
      if (next) this.#first(next).focus();
      else if (key === "ArrowUp") this.#actions.top();
    } else if (key === "ArrowLeft" || key === "ArrowRight") {
      event.preventDefault();
      this.#actions.move(key === "ArrowLeft" ? -2 : 2);
    } else if (key === "+" || key === "-") {
      this.#actions[key === "+" ? "more" : "less"](row.hit);
    }
  }
}

// Where the best windows begin, the best one first.
function starts({ start_s: best, score, windows }) {
  const good = (windows ?? []).filter((window) => window.start_s !== best && window.score > 0 && window.score >= NEARLY * score);
  return [best, ...good.slice(0, MOST_PLACES - 1).map((window) => window.start_s)];
}

// Seconds as 0:07 or 1:02:03.
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = parts[0] ? parts : parts.slice(1);
  return shown.map((part, index) => (index ? String(part).padStart(2, "0") : part)).join(":");
}

function length(seconds) {
  return seconds < 60 ? `${Number(seconds.toPrecision(2))} s` : clock(seconds);
}

export function element(tag, name = "", text = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.textContent = text;
  return made;
}

function button(name, text, act) {
  const made = element("button", name, text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}
