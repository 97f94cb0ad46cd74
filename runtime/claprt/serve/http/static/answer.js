// The result as rows with bars, and the times of its stages.

const MODEL_RATE = 48000; // Hz, of every CLAP
const STAGES = { upload: "upload", read: "decode + mel", wait: "wait", tower: "audio tower", text: "text tower" };

// The result in one line: the best label and its probability, or the tags that apply.
export function headline(line, { mode, result }) {
  if (mode === "tag") {
    line.textContent = result.active_tags.length ? result.active_tags.join(", ") : "None of these labels";
    return;
  }
  line.textContent = result.predicted_class;
  line.append(element("span", "", ` ${percent(result.confidence)}`));
}

export function showAnswer(table, remark, { mode, result, untrained_labels: untrained }) {
  const rows = mode === "tag" ? result.tags : result.classes;
  const made = rows.map((row, index) => answerRow(row, index, mode, result.threshold));
  for (const row of made) {
    if (!untrained.includes(row.dataset.word)) continue;
    row.firstChild.append(element("span", "quiet untrained", " not a trained word"));
  }
  table.tBodies[0].replaceChildren(...made);
  table.hidden = false;
  remark.textContent = "";
  if (mode === "tag") {
    remark.textContent = result.calibrated
      ? "Probabilities are calibrated on labelled audio. The line is the threshold."
      : "Probabilities are not calibrated: at 50 % a label fits as well as an empty description. The line is the threshold.";
  } else if (rows.length === 1) {
    remark.textContent = "A single label always gets 100 %: add others, or choose Tag.";
  }
}

function answerRow(found, index, mode, threshold) {
  const word = found.label ?? found.tag;
  const row = document.createElement("tr");
  row.dataset.word = word;
  row.dataset.probability = found.probability;
  row.dataset.cosine = found.similarity;
  row.className = mode === "tag" ? (found.active ? "active" : "below") : index === 0 ? "first" : "";
  const name = document.createElement("th");
  name.scope = "row";
  name.textContent = word;
  const fill = element("div", "fill");
  fill.style.width = `${100 * found.probability}%`;
  const track = element("div", "track");
  track.append(fill);
  if (mode === "tag") {
    const mark = element("div", "mark");
    mark.style.left = `calc(${100 * threshold}% - 1px)`;
    track.append(mark);
  }
  const bar = element("td", "bar");
  bar.setAttribute("aria-hidden", "true");
  bar.append(track);
  row.append(name, bar, element("td", "share", percent(found.probability)), element("td", "cosine", signed(found.similarity)));
  return row;
}

export function showTimes(bar, list, total, times, batch) {
  const stages = Object.keys(STAGES).filter((stage) => stage in times);
  bar.replaceChildren(...stages.map((stage) => {
    const part = element("div", stage);
    part.style.flexGrow = times[stage];
    return part;
  }));
  list.replaceChildren(...stages.map((stage) => {
    const pair = document.createElement("div");
    pair.dataset.stage = stage;
    pair.append(element("i", stage), element("dt", "", STAGES[stage]), element("dd", "", milliseconds(times[stage])));
    return pair;
  }));
  total.textContent = `${milliseconds(times.total)} in the service${batch > 1 ? `, with ${batch} windows in one run` : ""}`;
}

// How audio shorter than a window fills it: repeated as often as it fits whole, then zeros. Its samples at the model's rate
// count, which `rounded` makes whole: where it is rounded up, 5 s at 44.1 kHz are one sample too many to fit twice.
export function filled(heard, window, rounded) {
  const samples = rounded(Math.round(heard.seconds * heard.rate) * (MODEL_RATE / heard.rate));
  const whole = Math.round(window * MODEL_RATE);
  const times = Math.floor(whole / samples);
  const steps = [times > 1 ? `repeated ${times} times` : "", times * samples < whole ? "padded with silence" : ""];
  return `, ${steps.filter(Boolean).join(" and ")} to fill ${seconds(window)}`;
}

export function seconds(number) {
  return number < 60 ? `${Number(number.toPrecision(3))} s` : `${Math.floor(number / 60)} min ${Math.round(number % 60)} s`;
}

function element(tag, name, text = "") {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

function percent(share) {
  return share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
}

function signed(cosine) {
  return cosine.toFixed(3).replace("-", "−");
}

function milliseconds(number) {
  return `${number < 10 ? number.toFixed(1) : Math.round(number)} ms`;
}
