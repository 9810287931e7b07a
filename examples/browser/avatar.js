import * as ort from "onnxruntime-web";

/** A square canvas with an aligned crop of the size that the model takes -> ImageData of the avatar, of its own size. */
export async function avatar(session, canvas) {
  const size = canvas.width;
  const rgba = canvas.getContext("2d").getImageData(0, 0, size, size).data;
  const photo = new ort.Tensor("uint8", rgba.filter((_, i) => i % 4 < 3), [1, size, size, 3]);
  const { avatars } = await session.run({ photos: photo });
  const picture = new ImageData(avatars.dims[2], avatars.dims[1]);
  picture.data.forEach((_, i) => (picture.data[i] = i % 4 < 3 ? avatars.data[(i >> 2) * 3 + (i % 4)] : 255));
  return picture;
}

/** The network in an exported file, run by WebAssembly. */
export function load(url) {
  return ort.InferenceSession.create(url, { executionProviders: ["wasm"] });
}

/** Side in pixels of the photos that the network takes: its input is uint8 [N, size, size, 3]. */
export function imageSize(session) {
  return session.inputMetadata[0].shape[1];
}
