// The variants of an avatar, for a person to choose from.

export const VARIANTS = [1, 2, 3];

/** Adds a row of choices to the list item of a face, with room for each variant; `choose` is given what is chosen. */
export function addChoice(item, name, title, choose) {
  const row = document.createElement("fieldset"), legend = document.createElement("legend");
  row.className = "choice";
  legend.textContent = title;
  row.append(legend, ...VARIANTS.map(() => document.createElement("span")));
  item.querySelector(".pair").after(row);
  return {
    /** Offers a portrait, {variant, avatar}, in its place. */
    offer(portrait, checked) {
      const label = document.createElement("label"), radio = document.createElement("input"), image = new Image();
      Object.assign(radio, { type: "radio", name, checked });
      Object.assign(image, { src: portrait.avatar, alt: `Drawing ${portrait.variant}` });
      radio.addEventListener("change", () => choose(portrait));
      label.append(radio, image);
      row.children[1 + VARIANTS.indexOf(portrait.variant)].replaceWith(label);
    },
    /** Takes back the room of what was not offered, and the row where there is nothing to choose. */
    close() {
      for (const place of row.querySelectorAll("span")) place.remove();
      if (row.querySelectorAll("input").length < 2) row.remove();
    },
  };
}
