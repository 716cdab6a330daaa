"use strict";

// Figures name colours as CSS variables, so that the style sheet alone decides about them.
const drawings = [...document.querySelectorAll(".plot")].map((box) => ({
  box,
  source: document.getElementById(box.dataset.figure).textContent,
}));

function coloured(source) {
  const style = getComputedStyle(document.documentElement);
  const family = getComputedStyle(document.body).fontFamily;
  return JSON.parse(source, (key, value) => {
    if (key === "family" && value === "inherit") return family;
    const variable = typeof value === "string" && /^var\((--[\w-]+)\)$/.exec(value);
    return variable ? style.getPropertyValue(variable[1]).trim() : value;
  });
}

const config = {
  responsive: true,
  displaylogo: false,
  modeBarButtons: [["toImage"]],
  toImageButtonOptions: { format: "svg" },
};

function draw(within) {
  for (const { box, source } of drawings) {
    if (!within.contains(box)) continue;
    const { data, layout } = coloured(source);
    const hidden = hiddenIn(box.closest("section"));
    // A finger scrolls the page; a mouse may look closer.
    layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";
    for (const trace of data) trace.visible = !hidden.has(trace.meta);
    Plotly.react(box, data, layout, config);
  }
}

function hiddenIn(section) {
  const off = section.querySelectorAll('.legend button[aria-pressed="false"]');
  return new Set([...off].map((button) => button.value));
}

for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!shown));
    draw(button.closest("section"));
  });
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const body = heading.closest("table").tBodies[0];
    const order = heading.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const value = (row) => parseFloat(row.cells[heading.cellIndex].dataset.value);
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      // What is not known stands last, whichever way.
      if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
      return sign * (x - y);
    });
    body.append(...rows);
  });
}

// A video that is too large for the page may not have been published beside it.
for (const video of document.querySelectorAll("video")) {
  video.addEventListener("error", () => {
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = `This video is not beside the page: ${decodeURI(video.getAttribute("src"))}`;
    video.replaceWith(note);
  });
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(document));
draw(document);
