// The outline of a sound's waveform on a canvas, with the windows that were found behind it.

// `windows` are [from, to] in seconds, the best one first.
export function drawOutline(canvas, { low, high, seconds }, windows) {
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width || !low.length) return;
  const dense = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * dense);
  canvas.height = Math.round(height * dense);
  const pen = canvas.getContext("2d");
  pen.scale(dense, dense);
  const styles = getComputedStyle(document.documentElement);
  const style = (name) => styles.getPropertyValue(name).trim();
  const x = (second) => (Math.min(second, seconds) / seconds) * width;

  const [best] = windows;
  if (best && best[1] - best[0] < seconds) {
    pen.fillStyle = style("--track");
    pen.fillRect(0, 0, width, height);
    for (const [from, to] of windows) {
      pen.fillStyle = style("--shade");
      pen.fillRect(x(from), 0, x(to) - x(from), height);
    }
  }
  const loudest = Math.max(1e-3, ...low.map(Math.abs), ...high.map(Math.abs)); // quiet sounds are to be seen too
  pen.fillStyle = style("--bar");
  const step = width / low.length;
  low.forEach((value, index) => {
    const at = ((index + 0.5) / low.length) * seconds;
    pen.globalAlpha = !best || (at >= best[0] && at <= best[1]) ? 1 : 0.45;
    const from = (height / 2) * (1 - high[index] / loudest);
    pen.fillRect(index * step, from, Math.max(step - 0.5, 0.5), Math.max((height / 2) * (1 - value / loudest) - from, 1));
  });
}
