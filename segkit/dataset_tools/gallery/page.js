"use strict";
const byId = (id) => document.getElementById(id);
const cards = [...document.querySelectorAll("article")];
const classes = [...document.querySelectorAll("button.class")];
const zoom = byId("zoom");
const rules = document.styleSheets[0];
const hidden = new Map(); // label -> its CSS rule that hides it
let current = -1;

function hide(button, off) {
  const label = button.dataset.label;
  button.setAttribute("aria-pressed", String(!off));
  if (off && !hidden.has(label)) {
    const index = rules.insertRule(`g.c${label}{display:none}`, rules.cssRules.length);
    hidden.set(label, rules.cssRules[index]);
  } else if (!off && hidden.has(label)) {
    rules.deleteRule([...rules.cssRules].indexOf(hidden.get(label)));
    hidden.delete(label);
  }
}
function toggleClass(button) {
  hide(button, button.getAttribute("aria-pressed") === "true");
  filter();
}
function all(off) {
  classes.forEach((button) => hide(button, off));
  filter();
}
function toggleView(button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(on));
  const view = button.dataset.view;
  if (view === "boxes" || view === "by-object") document.body.classList.toggle(view, on);
  else document.body.classList.toggle(`no-${view}`, !on);
}
function hasChosen(card) {
  return classes.some((button) => !hidden.has(button.dataset.label) && card.querySelector(`g.c${button.dataset.label}`));
}
function filter() {
  const split = byId("split") ? byId("split").value : "";
  const text = byId("search").value.trim().toLowerCase();
  const faulty = byId("faulty") && byId("faulty").checked;
  let count = 0;
  for (const card of cards) {
    const fits = (!split || card.dataset.split === split) && card.dataset.name.includes(text)
      && (!faulty || "faulty" in card.dataset) && (!byId("filled").checked || hasChosen(card));
    card.hidden = !fits;
    count += fits;
  }
  byId("count").textContent = count === cards.length ? "" : `${count} of ${cards.length} shown here`;
}
function open(index) {
  current = index;
  const copy = cards[index].cloneNode(true);
  const picture = copy.querySelector(".picture");
  const parts = [picture, ...copy.querySelectorAll(".name, ul.faults")];
  zoom.firstElementChild.replaceChildren(...parts);
  if (!zoom.open) zoom.showModal();
}
function step(by) {
  for (let i = current + by; i >= 0 && i < cards.length; i += by) {
    if (!cards[i].hidden) return open(i);
  }
}
classes.forEach((button) => button.addEventListener("click", () => toggleClass(button)));
document.querySelectorAll("[data-view]").forEach((button) => button.addEventListener("click", () => toggleView(button)));
for (const [id, off] of [["all", false], ["none", true]]) if (byId(id)) byId(id).addEventListener("click", () => all(off));
for (const id of ["split", "search", "faulty", "filled"]) if (byId(id)) byId(id).addEventListener("input", filter);
cards.forEach((card, index) => card.querySelector(".open").addEventListener("click", () => open(index)));
byId("back").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => zoom.close());
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=search], select")) return;
  const key = event.key.toLowerCase();
  const views = { m: "masks", b: "boxes", c: "crowds", o: "by-object" };
  if (key >= "1" && key <= "9" && classes[key - 1]) toggleClass(classes[key - 1]);
  else if (views[key]) toggleView(document.querySelector(`[data-view=${views[key]}]`));
  else if (key === "a" && byId("all")) all(false);
  else if (key === "n" && byId("none")) all(true);
  else if (key === "arrowleft" && zoom.open) step(-1);
  else if (key === "arrowright" && zoom.open) step(1);
  else if (key === "/" && !zoom.open) byId("search").focus();
  else return;
  event.preventDefault();
});
document.body.dataset.ready = ""; // every line above has run
