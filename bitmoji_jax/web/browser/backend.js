// The back end of the page that needs no server: a worker of this browser makes the avatars.
import { decodeFile } from "./photo.js";
import { Refusal, words } from "./words.js";

const FRAME = 480; // longer side of the frames of a video in pixels

export const failure = words.errors.failed;

/** There are no stickers without a server. */
export const stickers = false;

const waiting = new Map(); // id -> the promise's functions of a request
const worker = start();
let count = 0;
let working = false; // whether a photo was chosen, which a reload would lose
let progress = "Loading the networks …";

/** Starts the worker when the page is as isolated as it can become; this may load the page once more. */
async function start() {
  await isolate();
  const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  worker.addEventListener("message", ({ data }) => receive(data));
  worker.addEventListener("error", () => receiveAll({ error: "the worker cannot be loaded" }));
  worker.postMessage({ words });
  return worker;
}

function receive({ id, loaded, value, refusal, error }) {
  if (loaded) {
    document.documentElement.dataset.loaded = loaded;
    if (loaded === "avatar") progress = null;
    return;
  }
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (refusal) reject(new Refusal(refusal.message, refusal.face));
  else if (error) reject(new Error(error));
  else resolve(value);
}

function receiveAll(answer) {
  for (const id of [...waiting.keys()]) receive({ id, ...answer });
}

async function ask(action, photo, options) {
  const id = ++count, answer = new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
  (await worker).postMessage({ id, action, photo, options }, [photo]);
  return answer;
}

/** Makes the avatars of a photo, of {file} or of {example}, a button with a picture; each face's `variants` next to each
 * other. */
export async function translate(photo, options, signal, say) {
  working = true;
  const bitmap = await (photo.example ? createImageBitmap(photo.example.querySelector("img")) : decodeFile(photo.file));
  signal.throwIfAborted();
  if (progress) say(progress);
  const faces = await ask("translate", bitmap, options);
  signal.throwIfAborted();
  return faces.map((face) => ({
    ...face, crop: URL.createObjectURL(face.crop), avatar: URL.createObjectURL(face.avatar),
  }));
}

/** Draws the avatar of a video's face on a canvas, as often as it can; returns what ends that. */
export function follow(video, canvas) {
  let on = true, drawn = 0;
  const context = canvas.getContext("2d"), frame = new OffscreenCanvas(1, 1), frameContext = frame.getContext("2d");
  (async () => {
    for (; on; await new Promise(requestAnimationFrame)) {
      if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) continue; // no picture yet
      const { videoWidth, videoHeight } = video, scale = Math.min(1, FRAME / Math.max(videoWidth, videoHeight));
      frame.width = Math.round(videoWidth * scale);
      frame.height = Math.round(videoHeight * scale);
      frameContext.drawImage(video, 0, 0, frame.width, frame.height); // not every browser can make an ImageBitmap of a video
      const avatar = await ask("follow", frame.transferToImageBitmap());
      if (!on) return;
      canvas.classList.toggle("lost", !avatar);
      if (!avatar) continue;
      context.drawImage(avatar, 0, 0, canvas.width, canvas.height);
      canvas.dataset.drawn = ++drawn;
    }
  })().catch(() => { canvas.hidden = true; });
  return () => { on = false; };
}

/** Lets the service worker isolate the page from other origins: only then may its worker have threads. */
async function isolate() {
  try {
    await navigator.serviceWorker.register("service_worker.js");
    const seconds = new Promise((resolve) => setTimeout(resolve, 10_000)); // a failed installation is never ready
    await Promise.race([navigator.serviceWorker.ready, seconds]);
    if (self.crossOriginIsolated || working || sessionStorage.getItem("isolated")) return;
    sessionStorage.setItem("isolated", "tried");
  } catch {
    return; // a browser without service workers, or one that allows none here: it works with one thread, online
  }
  location.reload();
  await new Promise(() => {}); // until it is reloaded
}
