// Does the work of the page beside it, one request after the other.
import { align, crop, cropMatrix } from "./align.js";
import { findFaces, followFace } from "./finder.js";
import { loadAvatar, loadFaces } from "./networks.js";
import { avatarOf, typicality } from "./translator.js";
import { restore, vary } from "./variants.js";
import { Refusal, setWords, words } from "./words.js";

let loaded = null; // promise of the settings
let last = Promise.resolve(); // the request before
let points = null; // of the face that is followed

const actions = { translate, follow };

addEventListener("message", ({ data }) => {
  if (data.words) {
    setWords(data.words);
    loaded = load();
    loaded.catch(() => { loaded = null; }); // the next photo tries again
    return;
  }
  last = last.then(() => answer(data));
});

async function load() {
  await loadFaces();
  postMessage({ loaded: "faces" });
  const settings = await loadAvatar();
  postMessage({ loaded: "avatar" });
  return settings;
}

async function answer({ id, action, photo, options }) {
  let settings;
  try {
    settings = await (loaded ??= load());
  } catch {
    loaded = null;
    postMessage({ id, refusal: { message: words.errors.not_loaded } });
    return;
  }
  try {
    const picture = pixelsOf(photo);
    const value = await actions[action](picture, options, settings);
    postMessage({ id, value }, action === "follow" && value ? [value] : []);
  } catch (error) {
    const refusal = error instanceof Refusal && { message: error.message, face: error.face };
    postMessage({ id, refusal, error: refusal ? undefined : String(error) });
  }
}

/** The faces of a photo with their avatars, pictures as PNG files. */
async function translate(photo, { all_faces, force, look, variants = [1] }, { cutOut, guard }) {
  const faces = await align(photo, { every: all_faces, force, cutOut });
  const portraits = [];
  for (const { image, confidence, matrix, warnings } of faces) {
    const face = await png(image);
    for (const variant of variants) {
      const altered = vary(image, variant), { avatar, look: drawn } = await avatarOf(altered, look);
      const quality = Math.min(confidence, await typicality(guard, altered, avatar));
      const shown = await png(restore(avatar, variant));
      portraits.push({ crop: face, avatar: shown, confidence, quality, matrix, warnings, look: drawn, variant });
    }
  }
  return portraits;
}

/** The avatar of the face in a frame of a video, or null: the face of the frame before is followed where it can be. */
async function follow(photo, options, { cutOut }) {
  const face = (points && (await followFace(photo, points))) ?? largest(await findFaces(photo, false));
  points = face?.points ?? null;
  if (!face) return null;
  const { avatar } = await avatarOf(await crop(photo, cropMatrix(points), cutOut));
  return createImageBitmap(new ImageData(avatar.data, avatar.width, avatar.height));
}

function largest(faces) {
  return faces.filter((face) => face.confidence >= 0.5).sort((one, other) => other.size - one.size)[0];
}

/** The pixels of an ImageBitmap, which is closed; on white where it is transparent. */
function pixelsOf(bitmap) {
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

function png({ data, width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}
