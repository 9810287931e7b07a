// Decodes a photo as data/images.py does: upright, in sRGB, with at most 2,000 pixels along its longer side.
import { Refusal, words } from "./words.js";

const SIDE = 2000;

/** Decodes a file of any format that the browser knows to an ImageBitmap, else raises a Refusal. */
export async function decodeFile(file) {
  if (!file.size) throw new Refusal(words.errors.no_photo);
  const kind = kindOf(new Uint8Array(await file.slice(0, 16).arrayBuffer()));
  if (!kind) throw new Refusal(words.errors.not_an_image);
  try {
    const { width, height } = await measure(file);
    if (width * height > words.maxPixels) throw new Refusal(words.errors.too_many_pixels);
    const scale = Math.min(1, SIDE / Math.max(width, height));
    // The large picture is never in this page's memory: the browser decodes and reduces it, and keeps the small one.
    return await createImageBitmap(file, scale < 1 ? {
      resizeWidth: Math.max(1, Math.round(width * scale)),
      resizeHeight: Math.max(1, Math.round(height * scale)),
      resizeQuality: "high",
    } : {});
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal((await isComplete(file, kind)) ? words.errors.unreadable : words.errors.truncated);
  }
}

/** Width and height of the upright picture, by its header. */
async function measure(file) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await new Promise((resolve, reject) => Object.assign(image, { onload: resolve, onerror: reject }));
    return { width: image.naturalWidth, height: image.naturalHeight };
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

function kindOf(head) {
  const text = String.fromCharCode(...head);
  if (text.startsWith("\xff\xd8\xff")) return "JPEG";
  if (text.startsWith("\x89PNG\r\n\x1a\n")) return "PNG";
  if (/^RIFF.{4}WEBP/s.test(text)) return "WebP";
  if (/^(GIF8|BM|II\*\0|MM\0\*)|^.{4}ftyp(hei|hev|mif1|msf1|avif)/s.test(text)) return "other";
  return null;
}

/** Whether a file has its end, where its format marks one. */
async function isComplete(file, kind) {
  const end = new Uint8Array(await file.slice(-1024).arrayBuffer());
  const text = Array.from(end, (byte) => String.fromCharCode(byte)).join("");
  if (kind === "JPEG") return text.includes("\xff\xd9");
  if (kind === "PNG") return text.includes("IEND");
  if (kind === "WebP") return 8 + new DataView(await file.slice(4, 8).arrayBuffer()).getUint32(0, true) <= file.size;
  return true;
}
