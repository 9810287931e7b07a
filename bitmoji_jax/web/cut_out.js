// An avatar without the white around it, as inference/picture.py makes it.

const WHITE = 235; // grey level from which all three channels make a pixel background, where it touches the border
const SIZE_PER_EDGE = 80; // pixels a side for each pixel that the mixtures at an edge are wide, at least one

/** Makes a PNG file of an avatar without its background; both are addresses of pictures. */
export async function cutOut(avatar) {
  const image = new Image();
  image.src = avatar;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const picture = context.getImageData(0, 0, canvas.width, canvas.height);
  removeBackground(picture);
  context.putImageData(picture, 0, 0);
  const file = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  return URL.createObjectURL(file);
}

/** Removes the background of an opaque picture, {data, width, height}, in place. */
export function removeBackground({ data, width, height }) {
  const reach = Math.max(1, Math.floor(width / SIZE_PER_EDGE));
  const lightness = new Float32Array(width * height).map((_, i) => Math.min(data[4 * i], data[4 * i + 1], data[4 * i + 2]));
  const background = findBackground(lightness, width, height);
  const outside = background.slice(); // the background, and from here on the edge too
  for (let i = 0; i < outside.length; i++) {
    if (neighbours(i, width, height).some((k) => background[k])) outside[i] = 1;
  }
  for (let step = 1; step < reach; step++) {
    const outer = around(lightness.map((level, i) => (outside[i] ? level : 0)), width, height, 1, Math.max);
    for (let i = 0; i < outside.length; i++) if (lightness[i] < outer[i]) outside[i] = 1;
  }
  const inside = around(lightness.map((level, i) => (background[i] ? 255 : level)), width, height, reach, Math.min);
  for (let i = 0; i < outside.length; i++) {
    if (!outside[i]) continue;
    const darkness = 255 - lightness[i];
    const alpha = background[i] ? darkness : Math.ceil((255 * darkness) / (255 - inside[i]));
    for (let k = 4 * i; k < 4 * i + 3; k++) data[k] = 255 - ((255 - data[k]) * 255) / Math.max(alpha, 1);
    data[4 * i + 3] = alpha;
  }
}

/** Finds the nearly white pixels that nearly white pixels connect with the border: 1, others 0. */
function findBackground(lightness, width, height) {
  const found = new Uint8Array(lightness.length), next = [];
  const take = (i) => {
    if (found[i] || lightness[i] < WHITE) return;
    found[i] = 1;
    next.push(i);
  };
  for (let x = 0; x < width; x++) [x, x + (height - 1) * width].forEach(take);
  for (let y = 0; y < height; y++) [y * width, y * width + width - 1].forEach(take);
  while (next.length) neighbours(next.pop(), width, height).forEach(take);
  return found;
}

/** The pixels beside, above and below a pixel. */
function neighbours(i, width, height) {
  const x = i % width, y = (i - x) / width;
  return [x > 0 && i - 1, x < width - 1 && i + 1, y > 0 && i - width, y < height - 1 && i + width].filter(
    (k) => k !== false,
  );
}

/** The least (Math.min) or greatest (Math.max) value up to `reach` pixels away from each pixel. */
function around(values, width, height, reach, choose) {
  const along = (line, step, length) => line.map((value, i) => {
    const at = Math.floor(i / step) % length;
    for (let k = Math.max(-reach, -at); k <= Math.min(reach, length - 1 - at); k++) value = choose(value, line[i + k * step]);
    return value;
  });
  return along(along(values, 1, width), width, height);
}
