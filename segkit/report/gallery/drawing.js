// Draws a picture and the outlines on it. A view maps pixels of the image to the canvas: x * scale + left, y * scale + top.
const HALO = "rgba(0,0,0,.55)";
const FONT = "600 11px system-ui, sans-serif";
let hatches = null; // patterns of crowd and ignore regions

function hatchPattern(context, kind) {
  if (!hatches) {
    hatches = [1, 2].map((lines) => {
      const tile = document.createElement("canvas");
      tile.width = tile.height = 9;
      const pen = tile.getContext("2d");
      pen.fillStyle = "rgba(0,0,0,.35)";
      pen.fillRect(0, 0, 9, 9);
      pen.strokeStyle = "rgba(255,255,255,.75)";
      pen.lineWidth = 1.6;
      for (let k = 0; k < lines; k++) {
        for (const shift of [-9, 0, 9]) {
          pen.beginPath();
          pen.moveTo(shift - 1, k ? -1 : 10);
          pen.lineTo(shift + 10, k ? 10 : -1);
          pen.stroke();
        }
      }
      return tile;
    });
  }
  return context.createPattern(hatches[kind - 1], "repeat");
}

// The shapes of one panel, large ones first. which: -1 for ground truth, else the index of a run.
function panelShapes(data, scene, which) {
  const key = which + 1;
  scene.shapes = scene.shapes || [];
  if (scene.shapes[key]) return scene.shapes[key];
  const image = data.images[scene.i], source = which < 0 ? image.t : image.r[which], paths = which < 0 ? scene.t : scene.r[which];
  const shapes = [];
  if (source && paths) paths.forEach((path, index) => {
    if (path === null) return;
    const [x, y, w, h] = source.b.slice(4 * index, 4 * index + 4);
    shapes.push({ index, path: path ? new Path2D(path) : null, x, y, w, h, label: source.l[index], hue: source.c[index], region: which < 0 ? source.k[index] : 0 });
  });
  shapes.sort((a, b) => b.w * b.h - a.w * a.h);
  return (scene.shapes[key] = shapes);
}

// What colour a shape has, and whether it is drawn at all.
function shapeStyle(data, state, result, which, shape) {
  if (state.label >= 0 && shape.label >= 0 && shape.label !== state.label) return null;
  if (shape.region) return { color: "#ffffff", region: true };
  const kind = !result ? RIGHT : which < 0 ? result.objects[shape.index] : result.detections[shape.index];
  if (which >= 0 && kind === HIDDEN) return null;
  if (state.errors && result) return { color: KINDS[kind].color, kind, dashed: kind === MISSED || kind === IGNORED };
  if (state.byClass && shape.label >= 0) return { color: data.colors[shape.label], kind };
  return { color: data.hues[shape.hue], kind };
}

function shapeText(data, state, which, shape) {
  if (shape.region || !state.scores) return [];
  const name = data.classes.length > 1 && shape.label >= 0 ? data.classes[shape.label] : "";
  if (which < 0) return name ? [name] : [];
  const score = (Math.floor(shape.score / 1e4) / 100).toFixed(2);
  return name ? [`${name} ${score}`, score] : [score];
}

// Draws one panel; picture may be null while it is being decoded. pixelRatio: device pixels for a CSS pixel.
function drawPanel(context, data, state, panel, view, picture, pixelRatio) {
  const { scene, which, result } = panel;
  const { width, height } = context.canvas;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, width, height);
  context.setTransform(pixelRatio, 0, 0, pixelRatio, 0, 0);
  const [vx, vy, vw, vh] = scene.v, s = view.scale;
  if (picture) {
    context.imageSmoothingEnabled = !(scene.sm && s * vw > 1.5 * picture.naturalWidth);
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, vx * s + view.left, vy * s + view.top, vw * s, vh * s);
  }
  context.save();
  context.beginPath();
  context.rect(vx * s + view.left, vy * s + view.top, vw * s, vh * s);
  context.clip();
  const run = which < 0 ? null : data.images[scene.i].r[which];
  const labels = [];
  const line = Math.min(2, 0.85 + s / 5);
  const drawn = panelShapes(data, scene, which).map((shape) => [shape, shapeStyle(data, state, result, which, shape)]);
  if (which >= 0 && state.errors && result) { // missed objects, under the detections
    for (const shape of panelShapes(data, scene, -1)) {
      if (shape.region || result.objects[shape.index] !== MISSED || (state.label >= 0 && shape.label !== state.label)) continue;
      drawn.unshift([shape, { color: KINDS[MISSED].color, kind: MISSED, dashed: true, hollow: true }]);
    }
  }
  if (which >= 0) { // regions where detections are ignored
    for (const shape of panelShapes(data, scene, -1)) if (shape.region) drawn.unshift([shape, { color: "#ffffff", region: true, hollow: true }]);
  }
  const toScreen = () => {
    const unit = s / scene.u;
    context.setTransform(pixelRatio * unit, 0, 0, pixelRatio * unit, pixelRatio * (vx * s + view.left), pixelRatio * (vy * s + view.top));
    return unit;
  };
  for (const [shape, style] of drawn) {
    if (!style) continue;
    const box = [shape.x * s + view.left, shape.y * s + view.top, shape.w * s, shape.h * s];
    if (box[0] > width / pixelRatio || box[1] > height / pixelRatio || box[0] + box[2] < 0 || box[1] + box[3] < 0) continue;
    drawShape(context, state, shape, style, box, toScreen, line, pixelRatio);
    const focus = panel.focus && !style.hollow && shape.index === (which < 0 ? panel.focus.object : which === 0 ? panel.focus.detection : null);
    if (focus) labels.push({ frame: box });
    if (run) shape.score = style.hollow ? 0 : run.q[shape.index];
    if (!style.hollow) labels.push({ box, texts: shapeText(data, state, which, shape), color: style.color });
  }
  if (panel.mark) labels.push({ frame: [panel.mark[0] * s + view.left, panel.mark[1] * s + view.top, panel.mark[2] * s, panel.mark[3] * s] });
  context.restore();
  context.setTransform(pixelRatio, 0, 0, pixelRatio, 0, 0);
  drawLabels(context, labels);
}

