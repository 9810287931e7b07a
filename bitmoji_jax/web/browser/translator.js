// Avatars of crops, and how typical they are: what inference/translator.py and inference/guard.py do.
import { draw, sizeOf } from "./networks.js";
import { resize, resizeNumbers } from "./resample.js";

const CELLS = 4; // a side
const UNUSUAL = 0.05; // share of training photos that count as unusual

/** The avatar of a crop, and its look, null where the network has no reader; chosen is what `look` names. */
export async function avatarOf(crop, look = {}) {
  const size = sizeOf("avatar");
  const wanted = guideOf(look);
  const { picture, guide } = await draw("avatar", resize(crop, size, size), wanted);
  return { avatar: picture, look: guide && lookOf(guide.map((read, i) => (Number.isNaN(wanted[i]) ? read : wanted[i]))) };
}

/** A look, with glasses and hat as the form has them, as a guide of models/reader.py; NaN where the photo decides. */
function guideOf({ gender, skin, hair, glasses, mouth, hat }) {
  const colour = (text) => (text ? channels(text).map((level) => level / 127.5 - 1) : [NaN, NaN, NaN]);
  const sign = (value) => ({ female: 1, male: -1, 1: 1, 0: -1, open: 1, closed: -1 })[value] ?? NaN;
  const hatColour = colour();
  return [sign(gender), ...colour(skin), ...colour(hair), sign(glasses), sign(mouth), sign(hat), ...hatColour];
}

/** The look of a guide; glasses, mouth and hat are null where it does not say. */
function lookOf(guide) {
  const colour = (first) => {
    const levels = guide.slice(first, first + 3).map((value) => Math.round((value + 1) * 127.5));
    return `#${levels.map((level) => level.toString(16).padStart(2, "0")).join("")}`;
  };
  const trait = (place, above, below) => (place >= guide.length ? null : guide[place] > 0 ? above : below);
  return {
    gender: trait(0, "female", "male"), skin: colour(1), hair: colour(4),
    glasses: trait(7, true, false), mouth: trait(8, "open", "closed"), hat: trait(9, true, false),
  };
}

/** Red, green and blue of "#c68642". */
function channels(text) {
  return [1, 3, 5].map((first) => Number.parseInt(text.slice(first, first + 2), 16));
}

/** 1 for a translation like those of training photos, from there down to 0; 1 without a guard. */
export async function typicality(guard, crop, avatar) {
  if (!guard) return 1;
  const size = sizeOf("cycle"), photo = colours(resize(crop, size, size)), drawn = resize(avatar, size, size);
  const cycled = colours((await draw("cycle", drawn)).picture);
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
