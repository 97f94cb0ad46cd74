// One player for all sounds: which sound it has, and where it is.

export class Player {
  #audio;
  #service;
  #wanted = 0; // number of the latest request to play

  constructor(audio, service) {
    this.#audio = audio;
    this.#service = service;
    this.id = null;
    this.failed = () => {};
    audio.addEventListener("error", () => this.id !== null && this.#explain());
  }

  get paused() {
    return this.#audio.paused;
  }

  get seconds() {
    return this.#audio.currentTime;
  }

  // Plays a sound from a place in seconds.
  async play(id, from) {
    this.#wanted += 1;
    const mine = this.#wanted;
    if (id !== this.id) {
      this.stop();
      this.#wanted = mine;
      this.id = id;
      try {
        const source = await this.#service.audio(id);
        if (mine !== this.#wanted) return;
        this.#audio.src = source;
      } catch (error) {
        if (mine === this.#wanted) this.failed(error.message);
        return;
      }
    }
    if (this.#audio.readyState < HTMLMediaElement.HAVE_METADATA) {
      await new Promise((resolve) => { this.#audio.addEventListener("loadedmetadata", resolve, { once: true }); });
      if (mine !== this.#wanted) return;
    }
    this.#audio.currentTime = from;
    await this.#audio.play().catch(() => {}); // its error event says why
  }

  // Goes on or pauses.
  toggle() {
    if (this.#audio.paused) this.#audio.play().catch(() => {});
    else this.#audio.pause();
  }

  // Moves by seconds.
  move(seconds) {
    this.#audio.currentTime = Math.max(0, this.#audio.currentTime + seconds);
  }

  stop() {
    this.#wanted += 1;
    this.id = null;
    this.#audio.pause();
    URL.revokeObjectURL(this.#audio.src);
    this.#audio.removeAttribute("src");
    this.#audio.load();
  }

  async #explain() {
    const { id } = this;
    const objection = await this.#service.objection(id).catch(() => "The service cannot be reached.");
    if (id === this.id) this.failed(objection ?? "This browser does not play the sound's format.");
  }
}
