// What the page asks of the service. Errors are the service's sentences.

export class Service {
  #token;

  // `token` gives the bearer token, or an empty string.
  constructor(token) {
    this.#token = token;
  }

  headers(more = {}) {
    return this.#token() ? { ...more, authorization: `Bearer ${this.#token()}` } : more;
  }

  async json(path, options = {}) {
    let reply;
    try {
      reply = await fetch(path, { ...options, headers: this.headers(options.headers) });
    } catch (error) {
      throw error.name === "AbortError" ? error : new Error("The service cannot be reached.");
    }
    const content = await reply.json();
    if (reply.ok) return content;
    throw Object.assign(new Error(content.error.message), { status: reply.status, type: content.error.type });
  }

  // Searches with a sound as a form, and without as JSON.
  search({ file, ...fields }, signal) {
    const given = Object.entries(fields).filter(([, value]) => value && value.length !== 0);
    if (!file) {
      const body = JSON.stringify(Object.fromEntries(given));
      return this.json("/search", { method: "POST", body, headers: { "content-type": "application/json" }, signal });
    }
    const form = new FormData();
    form.set("file", file, file.name);
    for (const [name, value] of given) form.set(name, Array.isArray(value) ? JSON.stringify(value) : value);
    return this.json("/search", { method: "POST", body: form, signal });
  }

  sound(id) {
    return this.json(address(id));
  }

  peaks(id, columns) {
    return this.json(`${address(id)}/peaks?n=${columns}`);
  }

  // Where a player finds a sound. A player sends no token, so with one the sound is fetched whole.
  async audio(id) {
    const path = `${address(id)}/audio`;
    if (!this.#token()) return path;
    const reply = await fetch(path, { headers: this.headers() });
    if (!reply.ok) throw new Error((await reply.json()).error.message);
    return URL.createObjectURL(await reply.blob());
  }

  // Why a player cannot play a sound, as the service says; null where it has no objection.
  async objection(id) {
    const reply = await fetch(`${address(id)}/audio`, { headers: this.headers({ range: "bytes=0-0" }) });
    return reply.ok ? null : (await reply.json()).error.message;
  }
}

function address(id) {
  return `/library/sounds/${encodeURIComponent(id)}`;
}
