// Which model the page asks, where the service has several.

// Where the model's paths begin: nothing, or /models/NAME.
export let base = location.pathname.replace(/\/$/, "");

// Facts of the model; null if another one was chosen meanwhile.
export async function modelFacts() {
  const from = base;
  const facts = await (await fetch(`${from}/page/facts`)).json();
  return from === base ? facts : null;
}

// Shows the choice between the models, if there is one.
export function listModels(row, select, { models = [], model }) {
  row.hidden = models.length < 2;
  select.replaceChildren(...models.map((name) => new Option(name, name, false, name === model)));
}

export function chooseModel(name) {
  base = `/models/${name}`;
  history.replaceState(null, "", `${base}/`);
}
