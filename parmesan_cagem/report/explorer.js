"use strict";

// The latent explorer. All that it shows was decoded beforehand: it interpolates between the points of a grid.
(() => {
  const source = document.getElementById("explorer-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const { points, classes, side, reach } = data;
  const probabilities = Uint8Array.from(atob(data.probabilities), (c) => c.charCodeAt(0)); // (points, points, K)
  const byId = (id) => document.getElementById(id);
  const plane = byId("plane");
  const digit = byId("digit");
  const choice = byId("explorer-class");
  const dots = byId("explorer-dots");
  const radios = [...choice.querySelectorAll("input")];
  const bars = [...byId("explorer-bars").children];
  // The figures' colours (report/style.py): people with any colour vision tell them apart, and the digits say the same.
  const COLOURS = "#332288 #88CCEE #44AA99 #117733 #999933 #DDCC77 #CC6677 #882255 #AA4499 #000000".split(" ");
  const colour = (c) => COLOURS[c % COLOURS.length];
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const at = { x: 0, y: 0 };
  let fixed = null; // a class, or null: automatic
  let hurry = 0; // timer of the announcement

  // The four neighbours of a point on the grid and their weights. Row 0 is the top, where z2[1] is greatest.
  function neighbours(x, y) {
    const across = ((x + reach) / (2 * reach)) * (points - 1);
    const down = ((reach - y) / (2 * reach)) * (points - 1);
    const column = Math.min(Math.max(Math.floor(across), 0), points - 2);
    const row = Math.min(Math.max(Math.floor(down), 0), points - 2);
    const [u, v] = [across - column, down - row];
    return [
      [row, column, (1 - u) * (1 - v)],
      [row, column + 1, u * (1 - v)],
      [row + 1, column, (1 - u) * v],
      [row + 1, column + 1, u * v],
    ];
  }

  function classProbabilities(x, y) {
    const p = new Array(classes).fill(0);
    for (const [row, column, weight] of neighbours(x, y)) {
      const start = (row * points + column) * classes;
      for (let c = 0; c < classes; c++) p[c] += (weight * probabilities[start + c]) / 255;
    }
    return p;
  }

  const argmax = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);

  // Sheets are decoded when first wanted, and kept as bytes.
  const sheets = new Map();
  async function load(c) {
    const image = new Image();
    image.src = data.sheets[c];
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = points * side;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const rgba = context.getImageData(0, 0, canvas.width, canvas.height).data;
    const gray = new Uint8Array(rgba.length / 4);
    for (let i = 0; i < gray.length; i++) gray[i] = rgba[4 * i];
    return gray;
  }
  function sheet(c) {
    if (!sheets.has(c)) {
      sheets.set(c, null);
      load(c).then((gray) => {
        sheets.set(c, gray);
        draw();
      });
    }
    return sheets.get(c);
  }

  function drawDigit(c) {
    const gray = sheet(c);
    if (!gray) return; // draw() is called again when it has come
    const context = digit.getContext("2d");
    const picture = context.createImageData(side, side);
    const near = neighbours(at.x, at.y);
    for (let i = 0; i < side; i++) {
      for (let j = 0; j < side; j++) {
        let value = 0;
        for (const [row, column, weight] of near) {
          value += weight * gray[(row * side + i) * points * side + column * side + j];
        }
        picture.data.set([value, value, value, 255], 4 * (i * side + j));
      }
    }
    context.putImageData(picture, 0, 0);
    digit.dataset.shown = `${at.x.toFixed(2)},${at.y.toFixed(2)},${c}`;
  }

  // The regions of the plane do not depend on where one is: they are painted once for light and once for dark.
  let regions = null;
  function paintRegions() {
    const size = 240;
    const paper = rgb(getComputedStyle(document.documentElement).getPropertyValue("--paper").trim());
    regions = document.createElement("canvas");
    regions.width = regions.height = size;
    const context = regions.getContext("2d");
    const picture = context.createImageData(size, size);
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) {
        const p = classProbabilities(((j + 0.5) / size) * 2 * reach - reach, reach - ((i + 0.5) / size) * 2 * reach);
        const c = argmax(p);
        const strength = 0.15 + 0.6 * p[c] ** 2;
        const mixed = rgb(colour(c)).map((value, k) => strength * value + (1 - strength) * paper[k]);
        picture.data.set([...mixed, 255], 4 * (i * size + j));
      }
    }
    context.putImageData(picture, 0, 0);
  }

  const place = (x, y) => [((x + reach) / (2 * reach)) * plane.width, ((reach - y) / (2 * reach)) * plane.height];

  function haloed(context, text, x, y) {
    context.lineWidth = 6;
    context.strokeStyle = "#ffffff";
    context.fillStyle = "#111111";
    context.strokeText(text, x, y);
    context.fillText(text, x, y);
  }

  function drawPlane() {
    if (!regions) paintRegions();
    const context = plane.getContext("2d");
    context.drawImage(regions, 0, 0, plane.width, plane.height);
    if (dots && dots.checked) {
      for (const [x, y, c] of data.dots) {
        context.beginPath();
        context.arc(...place(x, y), 4, 0, 7);
        context.fillStyle = colour(c);
        context.strokeStyle = "rgb(0 0 0 / 55%)";
        context.lineWidth = 1;
        context.fill();
        context.stroke();
      }
    }
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.font = "20px sans-serif";
    for (let tick = 1 - reach; tick < reach; tick++) {
      haloed(context, String(tick).replace("-", "−"), place(tick, 0)[0], plane.height - 16);
      haloed(context, String(tick).replace("-", "−"), 18, place(0, tick)[1]);
    }
    context.font = "bold 40px sans-serif";
    data.labels.forEach((label, c) => label && haloed(context, String(c), ...place(...label)));
    for (const [width, style] of [[9, "#ffffff"], [4, "#000000"]]) {
      context.beginPath();
      context.arc(...place(at.x, at.y), 15, 0, 7);
      context.lineWidth = width;
      context.strokeStyle = style;
      context.stroke();
    }
  }

  const signed = (value) => (Math.abs(value) < 0.005 ? 0 : value).toFixed(2).replace("-", "−");

  function describe(p, c) {
    const order = p.map((value, k) => [value, k]).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
    const likely = order.filter(([value], i) => i === 0 || value >= 0.01).slice(0, 3);
    const words = likely.map(([value, k]) => `${k}: ${Math.round(100 * value)} %`).join(", ");
    const how = fixed === null ? "automatic" : `fixed; p(${c}|z2) is ${Math.round(100 * p[c])} %`;
    return `z2 = (${signed(at.x)}, ${signed(at.y)}). Class ${c}, ${how}. Most probable: ${words}.`;
  }

  function draw() {
    const p = classProbabilities(at.x, at.y);
    const c = fixed === null ? argmax(p) : fixed;
    drawDigit(c);
    drawPlane();
    bars.forEach((bar, k) => {
      bar.querySelector("span").style.width = `${100 * p[k]}%`;
      bar.querySelector("small").textContent = `${Math.round(100 * p[k])} %`;
      bar.classList.toggle("chosen", k === c);
    });
    const words = describe(p, c);
    byId("explorer-text").textContent = words;
    digit.setAttribute("aria-label", `Decoded digit: class ${c}`);
    clearTimeout(hurry); // a screen reader is told where one stops, not every point on the way
    hurry = setTimeout(() => (byId("explorer-live").textContent = words), 200);
  }

  function move(x, y) {
    const clamp = (value) => Math.min(Math.max(Math.round(value * 1000) / 1000, -reach), reach);
    [at.x, at.y] = [clamp(x), clamp(y)];
    draw();
  }

  function choose(value) {
    const radio = radios.find((r) => r.value === value);
    if (!radio) return false;
    radio.checked = true;
    fixed = value === "auto" ? null : Number(value);
    draw();
    return true;
  }

  function follow(event) {
    const box = plane.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    move(x * 2 * reach - reach, reach - y * 2 * reach);
  }
  plane.addEventListener("pointermove", follow);
  plane.addEventListener("pointerdown", follow);
  plane.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const step = event.shiftKey ? 0.5 : 0.1;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    let done = true;
    if (moves[event.key]) move(at.x + moves[event.key][0], at.y + moves[event.key][1]);
    else if (event.key === "Home") move(0, 0);
    else done = choose(event.key === "a" ? "auto" : event.key);
    if (done) event.preventDefault();
  });
  choice.addEventListener("change", (event) => choose(event.target.value));
  if (dots) dots.addEventListener("change", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    regions = null;
    draw();
  });
  draw();
  for (let c = 0; c < classes; c++) sheet(c);
})();
