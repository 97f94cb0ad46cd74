// What is heard when: probabilities of labels over time, and events.

// Asks the service, whose paths begin with `base`; the fields are those of the request that was analysed.
export async function askTimeline(base, file, { labels, mode, template, threshold }, seconds, window, headers, signal) {
  const form = new FormData();
  form.set("file", file, file.name);
  form.set("labels", typeof labels === "string" ? labels : JSON.stringify(labels));
  form.set("scores", mode);
  form.set("window_s", window);
  form.set("hop_s", Math.min(window, Math.max(window / 4, Math.ceil(seconds) / 100))); // a hundred windows or so
  if (mode === "tag") form.set("on", threshold);
  if (template) form.set("template", template);
  const answer = await (await fetch(`${base}/timeline`, { method: "POST", body: form, headers, signal })).json();
  if (answer.error) throw new Error(answer.error.message);
  return answer;
}

const MOST = 50;

// Events as text, each of which moves the player to its onset.
export function listEvents(list, { events }, seek) {
  const shown = events.slice(0, MOST).map((event) => {
    const item = document.createElement("li");
    const link = document.createElement("button");
    link.type = "button";
    link.className = "second small";
    link.textContent = `${event.onset_s.toFixed(1)} – ${event.offset_s.toFixed(1)} s ${event.label} ${Math.round(100 * event.peak)} %`;
    link.addEventListener("click", () => seek(event.onset_s));
    item.append(link);
    return item;
  });
  const rest = document.createElement("li");
  rest.textContent = events.length > MOST ? `and ${events.length - MOST} more` : events.length ? "" : "No event: no label is probable enough.";
  list.replaceChildren(...shown, ...(rest.textContent ? [rest] : []));
  list.hidden = false;
}
