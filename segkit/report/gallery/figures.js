// The pictures of the groups. They are decoded and drawn when they come near the screen, and released when they leave it.
const PRINTED = 4, PRINTED_CROPS = 6; // pictures of a group that stay drawn, for printing
const pixelRatio = () => Math.min(3, Math.max(2, window.devicePixelRatio || 1));

function fitView(canvas, area) {
  const scale = Math.min(canvas.clientWidth / area[2], canvas.clientHeight / area[3]);
  return {
    scale,
    left: (canvas.clientWidth - area[2] * scale) / 2 - area[0] * scale,
    top: (canvas.clientHeight - area[3] * scale) / 2 - area[1] * scale,
  };
}

// Canvases with their titles: ground truth and each run.
function makePanels(data, scene, item) {
  const focus = "o" in item ? { object: item.o, detection: item.d } : null;
  return [-1, ...data.runs.keys()].map((which) => {
    const element = document.createElement("span"), canvas = document.createElement("canvas"), title = document.createElement("i");
    element.className = "g-panel";
    title.textContent = which < 0 ? "ground truth" : data.runs.length > 1 ? data.runs[which] : "detections";
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${data.images[scene.i].n}, ${title.textContent}`);
    element.append(canvas, title);
    if (which >= 0 && !data.images[scene.i].r[which]) title.textContent += ": no results";
    return { element, canvas, which, scene, focus };
  });
}

function paintPanel(gallery, panel, view, picture) {
  const { canvas } = panel, ratio = pixelRatio();
  const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
  if (!width || !height) return;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  // Ground truth has the errors of the first run.
  panel.result = gallery.result(panel.scene.i, Math.max(panel.which, 0));
  drawPanel(canvas.getContext("2d"), gallery.data, gallery.state, panel, view, picture, ratio);
}

class Figure {
  constructor(gallery, element) {
    this.gallery = gallery;
    this.element = element;
    this.item = gallery.data.items[Number(element.dataset.item)];
    this.scene = gallery.data.scenes[this.item.s];
    this.image = gallery.data.images[this.scene.i];
    this.area = this.item.f || this.scene.v;
    this.visible = false;
    this.counts = element.querySelector(".g-counts");
    this.panels = makePanels(gallery.data, this.scene, this.item);
    this.open = element.querySelector(".g-open");
    for (const { canvas } of this.panels) canvas.style.aspectRatio = `${this.area[2]} / ${this.area[3]}`;
    const [, , w, h] = this.area;
    element.style.setProperty("--ratio", String(Math.min(2.6, Math.max(0.4, w / h))));
    this.open.append(...this.panels.map((panel) => panel.element));
    this.open.addEventListener("click", () => gallery.lightbox.open(this));
    this.pinned = [...element.parentElement.children].indexOf(element) < (this.item.f ? PRINTED_CROPS : PRINTED);
    this.count();
  }
  count() {
    if (this.item.f) return this.describe();
    const { gallery, image, scene } = this;
    const texts = image.r.map((run, r) => {
      if (!run) return "no results";
      const { tp, fp, fn, f1 } = countErrors(image.t, run, gallery.result(scene.i, r), gallery.state.label);
      const head = gallery.data.runs.length > 1 ? `${gallery.data.runs[r]}: ` : "";
      return `${head}${tp} found, ${fn} missed, ${fp} false${f1 === null ? "" : `, F1 ${f1.toFixed(2)}`}`;
    });
    this.counts.textContent = texts.join("; ");
  }
  // What an example is about.
  describe() {
    const { gallery, item, image } = this, run = image.r[0], texts = [];
    if (item.o !== null) texts.push(`object${gallery.className(image.t.l[item.o])}`);
    if (item.d !== null && run) texts.push(`detection${gallery.className(run.l[item.d])} ${(run.q[item.d] / STEPS).toFixed(2)}`);
    this.counts.textContent = texts.join(", ");
  }
  async draw() {
    if (!this.visible && !this.pinned) return;
    const wanted = (this.turn = (this.turn || 0) + 1);
    const picture = await this.gallery.picture(this.item.s);
    if (wanted !== this.turn || (!this.visible && !this.pinned)) return;
    this.paint(picture);
  }
  paint(picture) {
    for (const panel of this.panels) paintPanel(this.gallery, panel, fitView(panel.canvas, this.area), picture);
    this.element.dataset.drawn = "";
  }
  release() {
    if (this.pinned) return;
    for (const { canvas } of this.panels) canvas.width = canvas.height = 0;
    delete this.element.dataset.drawn;
  }
  fits(text, label) {
    if (!this.image.n.toLowerCase().includes(text)) return false;
    if (label < 0) return true;
    const at = (labels) => labels.includes(label);
    return at(this.image.t.l) || this.image.r.some((run, r) => run && run.l.some((own, d) => own === label && this.gallery.result(this.scene.i, r).detections[d] !== HIDDEN));
  }
}
