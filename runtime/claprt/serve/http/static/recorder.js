// Runs beside the page, in the thread of the sound: hands on what the microphone hears, mixed to one channel.

registerProcessor("recorder", class extends AudioWorkletProcessor {
  process([channels]) {
    if (channels.length) {
      const mono = new Float32Array(channels[0].length);
      for (const channel of channels) channel.forEach((sample, index) => { mono[index] += sample / channels.length; });
      this.port.postMessage(mono, [mono.buffer]);
    }
    return true;
  }
});
