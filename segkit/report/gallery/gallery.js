// One gallery of the page: its data, its toolbar and its keys.
class Gallery {
  constructor(element) {
    this.element = element;
    this.data = JSON.parse(element.querySelector("script").textContent);
    this.dock = element.querySelector(".g-dock");
    this.state = { threshold: this.data.threshold, label: -1, text: "", fill: true, outline: true, boxes: false, scores: true, errors: false, byClass: false };
    this.results = new Map(); // by image and run, of the present threshold
    this.pictures = new Map(); // by scene, promises
    this.lightbox = new Lightbox(this);
    this.figures = [...element.querySelectorAll("figure")].map((figure) => new Figure(this, figure));
    this.keys = element.querySelector(".g-keys");
    this.bindToolbar();
    this.legend();
    this.filter();
    this.watch();
  }
  find(selector) {
    return this.element.querySelector(selector);
  }
  className(label) {
    return label < 0 ? "" : this.data.classes.length > 1 || label >= this.data.classes.length ? ` ${this.data.classes[label] || "of no class"}` : "";
  }
  result(image, run) {
    const key = `${image}/${run}`, { t, r } = this.data.images[image];
    if (!r[run]) return null;
    if (!this.results.has(key)) this.results.set(key, matchImage(t, r[run], this.state.threshold));
    return this.results.get(key);
  }
  picture(scene) {
    if (!this.pictures.has(scene)) {
      const picture = new Image();
      picture.src = this.data.scenes[scene].px;
      this.pictures.set(scene, picture.decode().then(() => picture, () => null));
      if (this.pictures.size > 80) this.pictures.delete(this.pictures.keys().next().value);
    }
    return this.pictures.get(scene);
  }
  shown() {
    return this.figures.filter((figure) => !figure.element.hidden);
  }
  bindToolbar() {
    for (const button of this.element.querySelectorAll("[data-toggle]")) button.addEventListener("click", () => this.toggle(button.dataset.toggle));
    const range = this.find("[data-threshold]"), number = this.find("[data-threshold-number]");
    range.addEventListener("input", () => this.setThreshold(Number(range.value)));
    number.addEventListener("input", () => number.value !== "" && number.validity.valid && this.setThreshold(Number(number.value), true));
    const classes = this.find("[data-class]");
    if (classes) classes.addEventListener("input", () => { this.state.label = Number(classes.value); this.refresh(); });
    this.find("[data-search]").addEventListener("input", (event) => { this.state.text = event.target.value.trim().toLowerCase(); this.filter(); });
    this.find("[data-help]").addEventListener("click", () => this.keys.showModal());
    this.find("[data-close-keys]").addEventListener("click", () => this.keys.close());
  }
  watch() {
    const near = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const figure = this.figures.find((one) => one.element === target);
        figure.visible = isIntersecting;
        if (isIntersecting) figure.draw();
        else figure.release();
      }
    }, { rootMargin: "300px" });
    const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => {
      const figure = this.figures.find((one) => one.element === target.closest("figure"));
      if (figure.element.dataset.drawn !== undefined) figure.draw();
    }));
    for (const figure of this.figures) {
      near.observe(figure.element);
      sizes.observe(figure.open);
    }
    const draw = () => this.figures.filter((figure) => figure.pinned).forEach((figure) => figure.draw());
    if (window.requestIdleCallback) requestIdleCallback(draw, { timeout: 1500 });
    else setTimeout(draw, 300);
  }
  toggle(name) {
    const button = this.find(`[data-toggle=${name}]`);
    if (!button) return;
    this.state[name] = !this.state[name];
    button.setAttribute("aria-pressed", String(this.state[name]));
    this.legend();
    this.update();
  }
  setThreshold(value, typed = false) {
    this.state.threshold = Math.min(1, Math.max(0, thresholdSteps(value) / STEPS));
    this.find("[data-threshold]").value = String(this.state.threshold);
    if (!typed) this.find("[data-threshold-number]").value = String(this.state.threshold);
    this.results.clear();
    this.refresh();
  }
  refresh() {
    this.figures.forEach((figure) => figure.count());
    this.filter();
    this.update();
  }
  // Draws again what is on the screen, once a frame.
  update() {
    if (this.lightbox.isOpen) {
      this.lightbox.fill();
      this.lightbox.paint();
    }
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.figures.forEach((figure) => figure.visible && !figure.element.hidden && figure.draw());
    });
    clearTimeout(this.later); // those that are only kept for printing
    this.later = setTimeout(() => this.figures.forEach((figure) => !figure.visible && figure.pinned && figure.draw()), 500);
  }
  legend() {
    const legend = this.find("[data-legend]"), kinds = [RIGHT, MISSED, FALSE, DUPLICATE, ...(this.data.classes.length > 1 ? [WRONG_CLASS] : []), IGNORED];
    const entry = (name, color) => {
      const item = make("span"), dot = make("i", "", "g-dot");
      dot.style.background = color;
      item.append(dot, name);
      return item;
    };
    const shown = this.state.errors ? kinds.map((kind) => entry(KINDS[kind].name, KINDS[kind].color)) : this.state.byClass ? this.data.classes.map((name, label) => entry(name, this.data.colors[label])) : [];
    legend.replaceChildren(...shown);
    legend.hidden = !shown.length;
  }
  filter() {
    const { text, label } = this.state;
    for (const figure of this.figures) figure.element.hidden = !figure.fits(text, label);
    for (const group of this.element.querySelectorAll(".g-group")) {
      const all = group.querySelectorAll("figure").length, left = group.querySelectorAll("figure:not([hidden])").length;
      group.querySelector("[data-shown]").textContent = left < all ? `${left} of ${all}` : String(all);
      group.hidden = !left;
    }
    const shown = this.shown();
    this.find("[data-none]").hidden = shown.length > 0;
    this.total(new Set(shown.map((figure) => figure.scene.i)));
  }
  total(images) {
    const sums = this.data.runs.map((name, r) => {
      const sum = { tp: 0, fp: 0, fn: 0 };
      for (const i of images) {
        const { t, r: runs } = this.data.images[i];
        if (!runs[r]) continue;
        const counts = countErrors(t, runs[r], this.result(i, r), this.state.label);
        for (const key of Object.keys(sum)) sum[key] += counts[key];
      }
      const head = this.data.runs.length > 1 ? `${name}: ` : "";
      return `${head}${sum.tp} found, ${sum.fn} missed, ${sum.fp} false`;
    });
    this.find("[data-total]").textContent = `${images.size} image${images.size === 1 ? "" : "s"}: ${sums.join("; ")}`;
  }
  // Whether keys are for this gallery: it is open, has the focus, or is in the middle of the window.
  listens(target) {
    if (document.querySelector("dialog[open]")) return this.lightbox.isOpen || this.keys.open;
    const box = this.element.getBoundingClientRect(), middle = window.innerHeight / 2;
    return this.element.contains(target) || (box.top < middle && box.bottom > middle);
  }
  press(event) {
    const { key } = event, box = this.lightbox, toggles = { m: "fill", o: "outline", b: "boxes", s: "scores", e: "errors", c: "byClass" };
    const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (this.keys.open) {
      if (key !== "?") return false;
      this.keys.close();
    } else if (toggles[key.toLowerCase()]) this.toggle(toggles[key.toLowerCase()]);
    else if (key === "[" || key === "]") this.setThreshold(Math.round((this.state.threshold + (key === "]" ? 0.05 : -0.05)) * 1000) / 1000);
    else if (key === "?") this.keys.showModal();
    else if (key === "/") this.find("[data-search]").focus();
    else if (!box.isOpen) return false;
    else if (event.shiftKey && moves[key]) box.viewport.panBy(...moves[key]);
    else if (key === "ArrowLeft" || key === "ArrowRight") box.step(key === "ArrowLeft" ? -1 : 1);
    else if (key === "+" || key === "=") box.viewport.zoomBy(1.4);
    else if (key === "-") box.viewport.zoomBy(1 / 1.4);
    else if (key === "0") box.viewport.reset();
    else if (key === "f") box.fullScreen();
    else if (key === "v") box.flip();
    else return false;
    return true;
  }
}

const galleries = [...document.querySelectorAll("[data-gallery]")].map((element) => new Gallery(element));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, textarea")) return;
  if (event.target.closest("input") && !(event.target.type === "range" && !event.key.startsWith("Arrow"))) return;
  for (const one of galleries) if (one.listens(event.target) && one.press(event)) return event.preventDefault();
});
addEventListener("beforeprint", () => {
  for (const one of galleries) for (const figure of one.figures) if (figure.pinned) figure.draw();
});
for (const one of galleries) one.element.dataset.ready = ""; // every line above has run
