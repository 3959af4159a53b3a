// Zoom and pan that several canvases share: wheel, drag, pinch, double click.
class Viewport {
  // changed() is called when the view has changed, clicked(canvas, x, y) on a click without a drag.
  constructor(changed, clicked, hovered) {
    Object.assign(this, { changed, clicked, hovered, canvases: [], pointers: new Map(), zoom: 1, x: 0, y: 0, fit: [0, 0, 1, 1] });
  }
  // Shows the area [x, y, w, h] of an image; limits: the area that zooming out ends at.
  show(area, limits) {
    this.limits = limits;
    const size = this.size();
    this.base = Math.min(size.width / limits[2], size.height / limits[3]);
    this.zoom = Math.min(60, Math.max(1, Math.min(size.width / area[2], size.height / area[3]) / this.base));
    this.x = area[0] + area[2] / 2;
    this.y = area[1] + area[3] / 2;
    this.changed();
  }
  size() {
    const canvas = this.canvases.find((one) => one.clientWidth) || this.canvases[0];
    return { width: Math.max(1, canvas.clientWidth), height: Math.max(1, canvas.clientHeight) };
  }
  resized() {
    if (!this.limits || !this.canvases.length) return;
    const size = this.size();
    this.base = Math.min(size.width / this.limits[2], size.height / this.limits[3]);
    this.changed();
  }
  view() {
    const { width, height } = this.size(), scale = this.base * this.zoom;
    return { scale, left: width / 2 - this.x * scale, top: height / 2 - this.y * scale };
  }
  zoomBy(factor, at = null) {
    const { width, height } = this.size(), before = this.view();
    const [px, py] = at || [width / 2, height / 2];
    const ix = (px - before.left) / before.scale, iy = (py - before.top) / before.scale;
    this.zoom = Math.min(60, Math.max(1, this.zoom * factor));
    const scale = this.base * this.zoom;
    this.x = ix - (px - width / 2) / scale;
    this.y = iy - (py - height / 2) / scale;
    this.clamp();
  }
  panBy(dx, dy) {
    this.x -= dx / (this.base * this.zoom);
    this.y -= dy / (this.base * this.zoom);
    this.clamp();
  }
  reset() {
    this.show(this.limits, this.limits);
  }
  clamp() {
    const [x, y, w, h] = this.limits, { width, height } = this.size(), scale = this.base * this.zoom;
    const keep = (value, start, length, screen) => {
      const half = Math.min(length / 2, screen / scale / 2);
      return Math.min(start + length - half, Math.max(start + half, value));
    };
    this.x = keep(this.x, x, w, width);
    this.y = keep(this.y, y, h, height);
    this.changed();
  }
  attach(canvas) {
    this.canvases.push(canvas);
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), at(event));
    }, { passive: false });
    canvas.addEventListener("dblclick", (event) => this.zoomBy(event.shiftKey ? 0.5 : 2, at(event)));
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, at(event));
      this.moved = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const last = this.pointers.get(event.pointerId), now = at(event);
      if (!last) return this.hovered(canvas, ...now);
      const other = [...this.pointers].find(([id]) => id !== event.pointerId);
      this.moved += Math.abs(now[0] - last[0]) + Math.abs(now[1] - last[1]);
      this.pointers.set(event.pointerId, now);
      if (!other) return this.panBy(now[0] - last[0], now[1] - last[1]);
      const [, fixed] = other, length = (a) => Math.hypot(a[0] - fixed[0], a[1] - fixed[1]) || 1;
      this.zoomBy(length(now) / length(last), [(now[0] + fixed[0]) / 2, (now[1] + fixed[1]) / 2]);
      this.panBy((now[0] - last[0]) / 2, (now[1] - last[1]) / 2);
    });
    const release = (event) => {
      if (this.pointers.delete(event.pointerId) && event.type === "pointerup" && this.moved < 6) this.clicked(canvas, ...at(event));
    };
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("pointerleave", () => this.hovered(null));
  }
}
