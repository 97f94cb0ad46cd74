// Sends a sound to the service as bytes, as JSON, and many times on one connection; prints dimensions and times.
//
//   npm install ws
//   node node_client.mjs sound.f32 [ws://localhost:32051/clap] [sample rate, 16000]
//
// sound.f32 is raw little-endian float32, mono: ffmpeg -i dog.wav -ac 1 -ar 16000 -f f32le sound.f32
// (docs/serve.md has a line of Python that does the same).
// A token, if the service asks for one, is read from the environment: CLAPRT_TOKEN.

import { readFile } from "node:fs/promises";
import { WebSocket } from "ws";

const MANY = 20;

/** A connection on which replies come in the order of the questions. */
class Client {
  #waiting = [];

  static async open(url) {
    const token = process.env.CLAPRT_TOKEN;
    const client = new Client();
    client.socket = new WebSocket(url, { headers: token ? { authorization: `Bearer ${token}` } : {} });
    client.socket.on("message", (data) => client.#waiting.shift().resolve(JSON.parse(data)));
    client.socket.on("close", (code, reason) => client.#fail(new Error(`closed: ${code} ${reason}`)));
    await new Promise((resolve, reject) => client.socket.once("open", resolve).once("error", reject));
    client.socket.on("error", (error) => client.#fail(error));
    return client;
  }

  #fail(error) {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  /** The vector of a sound: a Buffer of float32 samples, or an object that is sent as JSON. */
  async ask(message) {
    const reply = new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
    this.socket.send(Buffer.isBuffer(message) ? message : JSON.stringify(message));
    const { status, message: reason, embedding } = await reply;
    if (status === "ERROR") throw new Error(reason);
    return embedding;
  }

  close() {
    this.socket.close();
  }
}

const [file, address = "ws://localhost:32051/clap", rate = "16000"] = process.argv.slice(2);
if (!file) throw new Error("usage: node node_client.mjs sound.f32 [url] [sample rate]");
const sound = await readFile(file);
const client = await Client.open(`${address}?sample_rate=${rate}`);

async function timed(name, work) {
  const started = performance.now();
  const result = await work();
  console.log(`${name}: ${result.length} numbers in ${(performance.now() - started).toFixed(1)} ms`);
  return result;
}

const binary = await timed("binary", () => client.ask(sound));
const json = await timed("JSON", () => client.ask({ audio_buffer: sound.toString("base64"), sample_rate: Number(rate) }));
const rows = await timed(`${MANY} messages, one after the other, vectors`, async () => {
  const found = [];
  for (let number = 0; number < MANY; number++) found.push(await client.ask(sound));
  return found;
});
const difference = Math.max(...[json, ...rows].flatMap((row) => row.map((value, index) => Math.abs(value - binary[index]))));
console.log(`largest difference: ${difference}`);
console.log(`first numbers: ${JSON.stringify(binary.slice(0, 4))}`);
client.close();
