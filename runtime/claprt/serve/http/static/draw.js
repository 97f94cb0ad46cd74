// Waveform and log-mel on canvases, with axes in seconds, Hz and dB. Both have the same margins, and where the sound fits into
// one window the same axis of time. Each gives the rectangle and the seconds of its axis, for the playhead.

const STOPS = [
  [0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164],
];
const LEFT = 46;
const BOTTOM = 22;
const TOP = 8;
const ROW = 40; // height of a label over time
const SCALE = 74; // what the dB scale takes on the right

// Red, green and blue of a level from 0 to 255: dark where it is quiet, bright where it is loud.
export function colour(level) {
  const place = (level / 255) * (STOPS.length - 1);
  const below = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[below].map((part, index) => part + (STOPS[below + 1][index] - part) * (place - below));
}

export function drawWave(canvas, { low, high }, sound, shown) {
  const { pen, width, height, style } = prepared(canvas);
  const right = width - SCALE;
  const middle = (TOP + height - BOTTOM) / 2;
  const half = middle - TOP;
  const x = (seconds) => LEFT + (seconds / sound.seconds) * (right - LEFT);
  const loudest = Math.max(1, ...low.map(Math.abs), ...high.map(Math.abs));

  pen.fillStyle = style("--shade");
  if (shown.seconds < sound.seconds) pen.fillRect(x(shown.start_s), TOP, x(shown.seconds) - x(0), 2 * half);
  pen.fillStyle = style("--bar");
  const step = (right - LEFT) / low.length;
  low.forEach((value, index) => {
    const from = middle - (high[index] / loudest) * half;
    pen.fillRect(LEFT + index * step, from, Math.max(step, 1), Math.max(middle - (value / loudest) * half - from, 1));
  });
  frame(pen, style, LEFT, TOP, right - LEFT, 2 * half);
  pen.textAlign = "right";
  for (const value of [loudest, 0, -loudest]) label(pen, style, tidy(value), LEFT - 6, middle - (value / loudest) * half);
  seconds(pen, style, 0, sound.seconds, x, height);
  return { left: LEFT, right, top: TOP, bottom: TOP + 2 * half, from: 0, to: sound.seconds };
}

// Labels over time: for each its name, a strip that is darker where it is more probable, and its events under it.
export function drawLine(canvas, line, sound) {
  canvas.style.height = `${TOP + line.labels.length * ROW + BOTTOM}px`;
  const { pen, width, height, style } = prepared(canvas);
  const right = width - SCALE;
  const x = (at) => Math.round(LEFT + (at / sound.seconds) * (right - LEFT)); // strips without seams
  const middles = line.starts_s.map((start) => start + line.window_s / 2);
  const edges = [0, ...middles.slice(1).map((middle, index) => (middle + middles[index]) / 2), line.duration_s];
  line.labels.forEach((name, row) => {
    const y = TOP + row * ROW;
    pen.textAlign = "left";
    label(pen, style, shortened(pen, name, right - LEFT), LEFT, y + 7);
    pen.fillStyle = style("--track");
    pen.fillRect(LEFT, y + 15, right - LEFT, 12);
    pen.fillStyle = style("--bar");
    line.probabilities.forEach((probabilities, index) => {
      pen.globalAlpha = probabilities[row];
      pen.fillRect(x(edges[index]), y + 15, x(edges[index + 1]) - x(edges[index]), 12);
    });
    pen.globalAlpha = 1;
    pen.fillStyle = style("--tower");
    for (const event of line.events.filter((one) => one.label === name)) {
      pen.fillRect(x(event.onset_s), y + 28, Math.max(x(event.offset_s) - x(event.onset_s), 2), 4);
    }
    label(pen, style, `${Math.round(100 * Math.max(...line.probabilities.map((one) => one[row])))} %`, right + 12, y + 21);
  });
  seconds(pen, style, 0, sound.seconds, x, height);
  return { left: LEFT, right, top: TOP, bottom: height - BOTTOM, from: 0, to: sound.seconds };
}

function shortened(pen, name, width) {
  if (pen.measureText(name).width <= width) return name;
  let letters = [...name];
  while (letters.length && pen.measureText(`${letters.join("")}…`).width > width) letters = letters.slice(0, -1);
  return `${letters.join("")}…`;
}

