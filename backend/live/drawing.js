// Draws a frame with what a version saw in it: outlines and labels, the garments alone, or a garment laid over one.
const LETTERS = 0.035; // height of letters, as a share of the picture's longer side
const MIN_LETTERS_PX = 13;

function pathOf(garment) {
  const path = new Path2D();
  for (const [first, ...others] of garment.outlines) {
    path.moveTo(...first);
    for (const point of others) path.lineTo(...point);
    path.closePath();
  }
  return path;
}

export function boxOf(garment) {
  const points = garment.outlines.flat();
  const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  return { left, top, width: Math.max(...xs) - left, height: Math.max(...ys) - top };
}

// The garment that the other is laid over: the largest, or the best one of a label.
export function targetOf(garments, label) {
  const area = (garment) => { const box = boxOf(garment); return box.width * box.height; };
  if (label) return garments.find((garment) => garment.label === label);
  return garments.reduce((largest, one) => (largest && area(largest) >= area(one) ? largest : one), undefined);
}

const MODES = {
  outlines(context, picture, seen, letters) {
    context.drawImage(picture, 0, 0, seen.width, seen.height);
    const line = letters / 7;
    for (const garment of seen.garments) {
      const path = pathOf(garment);
      for (const [colour, width] of [["#000a", 2.4 * line], [garment.colour, line]]) {
        Object.assign(context, { strokeStyle: colour, lineWidth: width, lineJoin: "round" });
        context.stroke(path);
      }
      context.globalAlpha = 0.15;
      context.fillStyle = garment.colour;
      context.fill(path);
      context.globalAlpha = 1;
    }
    writeNames(context, seen, letters);
  },

  cut(context, picture, seen) {
    context.clearRect(0, 0, seen.width, seen.height);
    for (const garment of seen.garments) {
      context.save();
      context.clip(pathOf(garment));
      context.drawImage(picture, 0, 0, seen.width, seen.height);
      context.restore();
    }
  },

  worn(context, picture, seen, letters, { garment, label }) {
    context.drawImage(picture, 0, 0, seen.width, seen.height);
    const target = garment && targetOf(seen.garments, label);
    if (!target) return;
    const box = boxOf(target);
    context.drawImage(garment, box.left, box.top, box.width, box.height);
  },
};

// Each name at its garment's highest point, inside the picture, and below those that it would cover.
function writeNames(context, seen, letters) {
  Object.assign(context, { font: `600 ${letters}px system-ui, sans-serif`, textBaseline: "top", lineJoin: "round" });
  const placed = [];
  const named = seen.garments.map((garment) => ({ garment, box: boxOf(garment) })).sort((a, b) => a.box.top - b.box.top);
  for (const { garment, box } of named) {
    const text = `${garment.label} ${garment.score.toFixed(2)}`;
    const width = context.measureText(text).width + 0.6 * letters;
    const x = Math.min(Math.max(box.left + box.width / 2 - width / 2, 0), Math.max(seen.width - width, 0));
    let y = Math.min(box.top, seen.height - 1.3 * letters);
    for (const other of placed) {
      if (Math.abs(other.x - x) < Math.max(other.width, width) && Math.abs(other.y - y) < 1.3 * letters) y = other.y + 1.3 * letters;
    }
    y = Math.min(y, seen.height - 1.3 * letters);
    placed.push({ x, y, width });
    context.fillStyle = "#000b";
    context.fillRect(x, y, width, 1.25 * letters);
    context.fillStyle = garment.colour;
    context.fillRect(x, y, 0.25 * letters, 1.25 * letters);
    context.fillStyle = "#fff";
    context.fillText(text, x + 0.4 * letters, y + 0.15 * letters);
  }
}

// Draws into a canvas of the picture's own size, so that lines stay sharp whatever the size of the frame that was sent.
export function draw(canvas, picture, seen, mode, wardrobe) {
  Object.assign(canvas, { width: picture.width, height: picture.height });
  const context = canvas.getContext("2d");
  const scale = picture.width / seen.width;
  context.setTransform(scale, 0, 0, picture.height / seen.height, 0, 0);
  const letters = Math.max(LETTERS * Math.max(picture.width, picture.height), MIN_LETTERS_PX) / scale;
  MODES[mode](context, picture, seen, letters, wardrobe);
}

// A copy of a picture whose longer side has at most so many pixels.
export function reduced(picture, [width, height], side) {
  const factor = Math.min(side / Math.max(width, height), 1);
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: Math.max(Math.round(width * factor), 1), height: Math.max(Math.round(height * factor), 1) });
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}

export function encoded(canvas, quality, type = "image/jpeg") {
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The browser cannot encode the picture."))), type, quality);
  });
}

// What is shown, side by side, as one picture.
export function together(canvases, captions) {
  const height = Math.max(...canvases.map((canvas) => canvas.height));
  const foot = Math.max(Math.round(height / 16), 24);
  const picture = document.createElement("canvas");
  Object.assign(picture, { width: canvases.reduce((sum, canvas) => sum + canvas.width, 0), height: height + foot });
  const context = picture.getContext("2d");
  Object.assign(context, { fillStyle: "#fff", font: `${Math.round(foot / 2.2)}px system-ui, sans-serif`, textBaseline: "middle" });
  context.fillRect(0, 0, picture.width, picture.height);
  let left = 0;
  for (const [number, canvas] of canvases.entries()) {
    context.drawImage(canvas, left, 0);
    context.fillStyle = "#222";
    context.fillText(captions[number], left + foot / 4, height + foot / 2, canvas.width - foot / 2);
    left += canvas.width;
  }
  return picture;
}
