// Squares of a photo, turned and scaled without aliasing: what faces/resample.py does, with Pillow's filters.
//
// A picture is {data, width, height}, RGBA of 8 bits, opaque. Coordinates are continuous: the centre of the first pixel is
// (0.5, 0.5). A matrix, [a, b, c, d, e, f], maps (x, y) of a square to (a x + b y + c, d x + e y + f) of the photo.

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Rounds halves to even, as Python does. */
export function round(value) {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor & 1) : Math.round(value);
}

/** The matrix of a square of `size` pixels, by its centre, side and clockwise angle (radians) in the photo. */
export function squareMatrix([x, y], side, angle, size) {
  const cos = (side / size) * Math.cos(angle), sin = (side / size) * Math.sin(angle), middle = size / 2;
  return [cos, -sin, x - (cos - sin) * middle, sin, cos, y - (sin + cos) * middle];
}

export function apply([a, b, c, d, e, f], [x, y]) {
  return [a * x + b * y + c, d * x + e * y + f];
}

/** Pixels of the photo along one of the square. */
export function scaleOf([a, b, , d, e]) {
  return Math.sqrt(Math.abs(a * e - b * d));
}

/** Resamples a square of a photo to `size` pixels a side; outside, the photo's edge is repeated. A draft is faster. */
export function warp(photo, matrix, size, draft = false) {
  const scale = scaleOf(matrix);
  const reduce = Math.max(1, draft ? round(scale) : Math.floor(scale));
  const samples = draft ? 1 : Math.ceil(Math.max(1, scale / reduce));
  const corners = [[0, 0], [0, size], [size, 0], [size, size]].map((corner) => apply(matrix, corner));
  const first = [], last = [];
  for (const [axis, end] of [photo.width, photo.height].entries()) {
    const values = corners.map((corner) => corner[axis]);
    first.push(clamp(Math.floor(Math.min(...values) - 3 * reduce), 0, end - 1));
    last.push(clamp(Math.ceil(Math.max(...values) + 3 * reduce), first[axis] + 1, end));
  }
  const part = reduce === 1 ? photo : shrink(photo, reduce, [...first, ...last]);
  const [left, top] = reduce === 1 ? [0, 0] : first;
  const [a, b, c, d, e, f] = matrix, step = reduce * samples;
  const toPart = [a / step, b / step, (c - left) / reduce, d / step, e / step, (f - top) / reduce];
  const image = transform(part, toPart, size * samples, draft ? bilinear : bicubic);
  return samples > 1 ? resize(image, size, size, lanczos) : image;
}

/** Averages blocks of `factor` pixels a side in a box (left, top, right, bottom) of a picture. */
export function shrink(photo, factor, [left, top, right, bottom] = [0, 0, photo.width, photo.height]) {
  if (factor === 1) return photo;
  const width = Math.ceil((right - left) / factor), height = Math.ceil((bottom - top) / factor);
  const out = blank(width, height);
  for (let y = 0; y < height; y++) {
    const y0 = top + y * factor, y1 = Math.min(y0 + factor, bottom);
    for (let x = 0; x < width; x++) {
      const x0 = left + x * factor, x1 = Math.min(x0 + factor, right), count = (x1 - x0) * (y1 - y0), half = count >> 1;
      const share = Math.floor(2 ** 24 / count); // as Pillow divides
      let red = 0, green = 0, blue = 0;
      for (let v = y0; v < y1; v++) {
        for (let i = 4 * (v * photo.width + x0), end = i + 4 * (x1 - x0); i < end; i += 4) {
          red += photo.data[i];
          green += photo.data[i + 1];
          blue += photo.data[i + 2];
        }
      }
      const o = 4 * (y * width + x);
      out.data[o] = Math.floor(((red + half) * share) / 2 ** 24);
      out.data[o + 1] = Math.floor(((green + half) * share) / 2 ** 24);
      out.data[o + 2] = Math.floor(((blue + half) * share) / 2 ** 24);
      out.data[o + 3] = 255;
    }
  }
  return out;
}

/** Samples the picture where `matrix` maps the centres of the result's pixels; its edge is repeated outside.
 *
 * As in Pillow, what is left of a grey level is cut off, not rounded.
 */
function transform(picture, [a, b, c, d, e, f], size, sample) {
  const out = blank(size, size);
  for (let y = 0, o = 0; y < size; y++) {
    for (let x = 0; x < size; x++, o += 4) {
      const u = a * (x + 0.5) + b * (y + 0.5) + c - 0.5, v = d * (x + 0.5) + e * (y + 0.5) + f - 0.5;
      sample(picture, u, v, out.data, o);
      out.data[o + 3] = 255;
    }
  }
  return out;
}

function bilinear({ data, width, height }, u, v, out, o) {
  const x = Math.floor(u), y = Math.floor(v), dx = u - x, dy = v - y;
  const x0 = clamp(x, 0, width - 1), x1 = clamp(x + 1, 0, width - 1);
  const y0 = clamp(y, 0, height - 1) * width, y1 = clamp(y + 1, 0, height - 1) * width;
  for (let k = 0; k < 3; k++) {
    const above = data[4 * (y0 + x0) + k] * (1 - dx) + data[4 * (y0 + x1) + k] * dx;
    const below = data[4 * (y1 + x0) + k] * (1 - dx) + data[4 * (y1 + x1) + k] * dx;
    out[o + k] = Math.floor(above * (1 - dy) + below * dy);
  }
}