export function drawMel(canvas, mel, sound) {
  const { pen, width, height, style } = prepared(canvas);
  const right = width - SCALE;
  const bottom = height - BOTTOM;
  pen.imageSmoothingEnabled = false;
  const length = Math.min(mel.seconds, sound.seconds - mel.start_s); // without what fills the window up
  const frames = Math.max(1, Math.round((mel.frames * length) / mel.seconds));
  pen.drawImage(image(mel), 0, 0, frames, mel.mels, LEFT, TOP, right - LEFT, bottom - TOP);
  frame(pen, style, LEFT, TOP, right - LEFT, bottom - TOP);

  const row = (bottom - TOP) / mel.mels;
  pen.textAlign = "right";
  for (const hz of [100, 200, 500, 1000, 2000, 5000, 10000]) {
    const place = position(mel.hz, hz);
    if (place === null) continue;
    const y = bottom - (place + 0.5) * row;
    label(pen, style, hz < 1000 ? `${hz}` : `${hz / 1000}k`, LEFT - 6, y);
    tick(pen, style, LEFT - 4, y, LEFT, y);
  }
  pen.save();
  pen.translate(9, (TOP + bottom) / 2);
  pen.rotate(-Math.PI / 2);
  pen.textAlign = "center";
  label(pen, style, "Hz", 0, 0);
  pen.restore();
  const x = (at) => LEFT + ((at - mel.start_s) / length) * (right - LEFT);
  seconds(pen, style, mel.start_s, mel.start_s + length, x, height);
  scale(pen, style, right + 12, TOP, bottom, mel.db);
  return { left: LEFT, right, top: TOP, bottom, from: mel.start_s, to: mel.start_s + length };
}

// The picture itself, a pixel for each frame and mel, low frequencies at the bottom.
function image(mel) {
  const levels = Uint8Array.from(atob(mel.data), (letter) => letter.charCodeAt(0));
  const picture = document.createElement("canvas");
  picture.width = mel.frames;
  picture.height = mel.mels;
  const pen = picture.getContext("2d");
  const pixels = pen.createImageData(mel.frames, mel.mels);
  const palette = Array.from({ length: 256 }, (_, level) => [...colour(level), 255]);
  for (let frameAt = 0; frameAt < mel.frames; frameAt += 1) {
    for (let band = 0; band < mel.mels; band += 1) {
      pixels.data.set(palette[levels[frameAt * mel.mels + band]], 4 * ((mel.mels - 1 - band) * mel.frames + frameAt));
    }
  }
  pen.putImageData(pixels, 0, 0);
  return picture;
}

function scale(pen, style, x, top, bottom, [least, most]) {
  const height = bottom - top;
  for (let y = 0; y < height; y += 1) {
    pen.fillStyle = `rgb(${colour(255 * (1 - y / height)).join(" ")})`;
    pen.fillRect(x, top + y, 10, 1.5);
  }
  frame(pen, style, x, top, 10, height);
  pen.textAlign = "left";
  const step = most - least > 40 ? 20 : most - least > 10 ? 10 : 2;
  for (let value = Math.ceil(least / step) * step; value <= most; value += step) {
    const unit = value + step > most ? " dB" : "";
    label(pen, style, tidy(value) + unit, x + 15, bottom - ((value - least) / Math.max(most - least, 1e-6)) * height);
  }
}

function seconds(pen, style, from, to, x, height) {
  const step = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120].find((size) => (to - from) / size <= 6) ?? 300;
  pen.textAlign = "center";
  for (let count = Math.ceil(from / step - 1e-6); count * step <= to + step / 1000; count += 1) {
    const at = x(count * step);
    tick(pen, style, at, height - BOTTOM, at, height - BOTTOM + 4);
    label(pen, style, `${tidy(count * step)}${count * step + step > to + step / 1000 ? " s" : ""}`, at, height - BOTTOM + 13);
  }
}

// Where a frequency lies among those of the bands, counted in bands; null outside of them.
function position(hz, wanted) {
  const above = hz.findIndex((centre) => centre >= wanted);
  if (above < 1) return above === 0 && hz[0] === wanted ? 0 : null;
  return above - (hz[above] - wanted) / (hz[above] - hz[above - 1]);
}

// A pen in CSS pixels on a canvas that is as sharp as the screen.
function prepared(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const dense = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * dense);
  canvas.height = Math.round(height * dense);
  const pen = canvas.getContext("2d");
  pen.scale(dense, dense);
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  const styles = getComputedStyle(document.documentElement);
  return { pen, width, height, style: (name) => styles.getPropertyValue(name).trim() };
}

function frame(pen, style, x, y, width, height) {
  pen.strokeStyle = style("--line");
  pen.lineWidth = 1;
  pen.strokeRect(x - 0.5, y - 0.5, width + 1, height + 1);
}

function tick(pen, style, x1, y1, x2, y2) {
  pen.strokeStyle = style("--quiet");
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}

function label(pen, style, text, x, y) {
  pen.fillStyle = style("--quiet");
  pen.fillText(text, x, y);
}

function tidy(number) {
  return `${Number(number.toPrecision(3))}`.replace("-", "−");
}
