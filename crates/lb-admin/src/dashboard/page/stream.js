// The stream of changes, read by `fetch`: the browser's own `EventSource` cannot send a token. When it breaks it is opened anew, after a
// pause that grows; nothing heard for a while is a break, too.

import { request, Refused, path } from "./api.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5_000;

/** The server speaks at least every few seconds; then it is gone, whatever the socket says. */
const SILENCE = 15_000;

export class Stream {
  #abort = null;
  #service = null;

  /** `on` has: `message(kind, data)`, `live()`, `lost(why, seconds until the next try)`, `refused(why)`. */
  constructor(on) {
    this.on = on;
  }

  /** Follows this service, or the first one with `null`. What was followed before is let go. */
  follow(service) {
    this.#service = service;
    this.#abort?.abort();
    this.#abort = new AbortController();
    this.#run(this.#abort.signal);
  }

  async #run(signal) {
    for (let pause = FIRST_PAUSE; !signal.aborted; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
      let why = "the server ended the stream";
      try {
        await this.#read(signal, () => (pause = FIRST_PAUSE));
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Refused && (error.status === 401 || error.status === 403)) return this.on.refused(error);
        // The service has gone; there may be others.
        if (error instanceof Refused && error.status === 404) this.#service = null;
        why = error instanceof Refused ? error.message : "the server cannot be reached";
      }
      if (signal.aborted) return;
      this.on.lost(why, pause / 1000);
      await new Promise((done) => setTimeout(done, pause));
    }
  }

  async #read(signal, heard) {
    const inner = new AbortController();
    const end = () => inner.abort();
    signal.addEventListener("abort", end);
    let watch = setTimeout(end, SILENCE);
    try {
      const where = this.#service === null ? "" : "?service=" + path(this.#service).slice(1);
      const response = await request("GET", "/stream" + where, { signal: inner.signal });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (const parser = new Parser(); ;) {
        const { value, done } = await reader.read();
        if (done || signal.aborted) return;
        clearTimeout(watch);
        watch = setTimeout(end, SILENCE);
        for (const { kind, data } of parser.feed(value)) {
          if (kind === "snapshot") {
            heard();
            this.on.live();
          }
          this.on.message(kind, JSON.parse(data));
        }
      }
    } finally {
      clearTimeout(watch);
      signal.removeEventListener("abort", end);
      inner.abort();
    }
  }
}

/** Server-sent events out of pieces of text. Our server writes `event:` and one `data:` line, each ended by a line feed. */
export class Parser {
  #rest = "";

  *feed(piece) {
    const blocks = (this.#rest + piece).split("\n\n");
    this.#rest = blocks.pop();
    for (const block of blocks) {
      let kind = "message";
      let data = "";
      for (const line of block.split("\n")) {
        if (line.startsWith("event:")) kind = line.slice(6).trim();
        else if (line.startsWith("data:")) data += line.slice(5);
      }
      if (data !== "") yield { kind, data };
    }
  }
}
