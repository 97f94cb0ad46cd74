// Audio that the page encodes itself, as 16-bit WAV: recordings, and files that only the browser can decode.

// A WAV file of mono samples in [-1, 1].
export function wav(samples, rate) {
  const bytes = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((letter, index) => bytes.setUint8(at + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  bytes.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  bytes.setUint32(16, 16, true);
  bytes.setUint16(20, 1, true); // PCM
  bytes.setUint16(22, 1, true); // one channel
  bytes.setUint32(24, rate, true);
  bytes.setUint32(28, 2 * rate, true);
  bytes.setUint16(32, 2, true);
  bytes.setUint16(34, 16, true);
  text(36, "data");
  bytes.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, index) => bytes.setInt16(44 + 2 * index, 32767 * Math.max(-1, Math.min(1, sample)), true));
  return new Blob([bytes], { type: "audio/wav" });
}

// A file that the service cannot read, decoded by the browser: AAC, WebM and the like.
export async function decoded(file) {
  const context = new OfflineAudioContext(1, 1, 48000);
  const sound = await context.decodeAudioData(await file.arrayBuffer());
  const mono = new Float32Array(sound.length);
  for (let channel = 0; channel < sound.numberOfChannels; channel += 1) {
    sound.getChannelData(channel).forEach((sample, index) => { mono[index] += sample / sound.numberOfChannels; });
  }
  return new File([wav(mono, sound.sampleRate)], `${file.name}.wav`, { type: "audio/wav" });
}

// The microphone, from `start` to `stop`.
export class Recorder {
  #parts = [];
  #stream = null;
  #context = null;

  get seconds() {
    return this.#parts.reduce((sum, part) => sum + part.length, 0) / (this.#context?.sampleRate ?? 1);
  }

  async start() {
    if (!navigator.mediaDevices) throw new Error("Browsers allow recording only on https and localhost.");
    const asIs = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.#parts = [];
    this.#stream = await navigator.mediaDevices.getUserMedia({ audio: asIs });
    this.#context = new AudioContext();
    await this.#context.audioWorklet.addModule("/page/recorder.js");
    const worklet = new AudioWorkletNode(this.#context, "recorder", { numberOfOutputs: 0 });
    worklet.port.onmessage = ({ data }) => this.#parts.push(data);
    this.#context.createMediaStreamSource(this.#stream).connect(worklet);
  }

  async stop() {
    const rate = this.#context.sampleRate;
    this.#stream.getTracks().forEach((track) => track.stop());
    await this.#context.close();
    const samples = new Float32Array(this.#parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of this.#parts) {
      samples.set(part, at);
      at += part.length;
    }
    return new File([wav(samples, rate)], "recording.wav", { type: "audio/wav" });
  }
}
