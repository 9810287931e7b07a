// Sends the forms without leaving the page, and adds what a form alone can't do: drop, paste, camera, waiting in line.
"use strict";

const PATIENCE = 120_000; // ms in line before giving up

const element = (id) => document.getElementById(id);
const form = element("form"), picker = element("photo"), drop = element("drop"), result = element("result");
const status = element("status"), cancel = element("cancel"), shown = element("shown");
const viewfinder = element("viewfinder"), video = viewfinder.querySelector("video");

let photo = null; // the last one, for when an option changes
let underWay = null; // AbortController of the request under way

document.documentElement.classList.add("script");

function say(text) {
  status.textContent = text;
}

function complain(text) {
  const line = document.createElement("p");
  line.className = "problem";
  line.setAttribute("role", "alert");
  line.textContent = text;
  shown.replaceChildren(line);
  say("");
  reveal();
}

function reveal() {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  result.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); });
  });
}

// Asks until there is an answer other than "come back later".
async function ask(body, signal) {
  const giveUp = Date.now() + PATIENCE;
  for (;;) {
    const response = await fetch("./", { method: "POST", body, signal });
    const seconds = Number(response.headers.get("Retry-After"));
    if (response.status !== 503 || !seconds || Date.now() + 1000 * seconds > giveUp) return response.text();
    say("Many photos are waiting. Yours is sent again by itself; leave this page open.");
    await pause(1000 * seconds * (1 + Math.random()), signal); // not all at the same moment
  }
}

async function send(body, what) {
  underWay?.abort();
  const mine = underWay = new AbortController();
  result.setAttribute("aria-busy", "true");
  cancel.hidden = false;
  say(`Making the avatar of ${what} …`);
  reveal();
  try {
    const answer = new DOMParser().parseFromString(await ask(body, mine.signal), "text/html");
    const content = answer.getElementById("shown");
    if (!content) throw new TypeError("not this page");
    shown.replaceChildren(...content.childNodes);
    const count = shown.querySelectorAll(".face").length;
    say(count === 0 ? "" : count === 1 ? "Done." : `Done: ${count} faces.`);
    reveal();
  } catch (error) {
    if (mine.signal.aborted) {
      if (underWay === mine) say("Cancelled.");
    } else complain("The server does not answer. Is it still running? Then try again.");
  } finally {
    if (underWay === mine) {
      underWay = null;
      const focused = document.activeElement === cancel;
      cancel.hidden = true;
      if (focused) result.focus({ preventScroll: true });
      result.removeAttribute("aria-busy");
    }
  }
}

function translate(file, name) {
  if (file.size > Number(form.dataset.maxBytes)) {
    complain(`This file is larger than ${form.dataset.maxBytes / 1e6} MB. Save the photo smaller, or as a JPEG.`);
    return;
  }
  photo = { file, name };
  const body = new FormData(form);
  body.set("photo", file, "photo"); // its name stays here
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

cancel.addEventListener("click", () => underWay?.abort());

// Drop and paste, anywhere on the page.
function dropped(transfer) {
  const file = transfer.files[0];
  if (file) translate(file, file.name || "the pasted picture");
  else complain("That was no file. Save the picture first, then choose it here.");
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
  dropped(event.dataTransfer);
});
addEventListener("paste", (event) => {
  event.preventDefault();
  dropped(event.clipboardData);
});

// Browsers give a camera to this computer's own pages and to encrypted ones.
if (navigator.mediaDevices?.getUserMedia) {
  const camera = element("camera");
  camera.hidden = false;
  camera.addEventListener("click", async () => {
    try {
      const wanted = { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 960 } };
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: wanted });
    } catch (error) {
      complain(
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
