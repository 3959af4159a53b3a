"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const remembered = (key, value) => {
    try {
      if (value === undefined) return localStorage.getItem(key);
      localStorage.setItem(key, value);
    } catch { /* a page from a file may have no storage */ }
    return null;
  };

  // Theme: as the system says, until the button is used.
  const themeButton = document.getElementById("theme");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  function showTheme() {
    themeButton.textContent = isDark() ? "light" : "dark";
    themeButton.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
  }
  function setTheme(theme) {
    root.dataset.theme = theme;
    remembered("segkit-report-theme", theme);
    showTheme();
  }
  const known = remembered("segkit-report-theme");
  if (known === "dark" || known === "light") root.dataset.theme = known;
  showTheme();
  themeButton.addEventListener("click", () => setTheme(isDark() ? "light" : "dark"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);

  // Chips that hide the lines of a run, or the raw values.
  const sheet = document.head.appendChild(document.createElement("style")).sheet;
  const rules = new Map();
  function hide(css, off) {
    if (off && !rules.has(css)) {
      const index = sheet.insertRule(`svg .${css}{display:none}`, sheet.cssRules.length);
      rules.set(css, sheet.cssRules[index]);
    } else if (!off && rules.has(css)) {
      sheet.deleteRule([...sheet.cssRules].indexOf(rules.get(css)));
      rules.delete(css);
    }
  }
  for (const chip of all("button.chip")) {
    chip.addEventListener("click", () => {
      const off = chip.getAttribute("aria-pressed") === "true";
      for (const other of all(`button.chip[data-hides="${chip.dataset.hides}"]`)) other.setAttribute("aria-pressed", String(!off));
      hide(chip.dataset.hides, off);
    });
  }

  // Readout of line charts: pointer, touch, or arrow keys.
  const ns = "http://www.w3.org/2000/svg";
  function scale(text) {
    const [low, high, start, end] = text.split(" ").map(Number);
    const clip = (v) => Math.min(Math.max(v, low), high);
    return {
      to: (v) => start + ((clip(v) - low) / (high - low)) * (end - start),
      from: (at) => low + ((at - start) / (end - start)) * (high - low),
      start, end,
    };
  }
  function nearest(values, at) {
    let low = 0, high = values.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (values[middle] <= at) low = middle; else high = middle;
    }
    return Math.abs(values[high] - at) < Math.abs(values[low] - at) ? high : low;
  }
  const shown = (v) => (v === 0 ? "0" : Math.abs(v) >= 1e4 ? Math.round(v).toLocaleString("en") : String(Number(v.toPrecision(4))));
  for (const svg of all("svg.lines[data-x]")) {
    const x = scale(svg.dataset.x), y = scale(svg.dataset.y);
    const figure = svg.closest("figure");
    const title = svg.querySelector("title"); // a tooltip would cover the readout
    svg.setAttribute("aria-label", `${title.textContent}. ${svg.querySelector("desc").textContent}`);
    title.remove();
    let lines = null, cross = null, box = null, at = null;
    function prepare() {
      lines = all("path[data-xs]", svg).map((path) => ({
        path, name: path.dataset.name, xs: JSON.parse(path.dataset.xs), ys: JSON.parse(path.dataset.ys), css: path.parentNode.classList,
      }));
      cross = svg.appendChild(document.createElementNS(ns, "g"));
      box = figure.appendChild(document.createElement("div"));
      box.className = "readout";
      box.setAttribute("role", "status");
    }
    function show(value) {
      if (!lines) prepare();
      const visible = lines.filter((line) => getComputedStyle(line.path.parentNode).display !== "none");
      if (!visible.length) return leave();
      const longest = visible.reduce((a, b) => (b.xs.length > a.xs.length ? b : a));
      at = longest.xs[nearest(longest.xs, value)];
      const across = x.to(at);
      cross.replaceChildren();
      const rule = cross.appendChild(document.createElementNS(ns, "line"));
      rule.setAttribute("class", "cross");
      for (const [key, v] of [["x1", across], ["x2", across], ["y1", y.start], ["y2", y.end]]) rule.setAttribute(key, v);
      const head = document.createElement("b");
      head.textContent = `${svg.dataset.label} ${shown(at)}`;
      const rows = [];
      for (const line of visible) {
        if (at < line.xs[0] || at > line.xs[line.xs.length - 1]) continue;
        const i = nearest(line.xs, at);
        if (line.ys[i] === null) continue;
        const ink = [...line.css].find((name) => /^c\d$/.test(name));
        const spot = cross.appendChild(document.createElementNS(ns, "circle"));
        spot.setAttribute("class", `spot ${ink}`);
        for (const [key, v] of [["cx", x.to(line.xs[i])], ["cy", y.to(line.ys[i])], ["r", 3.6]]) spot.setAttribute(key, v);
        const row = document.createElement("div");
        row.className = ink;
        row.append(document.createElement("i"), document.createElement("span"), document.createElement("b"));
        row.children[1].textContent = line.name;
        row.children[2].textContent = shown(line.ys[i]);
        rows.push(row);
      }
      box.replaceChildren(head, ...rows);
      box.hidden = false;
      const share = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
      const left = svg.offsetLeft || svg.getBoundingClientRect().left - figure.getBoundingClientRect().left;
      const room = figure.clientWidth, wide = box.offsetWidth, spotAt = left + across * share;
      box.style.left = `${Math.max(4, Math.min(spotAt + 12 + wide < room ? spotAt + 12 : spotAt - 12 - wide, room - wide - 4))}px`;
      box.style.top = "38px";
    }
    function leave() {
      if (!lines) return;
      cross.replaceChildren();
      box.hidden = true;
      at = null;
    }
    svg.addEventListener("pointermove", (event) => {
      const frame = svg.getBoundingClientRect();
      show(x.from(((event.clientX - frame.left) / frame.width) * svg.viewBox.baseVal.width));
    });
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") return leave();
      if (!step) return;
      if (!lines) prepare();
      const xs = lines.reduce((a, b) => (b.xs.length > a.xs.length ? b : a)).xs;
      const i = at === null ? (step > 0 ? 0 : xs.length - 1) : nearest(xs, at) + step * Math.max(1, Math.round(xs.length / 60));
      show(xs[Math.min(Math.max(i, 0), xs.length - 1)]);
      event.preventDefault();
    });
  }

  // Copies a command.
  for (const button of all(".command button")) {
    button.addEventListener("click", async () => {
      const pre = button.parentNode.querySelector("pre");
      try {
        await navigator.clipboard.writeText(pre.textContent);
        button.textContent = "copied";
      } catch { // no clipboard for pages from files: selected, for Ctrl-C
        getSelection().selectAllChildren(pre);
        button.textContent = "selected";
      }
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
  }

  // Sorts a table by a column.
  const valueOf = (cell) => {
    const text = cell.dataset.value ?? cell.textContent.trim();
    return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text.toLowerCase();
  };
  for (const button of all("table.sortable th button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th"), body = head.closest("table").tBodies[0];
      const rising = head.getAttribute("aria-sort") === "descending";
      for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [valueOf(row.cells[head.cellIndex]), row]);
      rows.sort(([a], [b]) => (typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1) * (rising ? 1 : -1));
      body.append(...rows.map(([, row]) => row));
    });
  }

  // The section in view, marked in the contents.
  const links = new Map(all(".contents a").map((link) => [link.hash.slice(1), link]));
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) { link.classList.remove("here"); link.removeAttribute("aria-current"); }
      const link = links.get(entry.target.id);
      if (!link) continue;
      link.classList.add("here");
      link.setAttribute("aria-current", "true");
      const bar = link.parentNode;
      if (bar.scrollWidth > bar.clientWidth) bar.scrollLeft = link.offsetLeft - bar.clientWidth / 2 + link.offsetWidth / 2;
    }
  }, { rootMargin: "-15% 0px -75% 0px" });
  for (const section of all("main > section")) watcher.observe(section);

  // A printed page has its details unfolded.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details:not([open])").filter((part) => !part.hasAttribute("data-no-print"));
    for (const part of folded) part.open = true;
  });
  addEventListener("afterprint", () => { for (const part of folded) part.open = false; });

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
    if (event.key === "t" && !document.querySelector("dialog[open]")) themeButton.click();
  });
  document.body.dataset.ready = ""; // every line above has run
})();