function drawShape(context, state, shape, style, box, toScreen, line, pixelRatio) {
  const path = shape.path;
  const dash = style.dashed ? [4, 3] : [];
  if (path && (style.region || (state.fill && !style.hollow))) {
    toScreen();
    context.fillStyle = style.color;
    context.globalAlpha = style.region ? (style.hollow ? 0.6 : 1) : 0.32;
    if (style.region) {
      context.fillStyle = hatchPattern(context, shape.region);
      context.fillStyle.setTransform(context.getTransform().inverse().scale(pixelRatio));
    }
    context.fill(path, "evenodd");
    context.globalAlpha = 1;
  }
  if (path && (state.outline || style.hollow)) {
    const unit = toScreen();
    for (const [color, extra] of [[HALO, 1.2], [style.color, 0]]) {
      context.strokeStyle = color;
      context.lineWidth = (line + extra) / unit;
      context.setLineDash(extra ? [] : dash.map((length) => length / unit));
      context.lineJoin = "round";
      if (!extra || !style.dashed) context.stroke(path);
    }
  }
  context.setTransform(pixelRatio, 0, 0, pixelRatio, 0, 0);
  if (state.boxes || !path) {
    context.setLineDash(path || style.dashed ? [4, 3] : []);
    context.lineWidth = 1.2;
    context.strokeStyle = style.color;
    context.strokeRect(...box);
  }
  context.setLineDash([]);
}

// Texts where they fit into their box and do not cover each other, and frames around what an example is about.
function drawLabels(context, labels) {
  context.font = FONT;
  context.textBaseline = "top";
  const taken = [];
  for (const { frame } of labels) {
    if (!frame) continue;
    const [x, y, w, h] = [frame[0] - 5, frame[1] - 5, frame[2] + 10, frame[3] + 10];
    const arm = Math.min(12, w / 3, h / 3);
    for (const [color, width] of [[HALO, 4], ["#ffffff", 2]]) {
      context.strokeStyle = color;
      context.lineWidth = width;
      context.beginPath();
      for (const [cx, cy, dx, dy] of [[x, y, 1, 1], [x + w, y, -1, 1], [x, y + h, 1, -1], [x + w, y + h, -1, -1]]) {
        context.moveTo(cx + dx * arm, cy);
        context.lineTo(cx, cy);
        context.lineTo(cx, cy + dy * arm);
      }
      context.stroke();
    }
  }
  for (const { box, texts, color } of labels) {
    if (!texts || box[3] < 15) continue;
    const text = texts.find((one) => context.measureText(one).width + 6 <= box[2]);
    if (!text) continue;
    const width = context.measureText(text).width + 6;
    const place = [box[0] + (box[2] - width) / 2, box[1] + (box[3] - 14) / 2, width, 14];
    if (taken.some((t) => t[0] < place[0] + place[2] && place[0] < t[0] + t[2] && t[1] < place[1] + place[3] && place[1] < t[1] + t[3])) continue;
    taken.push(place);
    context.fillStyle = "rgba(8,12,18,.86)";
    context.beginPath();
    context.roundRect(...place, 3);
    context.fill();
    context.fillStyle = color;
    context.fillText(text, place[0] + 3, place[1] + 2);
  }
}
