// What the variants of an avatar are drawn from: what inference/variants.py does.
import { resizeNumbers } from "./resample.js";

const MIRRORED = 2, LARGER = 3;
const SCALE = 1.1;

/** The photo that a variant is drawn from, of a square crop. */
export function vary(crop, variant) {
  if (variant !== LARGER) return restore(crop, variant);
  const size = crop.width, edge = (size * (1 - 1 / SCALE)) / 2;
  return { ...crop, data: resizeNumbers(crop.data, size, size, 4, edge, size - edge) };
}

/** The avatar of what `vary` returned as it belongs to the photo. */
export function restore(picture, variant) {
  return variant === MIRRORED ? mirrored(picture) : picture;
}

function mirrored({ data, width, height }) {
  const pixels = new Uint32Array(data.slice().buffer);
  for (let start = 0; start < pixels.length; start += width) pixels.subarray(start, start + width).reverse();
  return { data: new Uint8ClampedArray(pixels.buffer), width, height };
}