const EXACT = 1e-6; // keeps sums of equal levels from falling below them
const weightsX = new Float64Array(4), weightsY = new Float64Array(4), columns = new Int32Array(4);

/** Cubic convolution with a = -1, which Pillow uses where it transforms. */
function bicubic({ data, width, height }, u, v, out, o) {
  const x = Math.floor(u), y = Math.floor(v);
  cubic(u - x, weightsX);
  cubic(v - y, weightsY);
  for (let i = 0; i < 4; i++) columns[i] = 4 * clamp(x - 1 + i, 0, width - 1);
  let red = 0, green = 0, blue = 0;
  for (let j = 0; j < 4; j++) {
    const row = 4 * width * clamp(y - 1 + j, 0, height - 1);
    for (let i = 0; i < 4; i++) {
      const weight = weightsX[i] * weightsY[j], at = row + columns[i];
      red += weight * data[at];
      green += weight * data[at + 1];
      blue += weight * data[at + 2];
    }
  }
  out[o] = Math.floor(red + EXACT);
  out[o + 1] = Math.floor(green + EXACT);
  out[o + 2] = Math.floor(blue + EXACT);
}

function cubic(t, weights) {
  weights[0] = t * (-1 + t * (2 - t));
  weights[1] = 1 + t * t * (t - 2);
  weights[2] = t * (1 + t * (1 - t));
  weights[3] = t * t * (t - 1);
}

const triangle = { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) };
const lanczos = { support: 3, at: (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0) };
const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** Resizes a picture with antialiasing; as Pillow, across first, and rounded in between. */
export function resize(picture, width, height, filter = triangle) {
  const across = filtered(picture.data, picture.width, picture.height, 4, width, [0, picture.width], filter);
  const data = along(across, width, picture.height, 4, height, [0, picture.height], filter);
  return { data, width, height };
}

/** Resizes a square of numbers, `from` a side, or the middle of it between `low` and `high`, to `to` a side. */
export function resizeNumbers(numbers, from, to, channels = 1, low = 0, high = from) {
  const across = filtered(numbers, from, from, channels, to, [low, high], triangle);
  return along(across, to, from, channels, to, [low, high], triangle);
}

/** Resizes the rows of an image, [height, width, channels], to `size`. */
function filtered(data, width, height, channels, size, range, filter) {
  const out = new data.constructor(size * height * channels), { taps, unit } = tapsOf(data, width, size, range, filter);
  for (let x = 0; x < size; x++) {
    const { start, weights } = taps[x];
    for (let y = 0; y < height; y++) {
      for (let k = 0; k < channels; k++) {
        let sum = unit / 2;
        for (let i = 0, at = (y * width + start) * channels + k; i < weights.length; i++, at += channels) {
          sum += weights[i] * data[at];
        }
        out[(y * size + x) * channels + k] = unit ? Math.floor(sum / unit) : sum;
      }
    }
  }
  return out;
}

/** Does the same along the columns. */
function along(data, width, height, channels, size, range, filter) {
  const row = width * channels, out = new data.constructor(size * row);
  const { taps, unit } = tapsOf(data, height, size, range, filter);
  for (let y = 0; y < size; y++) {
    const { start, weights } = taps[y];
    for (let x = 0; x < row; x++) {
      let sum = unit / 2;
      for (let i = 0, at = start * row + x; i < weights.length; i++, at += row) sum += weights[i] * data[at];
      out[y * row + x] = unit ? Math.floor(sum / unit) : sum;
    }
  }
  return out;
}

/** The weights of each pixel of the result. For 8 bits they are whole numbers of 1 / unit, as Pillow's are. */
function tapsOf(data, length, size, [low, high], filter) {
  const scale = (high - low) / size, wide = Math.max(scale, 1), support = filter.support * wide;
  const unit = data instanceof Uint8ClampedArray ? 2 ** 22 : 0;
  const taps = Array.from({ length: size }, (_, i) => {
    const centre = low + (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(length, Math.trunc(centre + support + 0.5));
    const weights = Float64Array.from({ length: end - start }, (_, j) => filter.at((start + j - centre + 0.5) / wide));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { start, weights: weights.map((weight) => (unit ? Math.round((weight / total) * unit) : weight / total)) };
  });
  return { taps, unit };
}

/** How much of each pixel of the square lies in the photo: Float32Array of size x size, 0 to 1. */
export function inside(matrix, size, width, height) {
  const out = new Float32Array(size * size), scale = scaleOf(matrix);
  for (let i = 0; i < out.length; i++) {
    const [x, y] = apply(matrix, [(i % size) + 0.5, Math.floor(i / size) + 0.5]);
    out[i] = clamp(Math.min(x, y, width - x, height - y) / scale + 0.5, 0, 1);
  }
  return out;
}

export function blank(width, height) {
  return { data: new Uint8ClampedArray(4 * width * height), width, height };
}
