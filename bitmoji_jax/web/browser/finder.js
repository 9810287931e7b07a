// Faces of any size and rotation in a photo: what faces/finder.py does.
import { rows, mesh } from "./networks.js";
import { apply, blank, resize, round, shrink, squareMatrix, warp } from "./resample.js";

const WINDOW = 128, MESH = 192; // sides of the networks' pictures
const MIN_SCORE = 0.5; // of the detector, for the mesh to be measured
const MAX_MEASURED = 16; // detections of one scale
const MIN_WINDOW = 96; // pixels
const MARGIN = 1.5; // side of the window for faces that fill the photo, in longer sides of the photo
const SURE = 0.75; // confidence from which the search ends
const ROI = 1.5; // side of the mesh's picture, in sizes of the face
const CONVERGED = 0.002; // mean movement of the points, in sides of that picture
const OVERLAP = 0.3; // intersection over union from which two boxes are the same face's
const EYES = [33, 263], CHEEKS = [234, 454]; // in the mesh, the one on the left of an upright picture first

/** Finds the faces in a photo, the most confident first: {points, confidence, yaw, size}.
 *
 * Searches the whole photo, then smaller and smaller overlapping windows of it; each upright and, where that finds nothing
 * sure, upside down. With `every` all of them.
 */
export async function findFaces(photo, every) {
  const long = Math.max(photo.width, photo.height), short = Math.min(photo.width, photo.height);
  const parts = [short, short / 2, short / 4].filter((side) => side >= MIN_WINDOW && side < long);
  const sides = [long, long * MARGIN, ...parts];
  const factor = Math.max(1, Math.floor(Math.min(...sides) / (2 * WINDOW)));
  const reduced = shrink(photo, factor);
  let faces = [];
  for (const side of sides) {
    const windows = windowsOf(reduced, side / factor);
    let sure = false;
    for (const upsideDown of [false, true]) {
      const found = suppress(await detect(windows, factor, side, upsideDown));
      for (const row of found.slice(0, MAX_MEASURED)) faces.push(await measureRow(photo, row));
      faces = merge(faces);
      sure = faces.some((face) => face.confidence >= SURE);
      if (sure) break;
    }
    if (sure && !every) break;
  }
  return faces;
}

/** Follows a face of a video from the points that it had in the frame before; null where it is lost. */
export async function followFace(photo, points) {
  const face = await measure(photo, regionOf(points));
  return face.confidence >= SURE ? face : null;
}

/** Overlapping squares of a photo, black outside it, and their corners in pixels of the reduced photo. */
function windowsOf(photo, side) {
  const scale = WINDOW / side;
  const width = Math.max(1, round(photo.width * scale)), height = Math.max(1, round(photo.height * scale));
  const small = resize(photo, width, height);
  const left = Math.max(0, (WINDOW - width) >> 1), top = Math.max(0, (WINDOW - height) >> 1);
  const windows = [];
  for (const y of placesOf(Math.max(height, WINDOW))) {
    for (const x of placesOf(Math.max(width, WINDOW))) {
      const picture = blank(WINDOW, WINDOW);
      for (let v = Math.max(0, top - y); v < WINDOW && y + v - top < height; v++) {
        const from = Math.max(0, left - x), to = Math.min(WINDOW, width + left - x);
        const at = 4 * ((y + v - top) * width + x - left);
        picture.data.set(small.data.subarray(at + 4 * from, at + 4 * to), 4 * (v * WINDOW + from));
      }
      windows.push({ picture, corner: [(x - left) / scale, (y - top) / scale] });
    }
  }
  return windows;
}

function placesOf(length) {
  const count = Math.ceil((2 * length) / WINDOW) - 1;
  return Array.from({ length: count }, (_, i) => (count === 1 ? 0 : round((i * (length - WINDOW)) / (count - 1))));
}

/** Rows above `MIN_SCORE`: the score, then eight points in pixels of the photo, of which the second is the box's size. */
async function detect(windows, factor, side, upsideDown) {
  const found = [];
  for (const { picture, corner } of windows) {
    const values = await rows(upsideDown ? turned(picture) : picture);
    for (let at = 0; at < values.length; at += 17) {
      if (values[at] <= MIN_SCORE) continue;
      const row = Array.from(values.subarray(at, at + 17));
      for (let i = 1; i < 17; i++) {
        if (i === 3 || i === 4) row[i] *= side;
        else row[i] = (upsideDown ? 1 - row[i] : row[i]) * side + corner[(i + 1) % 2] * factor;
      }
      found.push(row);
    }
  }
  return found;
}

