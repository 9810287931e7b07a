// Sends the forms without leaving the page, and adds what a form alone can't do: drop, paste, camera, waiting in the queue.
"use strict";

const MAX_WAIT = 120_000; // ms in the queue

const element = (id) => document.getElementById(id);
const form = element("form"), picker = element("photo"), drop = element("drop"), result = element("result");
const status = element("status"), cancel = element("cancel"), output = element("output");
const viewfinder = element("viewfinder"), video = viewfinder.querySelector("video");

let photo = null; // the last one, sent again when an option changes
let current = null; // AbortController of the request under way

document.documentElement.classList.add("script");

function showStatus(text) {
  status.textContent = text;
}

function showError(text) {
  const line = document.createElement("p");
  line.className = "error";
  line.setAttribute("role", "alert");
  line.textContent = text;
  output.replaceChildren(line);
  showStatus("");
  reveal();
}

function reveal() {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  result.scrollIntoView({ block: "nearest", behavior: still ? "auto" : "smooth" });
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); });
  });
}

// Sends until the queue has room.
async function request(body, signal) {
  const deadline = Date.now() + MAX_WAIT;
  for (;;) {
    const response = await fetch("./", { method: "POST", body, signal });
    const seconds = Number(response.headers.get("Retry-After"));
    if (response.status !== 503 || !seconds || Date.now() + 1000 * seconds > deadline) return response.text();
    showStatus("Many photos are waiting. Yours is sent again by itself; leave this page open.");
    await pause(1000 * seconds * (1 + Math.random()), signal); // not all at the same moment
  }
}

async function send(body, name) {
  current?.abort();
  const controller = current = new AbortController();
  result.setAttribute("aria-busy", "true");
  cancel.hidden = false;
  showStatus(`Making the avatar of ${name} …`);
  reveal();
  try {
    const answer = new DOMParser().parseFromString(await request(body, controller.signal), "text/html");
    const content = answer.getElementById("output");
    if (!content) throw new TypeError("not this page");
    output.replaceChildren(...content.childNodes);
    const count = output.querySelectorAll(".face").length;
    showStatus(count === 0 ? "" : count === 1 ? "Done." : `Done: ${count} faces.`);
    reveal();
  } catch (error) {
    if (controller.signal.aborted) {
      if (current === controller) showStatus("Cancelled.");
    } else showError("The server does not answer. Is it still running? Then try again.");
  } finally {
    if (current === controller) {
      current = null;
      const focused = document.activeElement === cancel;
      cancel.hidden = true;
      if (focused) result.focus({ preventScroll: true });
      result.removeAttribute("aria-busy");
    }
  }
}

function translate(file, name) {
  if (file.size > Number(form.dataset.maxBytes)) {
    showError(`This file is larger than ${form.dataset.maxBytes / 1e6} MB. Save the photo smaller, or as a JPEG.`);
    return;
  }
  photo = { file, name };
  const body = new FormData(form);
  body.set("photo", file, "photo"); // its name is not sent
  send(body, name);
}

picker.addEventListener("change", () => {
  const file = picker.files[0];
  picker.value = ""; // the same file can be chosen again
  if (file) translate(file, file.name);
});

for (const option of form.querySelectorAll("[type=checkbox]")) {
  option.addEventListener("change", () => photo && translate(photo.file, photo.name));
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  picker.click();
});

element("examples").addEventListener("submit", (event) => {
  event.preventDefault();
  const body = new FormData(form);
  body.delete("photo");
  body.set("example", event.submitter.value);
  photo = null;
  send(body, "the drawing");
});

cancel.addEventListener("click", () => current?.abort());

// Drop and paste, anywhere on the page.
function receive(transfer) {
  const file = transfer.files[0];
  if (file) translate(file, file.name || "the pasted picture");
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
  const camera = element("camera");
  camera.hidden = false;
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
  });
  viewfinder.addEventListener("close", () => {
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
    canvas.toBlob((file) => translate(file, "the camera's photo"), "image/jpeg", 0.95);
    viewfinder.close();
  });
}
