// The page: sends audio and labels to the service in one request, and shows the result.

import { filled, headline, seconds, showAnswer, showTimes } from "./answer.js";
import { asCurl, asPython } from "./copy.js";
import { drawLine, drawMel, drawWave } from "./draw.js";
import { onFile } from "./files.js";
import { base, chooseModel, listModels, modelFacts } from "./models.js";
import { Recorder, decoded } from "./sound.js";
import { askTimeline, listEvents } from "./timeline.js";

const at = (id) => document.getElementById(id);
const MOST_S = 60;
const narrow = matchMedia("(max-width: 55.99rem)"); // one column: the result is below the form
const recorder = new Recorder();
let sound = null;
let shown = null;
let sent = null; // the file of the last request, which the browser may have decoded
let line = null; // what is heard when
let pending = null; // AbortController of the request in progress
let request = null; // fields of the last request
let axes = []; // of the charts, for the playhead
let facts = null;
let rounded = Math.ceil; // how the resampler rounds a number of samples

function say(text, state) {
  at("status").textContent = text;
  at("status").dataset.state = state;
  at("found").classList.toggle("stale", state === "busy"); // the result that is shown belongs to another request
  if (state === "wrong") clear();
}

// Hides the last result, which is not that of the request that failed.
function clear() {
  shown = null;
  for (const id of ["answer", "headline", "warning", "copies", "pictures", "times"]) at(id).hidden = true;
  clearLine();
  at("remark").textContent = "";
  at("empty").hidden = false;
  at("empty").textContent = "No result.";
}

function clearLine() {
  line = null;
  for (const id of ["line-chart", "events"]) at(id).hidden = true;
  at("line-text").textContent = "";
}

async function readFacts() {
  const found = await modelFacts();
  if (!found) return;
  facts = found;
  rounded = preprocessing() === "kromosynth" ? Math.floor : Math.ceil;
  at("facts").textContent = `${facts.model} on ${facts.provider} in ${facts.precision} · ${facts.fingerprint}`;
  listModels(at("model-row"), at("model"), facts);
  at("token-row").hidden = !facts.token;
  at("example").hidden = false;
  at("library").hidden = !facts.library;
  at("training").hidden = !facts.trained_on;
  at("training").textContent = `${facts.model} was trained on a few hundred everyday sounds and instruments, not on speech or music.`;
  at("metrics").hidden = facts.token; // a link does not send the token
  const sample = { ...fields(), file: "dog.flac", token: facts.token, model: facts.bundle ?? facts.model, preprocess: preprocessing() };
  at("program-curl").textContent = asCurl(sample, location.origin + base);
  at("program-python").textContent = asPython(sample);
  at("programs").hidden = sound !== null;
}

function preprocessing() {
  return facts.fingerprint.split("/")[1];
}

function take(file) {
  sound = file;
  at("name").textContent = file.name;
  URL.revokeObjectURL(at("player").src);
  at("player").src = URL.createObjectURL(file);
  at("player").hidden = false;
  at("programs").hidden = true;
  ask();
}

async function ask() {
  if (!sound) return say("Choose, drop or record audio first.", "wrong");
  const most = facts?.limits.bytes ?? Infinity;
  if (sound.size > most) return say(`The file is larger than the limit of ${most >> 20} MB.`, "wrong");
  pending?.abort();
  const mine = new AbortController();
  pending = mine;
  say("Analysing…", "busy");
  request = fields();
  try {
    let reply = await send(sound, mine.signal);
    if (reply.error?.type === "AudioDecodeError") reply = await decodedHere(reply, mine.signal);
    if (reply.error) throw new Error(reply.error.message);
    show(reply);
    say(reply.result ? "Done." : "Done. There are no labels.", "done");
    if (narrow.matches) at("found").scrollIntoView();
  } catch (error) {
    if (mine.signal.aborted) return undefined;
    say(error instanceof TypeError ? "The service cannot be reached." : error.message, "wrong");
  }
  return undefined;
}

