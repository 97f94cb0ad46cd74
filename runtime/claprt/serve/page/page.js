// The page: takes a sound and some words, asks the service once, and shows what it answered.

import { seconds, showAnswer, showTimes } from "./answer.js";
import { drawMel, drawWave } from "./draw.js";
import { Recorder, decoded } from "./sound.js";

const at = (id) => document.getElementById(id);
const MOST_S = 60;
const MODEL_RATE = 48000; // Hz, of every CLAP
const narrow = matchMedia("(max-width: 55.99rem)"); // one column: the answer is below the question
const recorder = new Recorder();
let sound = null;
let shown = null;
let asking = null;
let limits = null;
let rounded = Math.ceil; // to whole samples, by those who resample

function say(text, state) {
  at("status").textContent = text;
  at("status").dataset.state = state;
  at("found").classList.toggle("stale", state !== "done"); // what is there is the answer to another question
}

async function readFacts() {
  const facts = await (await fetch("/page/facts")).json();
  limits = facts.limits;
  if (facts.fingerprint.split("/")[1] === "kromosynth") rounded = Math.floor;
  at("facts").textContent = `${facts.model} on ${facts.provider} in ${facts.precision} · ${facts.fingerprint}`;
  at("token-row").hidden = !facts.token;
  at("links").hidden = facts.token; // a browser asks for them without it
}

function take(file) {
  sound = file;
  at("name").textContent = file.name;
  URL.revokeObjectURL(at("player").src);
  at("player").src = URL.createObjectURL(file);
  at("player").hidden = false;
  ask();
}

async function ask() {
  if (!sound) return say("Choose, drop or record a sound first.", "wrong");
  if (limits && sound.size > limits.bytes) return say(`The file is larger than ${limits.bytes >> 20} MB, the most that is taken.`, "wrong");
  asking?.abort();
  const mine = new AbortController();
  asking = mine;
  say("Listening…", "busy");
  try {
    let reply = await send(sound, mine.signal);
    if (reply.error?.type === "AudioDecodeError") reply = await decodedHere(reply, mine.signal);
    if (reply.error) throw new Error(reply.error.message);
    show(reply);
    say("Done.", "done");
    if (narrow.matches) at("found").scrollIntoView();
  } catch (error) {
    if (mine.signal.aborted) return undefined;
    say(error instanceof TypeError ? "The service cannot be reached." : error.message, "wrong");
  }
  return undefined;
}

// Another try with what the browser makes of the file; the first reply if it makes nothing of it either.
async function decodedHere(reply, signal) {
  const again = await decoded(sound).catch(() => null);
  return again ? send(again, signal) : reply;
}

async function send(file, signal) {
  const form = new FormData();
  form.set("file", file, file.name);
  form.set("labels", at("labels").value);
  form.set("mode", mode());
  form.set("threshold", at("threshold").value);
  if (at("template").value.trim()) form.set("template", at("template").value);
  const headers = at("token").value ? { authorization: `Bearer ${at("token").value}` } : {};
  const answer = await fetch("/analyse", { method: "POST", body: form, headers, signal });
  if (answer.status === 401) at("token").focus();
  return answer.json();
}

function mode() {
  return document.querySelector("input[name=mode]:checked").value;
}

// What was done to a sound so that it fills a window: as often as it fits whole, and zeros after that. What counts are its
// samples at the model's rate: where they are rounded up, 5 s at 44.1 kHz are one too many to fit twice.
function filled(heard, window) {
  const samples = rounded(Math.round(heard.seconds * heard.rate) * (MODEL_RATE / heard.rate));
  const whole = Math.round(window * MODEL_RATE);
  const times = Math.floor(whole / samples);
  const repeated = times > 1 ? `, ${times} times in a row` : "";
  const silence = times * samples < whole ? ", then silence" : "";
  return `${repeated}${silence} to fill ${seconds(window)}`;
}

function show(reply) {
  shown = reply;
  at("empty").hidden = Boolean(reply.result);
  at("empty").textContent = "Type some words to ask about this sound.";
  at("answer").hidden = true;
  at("remark").textContent = "";
  if (reply.result) showAnswer(at("answer"), at("remark"), reply);
  at("times").hidden = false;
  showTimes(at("stages"), at("stage-list"), at("total"), reply.timings_ms, reply.batch);
  at("pictures").hidden = false;
  const { sound: heard, log_mel: mel } = reply;
  at("wave-text").textContent = `${seconds(heard.seconds)} at ${heard.rate} Hz`;
  const whole = heard.seconds < mel.seconds ? filled(heard, mel.seconds) : `, from ${seconds(mel.start_s)} on`;
  at("mel-text").textContent = `as the model hears it${whole}${heard.windows > 1 ? `; the first of ${heard.windows} windows` : ""}`;
  at("wave").setAttribute("aria-label", `Waveform of ${heard.name}, ${seconds(heard.seconds)}`);
  at("mel").setAttribute("aria-label", `Log-mel spectrogram of ${heard.name}, ${mel.mels} bands, ${seconds(mel.seconds)}`);
  draw();
}

function draw() {
  if (!shown) return;
  drawWave(at("wave"), shown.waveform, shown.sound, shown.log_mel);
  drawMel(at("mel"), shown.log_mel);
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
at("file").addEventListener("change", () => {
  if (at("file").files.length) take(at("file").files[0]);
  at("file").value = ""; // so that the same file can be chosen again
});
at("record").addEventListener("click", record);
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
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
}
new ResizeObserver(draw).observe(at("pictures"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
readFacts().catch(() => say("The service cannot be reached.", "wrong"));
