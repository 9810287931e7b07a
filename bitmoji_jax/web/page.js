// What the page does: photos come from the picker, a drop, the clipboard, the camera or an example, go to the back end, and
// its faces are shown. The back end is a server, or this browser.
import { failure, follow, stickers, translate } from "./backend.js";
import { addChoice, VARIANTS } from "./choice.js";
import { cutOut } from "./cut_out.js";
import { grade, Refusal, words } from "./words.js";

const element = (id) => document.getElementById(id);
const form = element("form"), picker = element("photo"), drop = element("drop"), result = element("result");
const status = element("status"), cancel = element("cancel"), output = element("output");
const viewfinder = element("viewfinder"), video = viewfinder.querySelector("video");

const choices = element("look"); // null where no look can be chosen
let last = null; // the photo or drawing before, made again when an option changes
let look = {}; // what was chosen for it: gender, skin, hair, glasses, mouth, hat
let chosen = []; // the variant of each of its faces
let current = null; // AbortController of the photo at work, or of that before

document.documentElement.classList.add("script");

function showStatus(text) {
  status.textContent = text;
}

function show(...nodes) {
  for (const { src, href } of output.querySelectorAll("[src^='blob:'], [href^='blob:']")) URL.revokeObjectURL(src ?? href);
  output.replaceChildren(...nodes);
}

function paragraph(kind, text) {
  const line = document.createElement("p");
  line.className = kind;
  line.textContent = text;
  return line;
}

function showError(text) {
  const line = paragraph("error", text);
  line.setAttribute("role", "alert");
  show(line);
  showStatus("");
  reveal();
}

/** Shows a portrait of each face; returns the rows in which others can be offered. `makeSticker` is given the index of a
 * face, the variant of its avatar and what tells how it goes, and returns the sticker of that avatar. */
function showFaces(faces, makeSticker) {
  const list = document.createElement("ul"), rows = [];
  list.className = "faces";
  for (const [i, face] of faces.entries()) {
    const fields = {
      crop: face.crop,
      avatar: face.avatar,
      cutOut: face.cutOut,
      number: faces.length > 1 ? ` ${i + 1} of ${faces.length}` : "",
      file: faces.length > 1 ? `avatar-${i + 1}` : "avatar",
      confidence: grade(face.confidence, words.confidence),
      sure: `${Math.round(100 * Math.min(face.confidence, 0.99))}%`,
      quality: grade(face.quality, words.quality),
    };
    list.insertAdjacentHTML("beforeend", element("face").innerHTML.replace(/\$(\w+)/g, (_, name) => fields[name]));
    const item = list.lastElementChild, title = `Choose your avatar${fields.number}`;
    let { variant } = face;
    rows.push(addChoice(item, `variant-${i}`, title, (portrait) => {
      variant = portrait.variant;
      choose(item, i, portrait);
    }));
    item.querySelector(".pair").after(...face.warnings.map((text) => paragraph("warning", text)));
    if (stickers) addSticker(item, fields, (say) => makeSticker(i, variant, say));
  }
  show(list);
  chosen = faces.map(({ variant }) => variant);
  if (choices && faces[0].look) showLook(faces[0].look);
  showStatus(faces.length === 1 ? "Done." : `Done: ${faces.length} faces.`);
  reveal();
  return rows;
}

/** Adds a button to the list item of a face that saves what `make` returns. */
function addSticker(item, { number, file }, make) {
  const button = document.createElement("button"), format = document.createElement("small");
  const say = (text) => { if (!result.hasAttribute("aria-busy")) showStatus(text); }; // of the next photo it tells more
  button.type = "button";
  format.textContent = "WebP";
  button.append(`Sticker${number} `, format);
  button.addEventListener("click", async () => {
    if (button.ariaDisabled) return;
    button.ariaDisabled = "true"; // not `disabled`, which would lose the focus
    say("Making the sticker …");
    try {
      const link = document.createElement("a");
      Object.assign(link, { href: await make(say), download: `${file}-sticker.webp` }).click();
      say("Done.");
    } catch (error) {
      say(error instanceof Refusal ? error.message : failure);
    }
    button.ariaDisabled = null;
  });
  item.querySelector(".downloads a").after(button);
}

/** Shows another portrait of the face at `i`, whose list item is `item`. */
async function choose(item, i, face) {
  chosen[i] = face.variant;
  if (choices && face.look && i === 0) showLook(face.look);
  item.querySelector(".avatar").src = face.avatar;
  item.querySelector(".quality").textContent = grade(face.quality, words.quality);
  const [opaque, transparent] = item.querySelectorAll(".downloads a");
  opaque.href = face.avatar;
  const address = await cutOut(face.avatar), isLast = chosen[i] === face.variant;
  URL.revokeObjectURL(isLast ? transparent.href : address);
  if (isLast) transparent.href = address;
}

/** Offers the portraits of each face in its row. */
function offer(rows, faces) {
  for (const [i, portraits] of faces.entries()) {
    for (const face of portraits) {
      const shown = face.variant === chosen[i];
      rows[i].offer(face, shown);
      if (!shown) URL.revokeObjectURL(face.crop); // the same is shown already
    }
  }
}