// Retries with the file decoded by the browser; the first reply if the browser cannot decode it either.
async function decodedHere(reply, signal) {
  const again = await decoded(sound).catch(() => null);
  return again ? send(again, signal) : reply;
}

function fields() {
  const text = at("labels").value.trim();
  const labels = text.startsWith("[") ? text : text.split(/[,\n]/).map((label) => label.trim()).filter(Boolean);
  return { file: sound?.name, labels, mode: mode(), template: at("template").value.trim(), threshold: Number(at("threshold").value) };
}

async function send(file, signal) {
  const form = new FormData();
  form.set("file", file, file.name);
  if (request.labels.length) form.set("labels", typeof request.labels === "string" ? request.labels : JSON.stringify(request.labels));
  form.set("mode", request.mode);
  form.set("threshold", request.threshold);
  if (request.template) form.set("template", request.template);
  sent = file;
  const answer = await fetch(`${base}/analyse`, { method: "POST", body: form, headers: token(), signal });
  if (answer.status === 401) at("token").focus();
  return answer.json();
}

function token() {
  return at("token").value ? { authorization: `Bearer ${at("token").value}` } : {};
}

// Asks for probabilities over time of what was analysed last.
async function when() {
  const mine = pending;
  at("ask-when").disabled = true;
  at("line-text").textContent = "Listening…";
  try {
    const found = await askTimeline(base, sent, request, shown.sound.seconds, Number(at("window").value), token(), mine.signal);
    if (pending !== mine) return;
    line = found;
    at("line-chart").hidden = false;
    at("line").setAttribute("aria-label", `Labels over time: ${line.labels.join(", ")}`);
    at("line-text").textContent = `${line.starts_s.length} windows of ${seconds(line.window_s)}; a line marks an event`;
    listEvents(at("events"), line, (at_s) => { at("player").currentTime = at_s; });
    draw();
  } catch (error) {
    if (pending === mine && !mine.signal.aborted) {
      clearLine();
      at("line-text").textContent = error instanceof TypeError ? "The service cannot be reached." : error.message;
    }
  } finally {
    at("ask-when").disabled = false;
  }
}

function mode() {
  return document.querySelector("input[name=mode]:checked").value;
}

function show(reply) {
  shown = reply;
  at("empty").hidden = Boolean(reply.result);
  at("empty").textContent = "Enter labels to classify this audio.";
  for (const id of ["answer", "headline", "copies"]) at(id).hidden = !reply.result;
  at("remark").textContent = "";
  at("copied").textContent = "";
  at("warning").hidden = !reply.result?.warning;
  at("warning").textContent = reply.result?.warning ?? "";
  if (reply.result) {
    headline(at("headline"), reply);
    showAnswer(at("answer"), at("remark"), reply);
  }
  clearLine();
  at("over-time").hidden = !reply.result;
  at("times").hidden = false;
  showTimes(at("stages"), at("stage-list"), at("total"), reply.timings_ms, reply.batch);
  at("pictures").hidden = false;
  const { sound: heard, log_mel: mel } = reply;
  at("wave-text").textContent = `${seconds(heard.seconds)} at ${heard.rate} Hz`;
  const whole = heard.seconds < mel.seconds ? filled(heard, mel.seconds, rounded) : `, starting at ${seconds(mel.start_s)}`;
  at("mel-text").textContent = `the model's input${whole}${heard.windows > 1 ? `; the first of ${heard.windows} windows` : ""}`;
  at("wave").setAttribute("aria-label", `Waveform of ${heard.name}, ${seconds(heard.seconds)}`);
  at("mel").setAttribute("aria-label", `Log-mel spectrogram of ${heard.name}, ${mel.mels} bands, ${seconds(mel.seconds)}`);
  draw();
}

