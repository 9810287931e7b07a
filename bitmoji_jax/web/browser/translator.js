// Avatars of crops, and how typical they are: what inference/translator.py and inference/guard.py do.
import { draw, sizeOf } from "./networks.js";
import { resize, resizeNumbers } from "./resample.js";

const CELLS = 4; // a side
const UNUSUAL = 0.05; // share of training photos that count as unusual

export async function avatarOf(crop) {
  const size = sizeOf("avatar");
  return draw("avatar", resize(crop, size, size));
}

/** 1 for a translation like those of training photos, from there down to 0; 1 without a guard. */
export async function typicality(guard, crop, avatar) {
  if (!guard) return 1;
  const size = sizeOf("cycle"), photo = colours(resize(crop, size, size)), drawn = resize(avatar, size, size);
  const cycled = colours(await draw("cycle", drawn));
  const error = photo.reduce((sum, value, i) => sum + Math.abs(value - cycled[i]), 0) / photo.length;
  const cells = resizeNumbers(colours(drawn), size, CELLS, 3), length = cells.length;
  let distance = 0;
  for (let j = 0; j < length; j++) {
    let value = 0;
    for (let i = 0; i < length; i++) value += (cells[i] - guard.mean[i]) * guard.whitening[i * length + j];
    distance += value * value;
  }
  const shares = [[guard.cycleErrors, error], [guard.distances, Math.sqrt(distance)]].map(
    ([usual, value]) => usual.filter((each) => each >= value).length / usual.length,
  );
  return Math.min(Math.min(...shares) / UNUSUAL, 1);
}

function colours({ data }) {
  const numbers = new Float32Array((data.length / 4) * 3);
  for (let i = 0, o = 0; o < numbers.length; i += 4, o += 3) {
    for (let k = 0; k < 3; k++) numbers[o + k] = data[i + k];
  }
  return numbers;
}