function turned({ data, width, height }) {
  const pixels = new Uint32Array(data.buffer).slice().reverse();
  return { data: new Uint8ClampedArray(pixels.buffer), width, height };
}

/** Merges rows of the same face: the average by score, with the best score. */
function suppress(found) {
  let left = [...found].sort((one, other) => other[0] - one[0]);
  const merged = [];
  while (left.length) {
    const same = left.filter((row, i) => i === 0 || overlap(left[0], row) >= OVERLAP);
    const total = same.reduce((sum, row) => sum + row[0], 0);
    const row = left[0].map((_, k) => same.reduce((sum, each) => sum + each[0] * each[k], 0) / total);
    row[0] = left[0][0];
    merged.push(row);
    left = left.filter((each) => !same.includes(each));
  }
  return merged;
}

function overlap(one, other) {
  let shared = 1;
  for (const i of [1, 2]) {
    const low = Math.max(one[i] - one[i + 2] / 2, other[i] - other[i + 2] / 2);
    const high = Math.min(one[i] + one[i + 2] / 2, other[i] + other[i + 2] / 2);
    shared *= Math.max(high - low, 0);
  }
  return shared / Math.max(one[3] * one[4] + other[3] * other[4] - shared, 1e-12);
}

function measureRow(photo, row) {
  const angle = Math.atan2(row[8] - row[6], row[7] - row[5]);
  return measure(photo, { centre: [row[1], row[2]], side: ROI * Math.max(row[3], row[4]), angle });
}

/** Measures the mesh of a face; each pass crops by the points of the one before, until they converge. */
async function measure(photo, { centre, side, angle }) {
  let points, logit, placed = null;
  for (let pass = 0; pass < 4; pass++) {
    const matrix = squareMatrix(centre, side, angle, MESH);
    ({ points, logit } = await mesh(warp(photo, matrix, MESH, true)));
    const last = placed;
    placed = Array.from({ length: 468 }, (_, i) => apply(matrix, [points[3 * i], points[3 * i + 1]]));
    if (last && movement(placed, last) < CONVERGED * side) break;
    ({ centre, side, angle } = regionOf(placed));
  }
  const across = (k) => points[3 * CHEEKS[1] + k] - points[3 * CHEEKS[0] + k];
  // Logits of faces are mostly over 13, of the same faces upside down under 11.
  const confidence = 1 / (1 + Math.exp(Math.min(Math.max((10 - logit) / 3, -50), 50)));
  const yaw = (Math.atan2(across(2), across(0)) * 180) / Math.PI;
  return { points: placed, confidence, yaw, size: Math.max(extent(placed, 0), extent(placed, 1)) };
}

function movement(points, last) {
  let sum = 0;
  for (const [i, [x, y]] of points.entries()) sum += Math.abs(x - last[i][0]) + Math.abs(y - last[i][1]);
  return sum / (2 * points.length);
}

/** Centre, side and angle of the picture for the next pass, by the mesh's points in the photo. */
function regionOf(points) {
  const [left, right] = EYES.map((eye) => points[eye]);
  const angle = Math.atan2(right[1] - left[1], right[0] - left[0]);
  const cos = Math.cos(angle), sin = Math.sin(angle);
  const upright = points.map(([x, y]) => [x * cos + y * sin, y * cos - x * sin]);
  const [x, y] = [0, 1].map((k) => middleOf(upright, k));
  const side = Math.max(ROI * Math.max(extent(upright, 0), extent(upright, 1)), 1);
  return { centre: [x * cos - y * sin, x * sin + y * cos], side, angle };
}

function limits(points, k) {
  let low = Infinity, high = -Infinity;
  for (const point of points) {
    low = Math.min(low, point[k]);
    high = Math.max(high, point[k]);
  }
  return [low, high];
}

function extent(points, k) {
  const [low, high] = limits(points, k);
  return high - low;
}

function middleOf(points, k) {
  const [low, high] = limits(points, k);
  return (low + high) / 2;
}

/** Keeps the most confident of faces in the same place; the most confident first. */
function merge(faces) {
  const kept = [];
  for (const face of [...faces].sort((one, other) => other.confidence - one.confidence)) {
    const middle = meanOf(face.points);
    const apart = (other) => {
      const [x, y] = meanOf(other.points);
      return Math.hypot(middle[0] - x, middle[1] - y) > 0.5 * Math.max(face.size, other.size);
    };
    if (kept.every(apart)) kept.push(face);
  }
  return kept;
}

function meanOf(points) {
  return [0, 1].map((k) => points.reduce((sum, point) => sum + point[k], 0) / points.length);
}
