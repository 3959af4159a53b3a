// The enlarged picture, with its counts and the list of its errors.
const ERROR_ORDER = [MISSED, FALSE, DUPLICATE, WRONG_CLASS];

function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

class Lightbox {
  constructor(gallery) {
    this.gallery = gallery;
    this.dialog = gallery.element.querySelector(".g-box");
    this.stage = this.dialog.querySelector(".g-stage");
    this.side = this.dialog.querySelector(".g-side");
    this.status = this.dialog.querySelector(".g-status");
    const actions = {
      back: () => this.step(-1), next: () => this.step(1), close: () => this.dialog.close(), full: () => this.fullScreen(), flip: () => this.flip(),
      out: () => this.viewport.zoomBy(1 / 1.4), in: () => this.viewport.zoomBy(1.4), reset: () => this.viewport.reset(),
    };
    for (const button of this.dialog.querySelectorAll("[data-act]")) button.addEventListener("click", actions[button.dataset.act]);
    this.dialog.addEventListener("close", () => this.closed());
    new ResizeObserver(() => this.viewport && this.viewport.resized()).observe(this.stage);
  }
  get isOpen() {
    return this.dialog.open;
  }
  async open(figure) {
    this.figure = figure;
    const { gallery } = this, { data } = gallery, { scene, item, image } = figure;
    this.dialog.querySelector("[data-name]").textContent = image.n;
    const shown = gallery.shown();
    this.dialog.querySelector("[data-place]").textContent = `${shown.indexOf(figure) + 1} of ${shown.length}`;
    this.panels = makePanels(data, scene, item);
    this.stage.replaceChildren(...this.panels.map((panel) => panel.element));
    if (this.solo === undefined) this.solo = matchMedia("(max-width:760px)").matches ? 1 : -1;
    this.showSolo();
    this.viewport = new Viewport(() => this.paint(), (...place) => this.say(...place), (...place) => this.hover(...place));
    for (const { canvas } of this.panels) this.viewport.attach(canvas);
    this.picture = null;
    if (!this.isOpen) {
      this.dialog.querySelector(".g-slot").append(gallery.dock);
      this.dialog.showModal();
    }
    this.fill();
    this.status.textContent = "";
    this.viewport.show(item.f || scene.v, scene.v);
    const picture = await gallery.picture(item.s);
    if (this.figure !== figure) return;
    this.picture = picture;
    this.paint();
  }
  closed() {
    if (document.fullscreenElement) document.exitFullscreen();
    this.gallery.element.querySelector("noscript").before(this.gallery.dock);
    this.figure.element.scrollIntoView({ block: "nearest" });
    this.figure.open.focus();
    this.gallery.update();
  }
  step(by) {
    const shown = this.gallery.shown(), next = shown[shown.indexOf(this.figure) + by];
    if (next) this.open(next);
  }
  // Shows one panel after the other, then all: solo is the position of the panel, -1 for all.
  flip() {
    this.solo = this.solo + 1 < this.panels.length ? this.solo + 1 : -1;
    this.showSolo();
    this.viewport.resized();
  }
  showSolo() {
    this.stage.toggleAttribute("data-solo", this.solo >= 0);
    this.panels.forEach((panel, index) => panel.element.classList.toggle("g-solo", index === this.solo));
  }
  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.dialog.requestFullscreen().catch(() => { this.status.textContent = "This browser allows no full screen here."; });
  }
  paint() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (!this.isOpen || !this.viewport.limits) return;
      const view = this.viewport.view();
      for (const panel of this.panels) paintPanel(this.gallery, panel, view, this.picture);
      this.dialog.dataset.zoom = this.viewport.zoom.toFixed(3);
    });
  }
  // The side panel: figures of each run and its errors in this picture.
  fill() {
    const { gallery, figure } = this, { data, state } = gallery, { image, scene } = figure;
    const parts = [];
    image.r.forEach((run, r) => {
      if (data.runs.length > 1) parts.push(make("h4", data.runs[r]));
      if (!run) return parts.push(make("p", "No results of this image."));
      const result = gallery.result(scene.i, r), counts = countErrors(image.t, run, result, state.label);
      const list = make("dl", "", "g-figures");
      const rows = [["found", counts.tp], ["missed", counts.fn], ["false", counts.fp], ["F1", counts.f1 === null ? "–" : counts.f1.toFixed(3)]];
      if (run.a !== null) rows.push(["AP at IoU 0.5", run.a.toFixed(3)]);
      for (const [name, value] of rows) list.append(make("dt", name), make("dd", String(value)));
      parts.push(list, this.errorList(run, result, r));
    });
    if (scene.v[2] < image.s[0] || scene.v[3] < image.s[1]) parts.unshift(make("p", "The picture is a part of the image; the counts are of the whole image.", "g-text"));
    this.side.replaceChildren(...parts);
  }
  errorList(run, result, r) {
    const { gallery } = this, { data, state } = gallery, rows = [];
    const fits = (shape) => !shape.region && (state.label < 0 || shape.label < 0 || shape.label === state.label);
    for (const shape of panelShapes(data, this.figure.scene, -1)) {
      if (fits(shape) && result.objects[shape.index] === MISSED) rows.push({ kind: MISSED, shape, order: -shape.w * shape.h, text: `#${shape.index}${gallery.className(shape.label)}`, title: `Zoom to object ${shape.index}` });
    }
    for (const shape of panelShapes(data, this.figure.scene, r)) {
      const kind = result.detections[shape.index];
      if (fits(shape) && kind > RIGHT && kind !== IGNORED) rows.push({ kind, shape, order: -run.q[shape.index], text: `${(run.q[shape.index] / STEPS).toFixed(2)}${gallery.className(shape.label)}`, title: `Zoom to detection ${shape.index}, by its score` });
    }
    rows.sort((a, b) => ERROR_ORDER.indexOf(a.kind) - ERROR_ORDER.indexOf(b.kind) || a.order - b.order);
    const box = make("div", "", "g-errors");
    if (!rows.length) box.append(make("p", "No errors in this picture.", "g-text"));
    for (const kind of ERROR_ORDER) {
      const own = rows.filter((row) => row.kind === kind);
      if (!own.length) continue;
      const title = make("h5", `${KINDS[kind].name} `), list = make("ul"), dot = make("i", "", `g-dot g-kind${kind}`);
      title.prepend(dot);
      title.append(make("small", String(own.length)));
      for (const row of own) {
        const line = make("li"), button = make("button", row.text);
        button.type = "button";
        button.title = row.title;
        button.addEventListener("click", () => this.zoomTo(row.shape));
        line.append(button);
        list.append(line);
      }
      box.append(title, list);
    }
    return box;
  }
  zoomTo(shape) {
    const side = 3 * Math.max(shape.w, shape.h, 4), limits = this.viewport.limits;
    for (const panel of this.panels) panel.mark = [shape.x, shape.y, shape.w, shape.h];
    this.viewport.show([shape.x + shape.w / 2 - side / 2, shape.y + shape.h / 2 - side / 2, side, side], limits);
    this.viewport.clamp();
    this.stage.scrollIntoView({ block: "nearest" });
  }
  find(canvas, x, y) {
    const panel = this.panels.find((one) => one.canvas === canvas), { scene } = panel, view = this.viewport.view();
    const px = (x - view.left) / view.scale, py = (y - view.top) / view.scale, context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    const inside = panelShapes(this.gallery.data, scene, panel.which).filter((shape) => px >= shape.x && py >= shape.y && px <= shape.x + shape.w && py <= shape.y + shape.h
      && shapeStyle(this.gallery.data, this.gallery.state, panel.result, panel.which, shape)
      && (!shape.path || context.isPointInPath(shape.path, (px - scene.v[0]) * scene.u, (py - scene.v[1]) * scene.u, "evenodd")));
    return [panel, inside.pop()];
  }
  hover(canvas, x, y) {
    if (canvas) canvas.style.cursor = this.find(canvas, x, y)[1] ? "pointer" : "grab";
  }
  say(canvas, x, y) {
    const [panel, shape] = this.find(canvas, x, y);
    for (const one of this.panels) one.mark = shape ? [shape.x, shape.y, shape.w, shape.h] : null;
    this.status.textContent = shape ? this.text(panel, shape) : "";
    this.paint();
  }
  text(panel, shape) {
    const { gallery } = this, { result, which } = panel, size = `${Math.round(shape.w)} x ${Math.round(shape.h)} pixels`;
    const name = gallery.className(shape.label);
    if (shape.region) return `Region ${shape.index}${name}: detections there are ignored, ${size}`;
    if (which < 0) return `Object ${shape.index}${name}, ${size}${result ? `: ${result.objects[shape.index] === MISSED ? "missed" : "found"}` : ""}`;
    const run = this.figure.image.r[which], kind = result.detections[shape.index];
    const near = result.matched[shape.index] >= 0 ? result.matched[shape.index] : result.near[shape.index];
    const overlap = near >= 0 ? `, IoU ${result.iou[shape.index].toFixed(2)} with object ${near}` : "";
    return `Detection ${shape.index}${name}, score ${(run.q[shape.index] / STEPS).toFixed(3)}, ${size}: ${KINDS[kind].name}${overlap}`;
  }
}
