// From any photo to the crop that a network was trained on: what faces/align.py and faces/matte.py do.
import { findFaces } from "./finder.js";
import { person } from "./networks.js";
import { apply, inside, resizeNumbers, scaleOf, squareMatrix, warp } from "./resample.js";
import { Refusal, faceText } from "./words.js";

const SIZE = 256; // side of a crop in pixels
const FACE_WIDTH = 0.63; // of the crop's side
const MIN_WIDTH = 48; // pixels
const MAX_OUTSIDE = 0.15; // of the mesh's points
const MAX_YAW = 40; // degrees
const MIN_CONFIDENCE = 0.5;
const CANDIDATE = 0.1; // confidence below which a detection is ignored

// The framing of training photos: align.py says where these come from.
const EYES = [[33, 133], [362, 263]], MOUTH = [61, 291];
const SIDE = 4.02, MOUTH_SIDE = 0.923, MOUTH_UPRIGHT = 0.823, BELOW_EYES = 0.12, ABOVE = 0.012;

const BACKGROUND = 0.4, PERSON = 0.8; // probabilities between which the matte goes from background to person
const MATTE = 256; // side of the network's picture
const WIDE = 1.3; // side of the network's view, in sides of the crop
const ENOUGH_INSIDE = 0.8; // least share of the wide view inside the photo
const FACE = 0.2; // half the side of the square about the centre that is surely face, in sides of the crop

/** Finds the faces in a photo and crops them: {image, confidence, matrix, points, warnings}.
 *
 * One, the largest, unless `every`. With `force` also faces with faults, and the middle of a photo without a face;
 * otherwise a Refusal where there is none that can be used.
 */
export async function align(photo, { every, force, cutOut }) {
  let found = (await findFaces(photo, every)).filter((face) => face.confidence >= CANDIDATE);
  const certain = found.filter((face) => face.confidence >= MIN_CONFIDENCE);
  found = certain.length ? certain : found.slice(0, 1);
  found.sort((one, other) => other.size - one.size);
  if (!found.length) {
    const text = faceText("no_face");
    if (!force) throw new Refusal(text, true);
    const side = Math.min(photo.width, photo.height);
    const matrix = squareMatrix([photo.width / 2, photo.height / 2], side, 0, SIZE);
    const image = await crop(photo, matrix, cutOut);
    return [{ image, confidence: 0, matrix, points: null, warnings: [text] }];
  }
  const aligned = [], refused = [];
  for (const face of every ? found : found.slice(0, 1)) {
    const matrix = cropMatrix(face.points);
    const warnings = faults(face, matrix, photo);
    if (warnings.length && !force) refused.push(...warnings);
    else aligned.push({ ...face, image: await crop(photo, matrix, cutOut), matrix, warnings });
  }
  if (!aligned.length) throw new Refusal(refused[0], true);
  return aligned;
}

/** The matrix from a crop in the training framing to the photo, by the points of a face's mesh. */
export function cropMatrix(points) {
  const middle = (indices) => [0, 1].map((k) => indices.reduce((sum, i) => sum + points[i][k], 0) / indices.length);
  const [left, right] = EYES.map(middle), mouth = middle(MOUTH);
  const eyes = [(left[0] + right[0]) / 2, (left[1] + right[1]) / 2];
  const across = [right[0] - left[0], right[1] - left[1]], down = [mouth[0] - eyes[0], mouth[1] - eyes[1]];
  const angle = Math.atan2(across[1] - MOUTH_UPRIGHT * down[0], across[0] + MOUTH_UPRIGHT * down[1]);
  const side = SIDE * Math.max(Math.hypot(...across), MOUTH_SIDE * Math.hypot(...down));
  const up = ABOVE * side;
  const centre = [
    eyes[0] + BELOW_EYES * down[0] + up * Math.sin(angle),
    eyes[1] + BELOW_EYES * down[1] - up * Math.cos(angle),
  ];
  return squareMatrix(centre, side, angle, SIZE);
}

/** What makes a face unusable, the most evident first. */
function faults(face, matrix, photo) {
  const width = FACE_WIDTH * SIZE * scaleOf(matrix);
  const out = ([x, y]) => x < 0 || y < 0 || x > photo.width || y > photo.height;
  const outside = face.points.filter(out).length / face.points.length;
  const yaw = Math.abs(face.yaw);
  const checks = [
    [width < MIN_WIDTH, "too_small", Math.round(width)],
    [outside > MAX_OUTSIDE, "cut_off", Math.round(100 * outside)],
    [yaw > MAX_YAW, "turned", Math.round(yaw)],
    [face.confidence < MIN_CONFIDENCE, "unsure"],
  ];
  return checks.filter(([failed]) => failed).map(([, reason, value]) => faceText(reason, value));
}

/** The crop of `matrix`; with `cutOut` the person on white, else the photo's edge is repeated outside. */
export async function crop(photo, matrix, cutOut) {
  const image = warp(photo, matrix, SIZE);
  if (!cutOut) return image;
  const matte = await personMatte(photo, matrix), covered = inside(matrix, SIZE, photo.width, photo.height);
  for (let i = 0; i < matte.length; i++) {
    const alpha = matte[i] * covered[i];
    for (let k = 4 * i; k < 4 * i + 3; k++) image.data[k] = image.data[k] * alpha + 255 * (1 - alpha);
  }
  return image;
}

/** How much of each pixel of a crop is the person in its middle. */
async function personMatte(photo, matrix) {
  const covered = inside(view(matrix, WIDE, 32), 32, photo.width, photo.height);
  const share = covered.reduce((sum, value) => sum + value, 0) / covered.length;
  const margin = share > ENOUGH_INSIDE ? WIDE : 1;
  const probability = await person(warp(photo, view(matrix, margin, MATTE), MATTE, true));
  const matte = probability.map((value) => {
    const part = Math.min(Math.max((value - BACKGROUND) / (PERSON - BACKGROUND), 0), 1);
    return part * part * (3 - 2 * part);
  });
  const edge = (MATTE * (1 - 1 / margin)) / 2;
  return resizeNumbers(connectedToFace(matte), MATTE, SIZE, 1, edge, MATTE - edge);
}

/** The matrix of a square of `pixels` with the centre of a crop, and `margin` times its side. */
function view(matrix, margin, pixels) {
  const [a, b, , d, e] = matrix.map((value) => (value * margin * SIZE) / pixels);
  const [x, y] = apply(matrix, [SIZE / 2, SIZE / 2]);
  return [a, b, x - ((a + b) * pixels) / 2, d, e, y - ((d + e) * pixels) / 2];
}

/** Sets to 0 what is not connected to the face in the middle: other people, and mistakes. */
function connectedToFace(matte) {
  const kept = new Float32Array(matte.length), stack = [];
  const low = Math.round(MATTE * (0.5 - FACE)), high = Math.round(MATTE * (0.5 + FACE));
  for (let y = low; y < high; y++) for (let x = low; x < high; x++) stack.push(y * MATTE + x);
  while (stack.length) {
    const i = stack.pop();
    if (!matte[i] || kept[i]) continue;
    kept[i] = matte[i];
    const x = i % MATTE;
    if (x > 0) stack.push(i - 1);
    if (x < MATTE - 1) stack.push(i + 1);
    if (i >= MATTE) stack.push(i - MATTE);
    if (i < matte.length - MATTE) stack.push(i + MATTE);
  }
  return kept;
}
