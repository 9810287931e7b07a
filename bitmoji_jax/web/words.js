// What the page says, as web/words.py has it; a worker is given it by its page.

/** What is wrong with a photo, in sentences for the person who chose it. `face`: there is no face that can be used. */
export class Refusal extends Error {
  constructor(message, face = false) {
    super(message);
    this.face = face;
  }
}

export let words = JSON.parse(globalThis.document?.getElementById("words").textContent ?? "null");

export function setWords(given) {
  words = given;
}

/** A fault of a face, with the number that was measured. */
export function faceText(fault, number) {
  return words.faults[fault].replace("{}", number);
}

export function grade(value, grades) {
  return grades.find(([least]) => value >= least)[1];
}

/** Turns a one-line message of a command into a sentence. */
export function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1).replace(/\.+$/, "")}.`;
}
