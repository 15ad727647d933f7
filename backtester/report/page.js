"use strict";
// Draws the charts of the page in its look, light or dark, and again when that or the width changes.
const figures = JSON.parse(document.getElementById("figures").textContent);
const shown = {};
const system = window.matchMedia("(prefers-color-scheme: dark)");
let look = null;
// A sheet of A4 less its margins and a card's own edge, in pixels: while the page is printed charts are drawn for that.
const PAPER = 674;
let onPaper = false;

function colours() {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue("--" + name).trim();
}

// "@up" stands for the look's colour of that name.
function painted(value, colour) {
  if (typeof value === "string") return value.startsWith("@") ? colour(value.slice(1)) : value;
  if (Array.isArray(value)) return value.length && typeof value[0] === "number" ? value : value.map((v) => painted(v, colour));
  if (value && typeof value === "object") {
    const copy = {};
    for (const key of Object.keys(value)) copy[key] = painted(value[key], colour);
    return copy;
  }
  return value;
}

function axis(given, colour) {
  return Object.assign(
    { gridcolor: colour("line"), linecolor: colour("line"), zerolinecolor: colour("line"), zeroline: false,
      automargin: true, tickfont: { size: 11 } },
    given);
}

// The lowest and highest price in view, with a little air.
function prices(candles, range) {
  const first = Math.max(0, Math.floor(range[0])), last = Math.ceil(range[1]) + 1;
  const low = Math.min(...candles.low.slice(first, last)), high = Math.max(...candles.high.slice(first, last));
  const air = (high - low || high) * 0.06;
  return [low - air, high + air];
}

function follow(element) {
  element.on("plotly_relayout", (change) => {
    const candles = element.data.find((trace) => trace.type === "candlestick");
    const range = change["xaxis.range"] || (change["xaxis.range[0]"] !== undefined && [change["xaxis.range[0]"], change["xaxis.range[1]"]]);
    if (candles && range && typeof range[0] === "number") Plotly.relayout(element, { "yaxis.range": prices(candles, range) });
  });
}

function draw(name) {
  const element = document.getElementById("chart-" + name);
  const chart = figures[name];
  const colour = colours();
  const choice = painted(chart.choices[shown[name] || Object.keys(chart.choices)[0]], colour);
  const candles = choice.data.find((trace) => trace.type === "candlestick");
  const width = onPaper ? PAPER : element.clientWidth;
  const narrow = width < 560;
  const height = narrow ? Math.round(chart.height * 0.82) : chart.height;
  element._drawnWidth = element.clientWidth;
  element.style.minHeight = height + "px";
  const layout = Object.assign({}, choice.layout, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", height, width,
    margin: { l: narrow ? 44 : 58, r: 10, t: 26, b: 34 }, dragmode: narrow ? false : "zoom",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("text") },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("muted"), activecolor: colour("accent") },
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("text") } },
  });
  for (const key of Object.keys(layout)) {
    if (/^[xy]axis\d*$/.test(key)) {
      layout[key] = axis(layout[key], colour);
      if (narrow && layout[key].title) layout[key].title = { text: "" };
      if (narrow && key === "xaxis") {
        if (candles) layout[key].nticks = 3;
        else if (layout[key].type === "category") layout[key].tickangle = -35;
        else layout[key].nticks = 5;
      }
      // An overview to pull at is of no use on paper.
      if (layout[key].rangeslider && onPaper) layout[key].rangeslider = { visible: false };
      else if (layout[key].rangeslider) layout[key].rangeslider = Object.assign({ bgcolor: colour("soft"), bordercolor: colour("line") }, layout[key].rangeslider);
    }
  }
  if (candles) layout.yaxis.range = prices(candles, layout.xaxis.range);
  Plotly.react(element, choice.data, layout, { displaylogo: false, displayModeBar: narrow ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] });
  if (candles && !element.dataset.follows) {
    element.dataset.follows = "yes";
    follow(element);
  }
}

function drawAll() { Object.keys(figures).forEach(draw); }

function wear(name) {
  document.documentElement.dataset.look = name;
  drawAll();
}

function wanted() { return look || (system.matches ? "dark" : "light"); }

document.getElementById("look").addEventListener("click", () => {
  look = wanted() === "dark" ? "light" : "dark";
  wear(look);
});
system.addEventListener("change", () => wear(wanted()));
for (const element of document.querySelectorAll("[data-choose]")) {
  element.addEventListener(element.tagName === "SELECT" ? "change" : "click", () => {
    const name = element.dataset.choose;
    shown[name] = element.tagName === "SELECT" ? element.value : element.dataset.value;
    for (const other of document.querySelectorAll(`button[data-choose="${name}"]`)) {
      other.setAttribute("aria-pressed", String(other === element));
    }
    draw(name);
  });
}
// Paper is white, and narrower than most windows.
window.addEventListener("beforeprint", () => { onPaper = true; wear("light"); });
window.addEventListener("afterprint", () => { onPaper = false; wear(wanted()); });
// A chart follows the room it has: a turned phone, a wider window, paper.
const rooms = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (Math.abs(target.clientWidth - (target._drawnWidth || 0)) > 1) draw(target.id.slice("chart-".length));
  }
});
wear(wanted());
for (const name of Object.keys(figures)) rooms.observe(document.getElementById("chart-" + name));