function draw() {
  if (!shown) return;
  axes = [
    drawWave(at("wave"), shown.waveform, shown.sound, shown.log_mel),
    line && drawLine(at("line"), line, shown.sound),
    drawMel(at("mel"), shown.log_mel, shown.sound),
  ];
  follow();
}

// The line over the charts at the position of the player.
function follow() {
  const now = at("player").currentTime;
  const lines = document.querySelectorAll(".playhead");
  axes.forEach((axis, index) => {
    const { style } = lines[index];
    style.visibility = axis && now > 0 && now >= axis.from && now <= axis.to ? "visible" : "hidden";
    if (!axis) return;
    style.left = `${axis.left + ((now - axis.from) / (axis.to - axis.from)) * (axis.right - axis.left)}px`;
    style.top = `${axis.top}px`;
    style.height = `${axis.bottom - axis.top}px`;
  });
  if (!at("player").paused) requestAnimationFrame(follow);
}

// A click on a chart moves the player there.
function seek(event, index) {
  const axis = axes[index];
  if (!axis || at("player").hidden) return;
  const share = (event.offsetX - axis.left) / (axis.right - axis.left);
  if (share >= 0 && share <= 1) at("player").currentTime = axis.from + share * (axis.to - axis.from);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    at("copied").textContent = "Copied.";
  } catch {
    at("copied").textContent = "The browser does not allow this page to copy.";
  }
}

function listed() {
  const labels = typeof request.labels === "string" ? JSON.parse(request.labels) : request.labels;
  return { ...request, labels, token: facts.token, model: facts.bundle ?? facts.model, preprocess: preprocessing() };
}

async function example() {
  try {
    const reply = await fetch(facts.example);
    take(new File([await reply.blob()], facts.example.split("/").pop(), { type: "audio/flac" }));
  } catch {
    say("The service cannot be reached.", "wrong");
  }
}

async function record() {
  const button = at("record");
  if (button.getAttribute("aria-pressed") === "true") {
    button.setAttribute("aria-pressed", "false");
    button.lastChild.textContent = " Record";
    return take(await recorder.stop());
  }
  try {
    await recorder.start();
  } catch (error) {
    return say(`The microphone cannot be used: ${error.message}`, "wrong");
  }
  button.setAttribute("aria-pressed", "true");
  say("Recording…", "busy");
  const clock = setInterval(() => {
    if (button.getAttribute("aria-pressed") !== "true") return clearInterval(clock);
    button.lastChild.textContent = ` Stop (${recorder.seconds.toFixed(1)} s)`;
    if (recorder.seconds >= MOST_S) record();
    return undefined;
  }, 100);
  return undefined;
}

at("question").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
onFile(at("file"), at("drop"), take);
at("record").addEventListener("click", record);
at("example").addEventListener("click", example);
at("copy-curl").addEventListener("click", () => copy(asCurl(listed(), location.origin + base)));
at("copy-python").addEventListener("click", () => copy(asPython(listed())));
at("player").addEventListener("error", () => { at("player").hidden = true; }); // a format that this browser does not play
for (const kind of ["play", "seeked", "pause"]) at("player").addEventListener(kind, follow);
at("ask-when").addEventListener("click", when);
["wave", "line", "mel"].forEach((id, index) => at(id).addEventListener("click", (event) => seek(event, index)));
at("labels").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask();
});
at("threshold").addEventListener("input", () => {
  at("threshold-shown").textContent = `${Math.round(100 * at("threshold").value)} %`;
});
at("threshold").addEventListener("change", () => sound && ask());
document.querySelectorAll("input[name=mode]").forEach((choice) => choice.addEventListener("change", () => {
  at("threshold-row").hidden = mode() !== "tag";
  if (sound) ask();
}));
at("model").addEventListener("change", () => {
  chooseModel(at("model").value);
  readFacts().then(() => sound && ask()).catch(() => say("The service cannot be reached.", "wrong"));
});
new ResizeObserver(draw).observe(at("pictures"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
readFacts().catch(() => say("The service cannot be reached.", "wrong"));
