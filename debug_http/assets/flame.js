/* Zoom, search and filters for the flame graph, and a way out of waiting for it. The page is complete without this file. */
"use strict";

(function () {

var ROW = 19, BOX = 18;
var BOXES_MAX = 3000;
var SVG = "http://www.w3.org/2000/svg";
var KINDS = ["category", "task", "thread"];
var VALUE_FIELD = 1, FIRST_LABEL = 2, IDS_FIELD = 5;
var OTHER_COLOUR = 15;

function make(tag, className, text) {
	var node = document.createElement(tag);

	if (className)
		node.className = className;
	if (text !== undefined)
		node.textContent = text;
	return node;
}

function makeSvg(tag, attributes) {
	var node = document.createElementNS(SVG, tag);

	Object.keys(attributes).forEach(function (name) {
		node.setAttribute(name, attributes[name]);
	});
	return node;
}

/* ---- While the profile is taken ---- */

function wait() {
	var line = document.querySelector(".waiting");
	var left, button, timer;

	if (!line || document.readyState !== "loading")
		return;
	left = parseInt(line.dataset.seconds, 10);
	button = make("button", "", "Cancel");
	button.type = "button";
	line.textContent = "";
	line.append(make("b", "", ""), " ", button);
	function tick() {
		line.firstChild.textContent = left > 0 ? "Taking a profile: " + left + " s left" : "Drawing";
		left--;
	}
	tick();
	timer = setInterval(tick, 1000);
	button.addEventListener("click", function () {
		window.stop();
		clearInterval(timer);
		line.textContent = "Cancelled. Nothing was saved.";
		line.className = "quiet";
	});
	document.addEventListener("DOMContentLoaded", function () {
		clearInterval(timer);
	});
}

/* ---- Stacks ---- */

/* What stands in the page for us: "V type unit", "F origin name", "S value category task thread ids". */
function read(text) {
	var data = { unit: "", functions: [], stacks: [], colours: {} };

	text.split("\n").forEach(function (line) {
		var fields = line.split("\t");

		if (fields[0] === "V")
			data.unit = fields[2];
		else if (fields[0] === "F")
			data.functions.push({ origin: fields[1], name: fields.slice(2).join("\t") });
		else if (fields[0] === "S")
			data.stacks.push({ value: parseInt(fields[VALUE_FIELD], 10), labels: fields.slice(FIRST_LABEL, IDS_FIELD),
				ids: fields[IDS_FIELD].trim().split(" ").map(Number) });
	});
	return data;
}

function tree(data, filter) {
	var root = { id: -1, value: 0, children: new Map(), parent: null, depth: -1 };

	data.stacks.forEach(function (stack) {
		var at = root;

		if (!KINDS.every(function (kind, i) { return filter[kind] === undefined || filter[kind] === stack.labels[i]; }))
			return;
		root.value += stack.value;
		stack.ids.forEach(function (id) {
			var below = at.children.get(id);

			if (!below) {
				below = { id: id, value: 0, children: new Map(), parent: at, depth: at.depth + 1 };
				at.children.set(id, below);
			}
			below.value += stack.value;
			at = below;
		});
	});
	return root;
}

function sorted(node) {
	return Array.from(node.children.values()).sort(function (a, b) {
		return b.value - a.value || a.id - b.id;
	});
}

/* ---- The picture ---- */

function formatValue(unit, v) {
	var i = 0;

	if (unit === "nanoseconds")
		return v < 1e3 ? v + " ns" : v < 1e6 ? (v / 1e3).toPrecision(3) + " µs" :
			v < 1e9 ? (v / 1e6).toPrecision(3) + " ms" : (v / 1e9).toPrecision(3) + " s";
	if (unit !== "bytes")
		return String(v);
	for (; v >= 1024 && i < 4; i++)
		v /= 1024;
	return (i ? v.toPrecision(3) : v) + " " + ["B", "KiB", "MiB", "GiB", "TiB"][i];
}

function Flame(place, data) {
	this.place = place;
	this.data = data;
	this.filter = {};
	this.colours = this.readColours();
	this.pattern = "";
	this.addTools();
	this.root = tree(data, this.filter);
	this.top = this.root;
	this.picked = null;
	this.draw();
}

/* The same colours as the server chose: it has named them in the legend. */
Flame.prototype.readColours = function () {
	var colours = {};

	document.querySelectorAll(".legend > span").forEach(function (entry) {
		var match = /c(\d+)/.exec(entry.querySelector(".key").className);

		colours[entry.lastElementChild.textContent] = parseInt(match[1], 10);
	});
	return colours;
};

Flame.prototype.addTools = function () {
	var self = this, tools = make("div", "tools");

	this.search = make("input");
	this.search.type = "search";
	this.search.placeholder = "Search functions  /";
	this.search.setAttribute("aria-label", "Search functions");
	this.search.addEventListener("input", function () {
		self.pattern = self.search.value.toLowerCase();
		self.draw();
	});
	this.reset = make("button", "", "Show all");
	this.reset.type = "button";
	this.reset.addEventListener("click", function () {
		self.zoom(self.root);
	});
	this.selects = KINDS.map(function (kind, i) {
		return self.addSelect(tools, kind, i);
	});
	this.state = make("span", "", "");
	this.state.setAttribute("role", "status");
	tools.prepend(this.search);
	tools.append(this.reset, this.state);
	this.place.before(tools);
};

Flame.prototype.addSelect = function (tools, kind, i) {
	var self = this, select = make("select"), sums = new Map();

	this.data.stacks.forEach(function (stack) {
		sums.set(stack.labels[i], (sums.get(stack.labels[i]) || 0) + stack.value);
	});
	select.setAttribute("aria-label", kind);
	select.append(new Option("every " + kind, "*"));
	Array.from(sums.keys()).sort(function (a, b) { return sums.get(b) - sums.get(a); }).forEach(function (label) {
		select.append(new Option(label || "no " + kind, "=" + label));
	});
	select.addEventListener("change", function () {
		self.choose(kind, select.value === "*" ? undefined : select.value.slice(1));
	});
	if (sums.size > 1)
		tools.append(select);
	return select;
};

Flame.prototype.choose = function (kind, label) {
	this.filter[kind] = label;
	this.selects[KINDS.indexOf(kind)].value = label === undefined ? "*" : "=" + label;
	this.root = tree(this.data, this.filter);
	this.zoom(this.root);
};

Flame.prototype.zoom = function (node) {
	this.top = node;
	this.picked = node.parent ? node : null;
	this.draw();
};

Flame.prototype.nameOf = function (node) {
	return this.data.functions[node.id].name;
};

Flame.prototype.matches = function (node) {
	return this.pattern !== "" && this.nameOf(node).toLowerCase().indexOf(this.pattern) >= 0;
};

Flame.prototype.box = function (node, from, whole) {
	var self = this, f = this.data.functions[node.id], share = 100 * node.value / whole;
	var box = makeSvg("svg", { x: 100 * from / whole + "%", y: node.depth * ROW, width: share + "%", height: BOX,
		tabindex: -1, role: "treeitem", "aria-level": node.depth + 1 });
	var words = f.name + " (" + f.origin + ") " + (100 * node.value / this.root.value).toFixed(1) + " %, " +
		formatValue(this.data.unit, node.value);
	var colour = this.colours[f.origin];
	var title = makeSvg("title", {}), text = makeSvg("text", { x: 4, y: 13 });

	title.textContent = words;
	text.textContent = share > 1.6 ? f.name : "";
	box.setAttribute("aria-label", words);
	box.append(title, makeSvg("rect", { "class": "c" + (colour === undefined ? OTHER_COLOUR : colour), width: "100%",
		height: "100%" }), text);
	box.classList.toggle("found", this.matches(node));
	box.classList.toggle("above", node.depth < this.top.depth);
	box.addEventListener("click", function () {
		self.zoom(node);
	});
	box.flame = node;
	node.box = box;
	return box;
};

Flame.prototype.draw = function () {
	var self = this, whole = this.top.value, count = 0, deepest = 0, found = 0;
	var svg = makeSvg("svg", { width: "100%", role: "tree", "aria-label": "Flame graph" });

	function below(node, from, inFound) {
		sorted(node).forEach(function (child) {
			var isFound = self.matches(child);

			if (isFound && !inFound)
				found += child.value;
			child.box = null;
			if (child.value * 1000 >= whole && count++ < BOXES_MAX) {
				deepest = Math.max(deepest, child.depth);
				svg.append(self.box(child, from, whole));
				below(child, from, inFound || isFound);
			} else if (self.pattern !== "" && !inFound && !isFound) {
				hidden(child);
			}
			from += child.value;
		});
	}
	function hidden(node) {
		node.children.forEach(function (child) {
			if (self.matches(child))
				found += child.value;
			else
				hidden(child);
		});
	}
	for (var up = this.top; up.parent; up = up.parent)
		svg.append(this.box(up, 0, up.value));
	below(this.top, 0, false);
	svg.setAttribute("height", (Math.max(deepest, this.top.depth) + 1) * ROW);
	this.place.replaceChildren(svg);
	this.reset.disabled = this.top === this.root;
	this.tell(found);
	this.focus(this.picked && this.picked.box ? this.picked : this.top.parent ? this.top : sorted(this.root)[0], false);
};

Flame.prototype.tell = function (found) {
	var words = formatValue(this.data.unit, this.top.value);

	if (this.root.value === 0)
		words = "nothing of the kind";
	else if (this.pattern !== "")
		words = "found in " + (100 * found / this.top.value).toFixed(1) + " % of " + words;
	else if (this.top !== this.root)
		words += ", " + (100 * this.top.value / this.root.value).toFixed(1) + " % of all";
	this.state.textContent = words;
};

/* One box of the tree takes part in the order of Tab; arrows lead from it to the others. */
Flame.prototype.focus = function (node, really) {
	if (!node || !node.box)
		return;
	if (this.picked && this.picked.box)
		this.picked.box.setAttribute("tabindex", -1);
	this.picked = node;
	node.box.setAttribute("tabindex", 0);
	if (really)
		node.box.focus();
};

Flame.prototype.key = function (event) {
	var at = this.picked, siblings = at && at.parent ? sorted(at.parent) : [], i = siblings.indexOf(at);
	var to = { ArrowUp: at && at.parent && at.parent.parent ? at.parent : null, ArrowDown: at && sorted(at)[0],
		ArrowLeft: siblings[i - 1], ArrowRight: siblings[i + 1] };

	if (event.key === "Enter" || event.key === " ") {
		this.zoom(at);
		this.focus(at, true);
	} else if (event.key === "Escape") {
		this.zoom(this.root);
		this.focus(at, true);
	} else if (event.key in to) {
		this.focus(to[event.key], true);
	} else {
		return;
	}
	event.preventDefault();
	event.stopPropagation();
};

function start() {
	var place = document.getElementById("flame"), data = document.getElementById("flame-data"), flame;

	if (!place || !data)
		return;
	flame = new Flame(place, read(data.textContent));
	place.addEventListener("keydown", function (event) {
		flame.key(event);
	});
	document.addEventListener("click", function (event) {
		var button = event.target.closest("button.pick");

		if (!button)
			return;
		event.preventDefault();
		flame.choose(button.name, button.value);
		place.scrollIntoView({ block: "nearest" });
	});
	document.addEventListener("keydown", function (event) {
		if (event.key !== "/" || event.ctrlKey || /^(INPUT|SELECT)$/.test(document.activeElement.tagName))
			return;
		event.preventDefault();
		flame.search.focus();
	});
}

wait();
if (document.readyState === "loading")
	document.addEventListener("DOMContentLoaded", start);
else
	start();

})();
