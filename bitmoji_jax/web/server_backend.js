// The back end of the page that a server sends: the photo goes to that server.
import { Refusal, sentence } from "./words.js";

const MAX_WAIT = 120_000; // ms in the queue

export const failure = "The server does not answer. Is it still running? Then try again.";

/** The server makes no avatars of a video. */
export const follow = null;

/** It makes stickers. */
export const stickers = true;

/** Makes the avatars of a photo, each face's `variants` next to each other; the queue may be full, then tells by `say` that
 * it waits. With `options.sticker` each has a sticker, too. */
export async function translate(photo, options, signal, say) {
  const body = new FormData();
  if (photo.example) body.set("example", photo.example.value);
  else body.set("photo", photo.file, "photo"); // its name is not sent
  const { look, variants, ...boxes } = options;
  body.set("variants", variants.join(","));
  for (const [name, on] of Object.entries(boxes)) body.set(name, on ? "1" : "0");
  for (const [name, value] of Object.entries(look)) body.set(name, value);
  const deadline = Date.now() + MAX_WAIT;
  for (;;) {
    const response = await fetch("./api/avatar", { method: "POST", body, signal });
    const seconds = Number(response.headers.get("Retry-After"));
    if (response.status !== 503 || !seconds || Date.now() + 1000 * seconds > deadline) return read(response);
    say("Many photos are waiting. Yours is sent again by itself; leave this page open.");
    await pause(1000 * seconds * (1 + Math.random()), signal); // not all at the same moment
  }
}

async function read(response) {
  const { faces, error } = await response.json();
  if (error) throw new Refusal(error.message, response.status === 422);
  const inline = (file, type = "png") => `data:image/${type};base64,${file}`;
  return faces.map((face) => ({
    ...face, crop: inline(face.crop), avatar: inline(face.avatar), sticker: face.sticker && inline(face.sticker, "webp"),
    warnings: face.warnings.map(sentence),
  }));
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); });
  });
}