/** Shows what was chosen, and the colours of an avatar, to be changed. */
function showLook({ skin, hair }) {
  choices.disabled = false;
  for (const select of choices.querySelectorAll("select")) select.value = look[select.name] ?? "";
  form.elements.skin.value = skin;
  form.elements.hair.value = hair;
  element("as-photo").disabled = !Object.keys(look).length;
}

function reveal() {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  result.scrollIntoView({ block: "nearest", behavior: still ? "auto" : "smooth" });
}

/** Makes the avatar of {file} or of {example}, the button of a drawing; `name` is what it is called meanwhile. */
async function make(source, name) {
  current?.abort();
  const controller = current = new AbortController();
  const boxes = [...form.querySelectorAll("[type=checkbox]")].map((box) => [box.name, box.checked]);
  const wanted = chosen.length ? [...new Set(chosen)] : [VARIANTS[0]];
  const options = { ...Object.fromEntries(boxes), look };
  const draw = async (variants, say) => { // the portraits of each face
    const portraits = await translate(source, { ...options, variants }, controller.signal, say), count = variants.length;
    return Array.from({ length: portraits.length / count }, (_, i) => portraits.slice(count * i, count * (i + 1)));
  };
  const makeSticker = async (i, variant, say) => {
    const drawn = { ...options, variants: [variant], sticker: true };
    return (await translate(source, drawn, new AbortController().signal, say))[i].sticker;
  };
  let rows = [];
  last = { source, name };
  result.setAttribute("aria-busy", "true");
  cancel.hidden = false;
  showStatus(`Making the avatar of ${name} …`);
  reveal();
  try {
    const drawn = await draw(wanted, showStatus);
    const faces = drawn.map((each, i) => each.find(({ variant }) => variant === chosen[i]) ?? each[0]);
    for (const face of faces) face.cutOut = await cutOut(face.avatar);
    if (!controller.signal.aborted) {
      rows = showFaces(faces, makeSticker);
      offer(rows, drawn);
    }
  } catch (error) {
    if (controller.signal.aborted) {
      if (current === controller) showStatus("Cancelled.");
    } else if (error instanceof Refusal) {
      showError(error.face ? `${error.message} ${words.force}` : error.message);
    } else showError(failure);
  } finally {
    if (current === controller) {
      const focused = document.activeElement === cancel;
      cancel.hidden = true;
      if (focused) result.focus({ preventScroll: true });
      result.removeAttribute("aria-busy");
    }
  }
  const others = VARIANTS.filter((variant) => !wanted.includes(variant));
  try {
    if (rows.length && others.length) offer(rows, await draw(others, () => {}));
  } catch {
    // The avatar that was asked for is there.
  }
  for (const row of rows) row.close();
}

function makeOfFile(file, name) {
  if (file.size > words.maxBytes) {
    showError(words.errors.too_many_bytes);
    return;
  }
  makeAnew({ file }, name);
}

function makeAnew(source, name) {
  look = {};
  chosen = [];
  make(source, name);
}

function makeAgain() {
  if (last) make(last.source, last.name);
}

picker.addEventListener("change", () => {
  const file = picker.files[0];
  picker.value = ""; // the same file can be chosen again
  if (file) makeOfFile(file, file.name);
});

for (const option of form.querySelectorAll("[type=checkbox]")) {
  option.addEventListener("change", makeAgain);
}

choices?.addEventListener("change", ({ target }) => {
  const { [target.name]: before, ...others } = look;
  look = target.value ? { ...others, [target.name]: target.value } : others;
  makeAgain();
});
element("as-photo")?.addEventListener("click", () => {
  look = {};
  makeAgain();
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  picker.click();
});

element("examples").addEventListener("submit", (event) => {
  event.preventDefault();
  makeAnew({ example: event.submitter }, "the drawing");
});

cancel.addEventListener("click", () => current?.abort());

// Drop and paste, anywhere on the page.
function receive(transfer) {
  const file = transfer.files[0];
  if (file) makeOfFile(file, file.name || "the pasted picture");
  else showError("That was no file. Save the picture first, then choose it here.");
}

addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  receive(event.dataTransfer);
});
addEventListener("paste", (event) => {
  event.preventDefault();
  receive(event.clipboardData);
});

// Browsers allow the camera to pages of this computer and to encrypted ones.
if (navigator.mediaDevices?.getUserMedia) {
  const camera = element("camera"), preview = element("preview");
  camera.hidden = false;
  let stop = null; // ends the preview
  camera.addEventListener("click", async () => {
    try {
      const constraints = { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 960 } };
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: constraints });
    } catch (error) {
      showError(
        error.name === "NotAllowedError" ? "The browser may not use the camera. Allow it in its settings for this page."
          : error.name === "NotFoundError" ? "There is no camera. Choose a photo instead."
            : "The camera can't be used. Does another program have it?",
      );
      return;
    }
    viewfinder.showModal();
    stop = follow?.(video, preview);
  });
  viewfinder.addEventListener("close", () => {
    stop?.();
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  });
  element("close").addEventListener("click", () => viewfinder.close());
  element("take").addEventListener("click", () => {
    if (!video.videoWidth) return; // no picture yet
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((file) => makeOfFile(file, "the camera's photo"), "image/jpeg", 0.95);
    viewfinder.close();
  });
}
