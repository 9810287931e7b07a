// The networks, run by onnxruntime-web: the student by WebGPU where there is one, all else by WebAssembly.
let ort = null, gpu = false;
const sessions = {};

/** Loads what finds a face: the runtime and the face networks. */
export async function loadFaces() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  gpu = Boolean(adapter && !adapter.info?.isFallbackAdapter); // one in software is slower than WebAssembly
  const runtime = gpu ? "ort.webgpu" : "ort.wasm";
  const wasm = bytesOf(`./runtime/${runtime}.wasm.gz`);
  ort = await import(`./runtime/${runtime}.js`);
  // Without isolation from other origins there is no memory that threads could share.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  ort.env.wasm.wasmBinary = await wasm;
  ort.env.logLevel = "error";
  const names = ["detector", "mesh", "segmentation"];
  const files = await Promise.all(names.map((name) => bytesOf(`./models/${name}.onnx.gz`)));
  for (const [i, name] of names.entries()) sessions[name] = await open(files[i], ["wasm"]);
}

/** Loads what makes the avatar of a face; returns what the weights ask for: {cutOut, guard}. */
export async function loadAvatar() {
  const settings = JSON.parse(new TextDecoder().decode(await bytesOf("./models/settings.json")));
  const names = settings.guard ? ["avatar", "cycle"] : ["avatar"];
  for (const name of names) {
    const bytes = await bytesOf(`./models/${name}.onnx.gz`);
    sessions[name] = await (gpu ? openOnCard(bytes).catch(() => open(bytes, ["wasm"])) : open(bytes, ["wasm"]));
  }
  return settings;
}

/** Opens a network on the graphics card, and runs it once: some fail only then. */
async function openOnCard(bytes) {
  const session = await open(bytes, ["webgpu", "wasm"]);
  const [, height, width, channels] = session.inputMetadata[0].shape;
  const blank = new ort.Tensor("uint8", new Uint8Array(height * width * channels), [1, height, width, channels]);
  await session.run({ [session.inputNames[0]]: blank });
  return session;
}

function open(bytes, executionProviders) {
  return ort.InferenceSession.create(bytes, { executionProviders, logSeverityLevel: 3 }); // errors only
}

/** The bytes of a file; unpacked, unless the server or the browser has done that already. */
async function bytesOf(path) {
  const response = await fetch(new URL(path, import.meta.url));
  if (!response.ok) throw new Error(`${path}: status ${response.status}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(unpacked).arrayBuffer());
}

async function run(name, { data, width, height }, more = {}) {
  const rgb = new Uint8Array(3 * width * height);
  for (let i = 0, o = 0; o < rgb.length; i += 4, o += 3) {
    rgb[o] = data[i];
    rgb[o + 1] = data[i + 1];
    rgb[o + 2] = data[i + 2];
  }
  const session = sessions[name];
  return session.run({ [session.inputNames[0]]: new ort.Tensor("uint8", rgb, [1, height, width, 3]), ...more });
}

/** Rows of the detector for a picture of 128 px: 896 of a score and eight points in fractions of the picture. */
export async function rows(picture) {
  return (await run("detector", picture)).rows.data;
}

/** 468 points (x, y, z) in pixels of a picture of 192 px, and the logit of there being a face. */
export async function mesh(picture) {
  const { points, logit } = await run("mesh", picture);
  return { points: points.data, logit: logit.data[0] };
}

/** Each pixel's probability of a person, for a picture of 256 px. */
export async function person(picture) {
  return (await run("segmentation", picture)).person.data;
}

/** Side of the pictures that "avatar" or "cycle" takes. */
export function sizeOf(name) {
  return sessions[name].inputMetadata[0].shape[1];
}

/** The avatar of a crop ("avatar"), or the crop of an avatar ("cycle"), of `sizeOf` that network. A network with a reader
 * follows the guide, as much of it as it knows, and gives what it has read. */
export async function draw(name, picture, guide) {
  const input = sessions[name].inputMetadata.find((each) => each.name === "guide");
  const more = input ? { guide: new ort.Tensor("float32", guide.slice(0, input.shape[0]), input.shape) } : {};
  const { guides, ...pictures } = await run(name, picture, more);
  const { data, dims: [, height, width] } = Object.values(pictures)[0];
  const pixels = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let i = 0, o = 0; i < data.length; i += 3, o += 4) pixels.set(data.subarray(i, i + 3), o);
  return { picture: { data: pixels, width, height }, guide: guides ? [...guides.data] : null };
}
