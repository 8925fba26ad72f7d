/* Extras only: every page is complete without this file. */
"use strict";

(function () {

/* ---- Helpers ---- */

var SVG = "http://www.w3.org/2000/svg";

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

function makeButton(label, title, onClick) {
	var button = make("button", "", label);

	button.type = "button";
	button.title = title;
	button.addEventListener("click", onClick);
	return button;
}

/* As the server writes durations: three digits that a person can compare. */
function duration(ns) {
	function scaled(v, unit) {
		return (v < 9.995 ? v.toFixed(2) : v < 99.95 ? v.toFixed(1) : v.toFixed(0)) + " " + unit;
	}
	var s = Math.round(ns / 1e9);

	if (ns < 1000)
		return Math.round(ns) + " ns";
	if (ns < 999500)
		return scaled(ns / 1e3, "µs");
	if (ns < 999500000)
		return scaled(ns / 1e6, "ms");
	if (ns < 99950000000)
		return scaled(ns / 1e9, "s");
	return s < 3600 ? Math.floor(s / 60) + " min" + (s % 60 ? " " + s % 60 + " s" : "") :
		Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min";
}

/* What peers have named must not reorder or hide the text around it: written out as the pages do that
   the daemon writes (utf8_is_hidden). */
function foreign(text) {
	return text.replace(/[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]/gu, function (c) {
		var n = c.codePointAt(0), digits = n.toString(16);
		return n < 0x80 ? "\\x" + digits.padStart(2, "0") :
		       n > 0xffff ? "\\U" + digits.padStart(8, "0") : "\\u" + digits.padStart(4, "0");
	});
}

function isTyping() {
	return /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
}

/* ---- Keys, and the list of them ---- */

var keys = {};
var help = [];

function bind(names, text, run) {
	names.split(" ").forEach(function (name) {
		keys[name] = run;
	});
	help.push([names, text]);
}

function showHelp() {
	var dialog = document.querySelector("dialog") || document.body.appendChild(make("dialog"));
	var list = make("dl");

	dialog.textContent = "";
	dialog.append(make("h2", "", "Keys"), list);
	help.forEach(function (line) {
		var term = make("dt");

		line[0].split(" ").forEach(function (name) {
			term.append(make("kbd", "", name), " ");
		});
		list.append(term, make("dd", "", line[1]));
	});
	dialog.append(makeButton("Close", "", function () { dialog.close(); }));
	dialog.showModal();
}

document.addEventListener("keydown", function (event) {
	if (event.ctrlKey || event.metaKey || event.altKey)
		return;
	if (event.key === "Escape" && isTyping()) {
		document.activeElement.blur();
	} else if (keys[event.key] && !isTyping() && !document.querySelector("dialog[open]")) {
		event.preventDefault();
		keys[event.key]();
	}
});

var search = document.querySelector("input[type=search]");

/* ---- One trace ---- */

/* A link to a span opens it, and what it is in. */
function openTarget() {
	var match = /^#(s[0-9a-f]{16})/.exec(location.hash);
	var row = match && document.getElementById(match[1]);

	if (!row)
		return;
	for (var up = row.parentElement; up; up = up.parentElement)
		if (up instanceof HTMLDetailsElement)
			up.open = true;
	if (row.firstElementChild instanceof HTMLDetailsElement)
		row.firstElementChild.open = true;
	document.querySelectorAll(".chosen").forEach(function (other) {
		if (other.tagName === "LI")
			other.classList.remove("chosen");
	});
	row.classList.add("chosen");
	row.scrollIntoView({ block: "center" });
}

function Waterfall(root) {
	this.root = root;
	this.from = 0; /* of the whole: what is shown begins at `from` and is 1/zoom long */
	this.zoom = 1;
	this.rows = Array.prototype.slice.call(root.querySelectorAll(".spans > li"));
	this.addTools();
	this.addMinimap();
	this.restore();
}

Waterfall.prototype.set = function (from, zoom) {
	this.zoom = Math.min(Math.max(zoom, 1), 5000);
	this.from = Math.min(Math.max(from, 0), 1 - 1 / this.zoom);
	this.root.style.setProperty("--zoom", this.zoom);
	this.root.style.setProperty("--from", this.from);
	if (this.shown) {
		this.shown.setAttribute("x", 100 * this.from + "%");
		this.shown.setAttribute("width", 100 / this.zoom + "%");
		this.shown.classList.toggle("hidden", this.zoom === 1);
	}
	this.remember();
};

Waterfall.prototype.zoomBy = function (factor) {
	var middle = this.from + 0.5 / this.zoom;
	var zoom = Math.max(this.zoom * factor, 1);

	this.set(middle - 0.5 / zoom, zoom);
};

/* The address names the span and the stretch that are looked at. */
Waterfall.prototype.remember = function () {
	var chosen = this.root.querySelector("li.chosen");
	var hash = chosen ? chosen.id : "";

	if (this.zoom > 1)
		hash += "&z=" + this.from.toFixed(5) + "," + this.zoom.toFixed(2);
	try {
		history.replaceState(null, "", hash ? "#" + hash : location.pathname + location.search);
	} catch (e) { /* a page from a disk may not */ }
};

Waterfall.prototype.restore = function () {
	var match = /[#&]z=([0-9.]+),([0-9.]+)/.exec(location.hash);

	if (match)
		this.set(parseFloat(match[1]), parseFloat(match[2]));
};

Waterfall.prototype.choose = function (row) {
	this.root.querySelectorAll("li.chosen").forEach(function (other) {
		other.classList.remove("chosen");
	});
	row.classList.add("chosen");
	this.remember();
};

Waterfall.prototype.addMinimap = function () {
	var self = this, start = null;
	var map = makeSvg("svg", { "class": "minimap", "aria-hidden": "true" });
	var bars = this.root.querySelectorAll(".spans .lane .base");
	var height = Math.min(3, 40 / Math.max(bars.length, 1));

	bars.forEach(function (bar, i) {
		var stage = bar.nextElementSibling, box = { y: 2 + i * 40 / bars.length, height: Math.max(height, 0.8) };

		box.x = bar.getAttribute("x");
		box.width = bar.getAttribute("width");
		box["class"] = stage && /^c\d+$/.test(stage.getAttribute("class")) ? stage.getAttribute("class") : "c15";
		map.append(makeSvg("rect", box));
	});
	this.shown = makeSvg("rect", { "class": "window hidden", y: 0, height: "100%" });
	map.append(this.shown);
	function at(event) {
		var box = map.getBoundingClientRect();

		return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
	}
	map.addEventListener("pointerdown", function (event) {
		start = at(event);
		map.setPointerCapture(event.pointerId);
	});
	map.addEventListener("pointermove", function (event) {
		if (start !== null && Math.abs(at(event) - start) > 0.002)
			self.set(Math.min(start, at(event)), 1 / Math.abs(at(event) - start));
	});
	map.addEventListener("pointerup", function () { start = null; });
	map.addEventListener("dblclick", function () { self.set(0, 1); });
	this.root.before(map);
};

Waterfall.prototype.setAll = function (open) {
	this.root.querySelectorAll("details").forEach(function (row) {
		row.open = open;
	});
};

/* A group is hidden when none of its members is left. */
Waterfall.prototype.filter = function (text, failedOnly) {
	text = text.toLowerCase();
	this.rows.slice().reverse().forEach(function (row) {
		var summary = row.querySelector("summary, .row");
		var matches = (!text || summary.textContent.toLowerCase().indexOf(text) >= 0) &&
			(!failedOnly || summary.querySelector(".bad") !== null);

		if (row.classList.contains("group")) {
			matches = row.querySelector(".spans > li:not(.hidden)") !== null;
			if (matches && (text || failedOnly))
				row.firstElementChild.open = true;
		}
		row.classList.toggle("hidden", !matches);
	});
};

Waterfall.prototype.addTools = function () {
	var self = this;
	var tools = make("div", "tools");
	var input = make("input");
	var failed = make("input");
	var label = make("label");

	input.type = "search";
	input.placeholder = "filter spans";
	input.setAttribute("aria-label", "Filter spans");
	failed.type = "checkbox";
	label.append(failed, " failed only");
	function apply() { self.filter(input.value.trim(), failed.checked); }
	input.addEventListener("input", apply);
	failed.addEventListener("change", apply);
	search = search || input;
	tools.append(input, label,
		makeButton("Open all", "o", function () { self.setAll(true); }),
		makeButton("Close all", "c", function () { self.setAll(false); }),
		makeButton("Copy as text", "", function (event) { self.copy(event.target); }),
		makeButton("Keys", "?", showHelp));
	this.root.before(tools);
	this.root.addEventListener("click", function (event) {
		var row = event.target.closest(".spans > li[id]");

		if (row && event.target.closest("summary"))
			self.choose(row);
	});
};

/* What the page says, or the daemon's own text where it can be asked. */
Waterfall.prototype.copy = function (button) {
	var link = document.querySelector("#tools a[href$='&text']");

	function put(text) {
		navigator.clipboard.writeText(text).then(function () {
			button.textContent = "Copied";
		}, function () {
			button.textContent = "Not allowed";
		});
	}
	if (link)
		fetch(link.href).then(function (reply) { return reply.text(); }).then(put);
	else
		put(document.querySelector("article").innerText);
};

Waterfall.prototype.visible = function () {
	return Array.prototype.filter.call(this.root.querySelectorAll("summary"), function (row) {
		return row.offsetParent !== null;
	});
};

/* The row `step` further down than the one that has the focus. */
Waterfall.prototype.move = function (step, wanted) {
	var rows = wanted || this.visible();
	var all = this.visible();
	var now = all.indexOf(document.activeElement);
	var next = rows.find(function (row) { return all.indexOf(row) > now; });

	if (!wanted)
		next = rows[Math.min(Math.max(now + step, 0), rows.length - 1)];
	if (!next)
		next = rows[0];
	if (next) {
		next.focus();
		next.scrollIntoView({ block: "nearest" });
		if (next.closest("li[id]"))
			this.choose(next.closest("li[id]"));
	}
};

Waterfall.prototype.nextError = function () {
	this.setGroups();
	this.move(1, this.visible().filter(function (row) {
		return row.parentElement.parentElement.id && row.querySelector(".out.bad");
	}));
};

/* Groups with a failed member are opened, so that it can be reached. */
Waterfall.prototype.setGroups = function () {
	this.root.querySelectorAll(".group > details").forEach(function (group) {
		if (group.querySelector(".spans .out.bad"))
			group.open = true;
	});
};

function begin() {
	openTarget(); /* before the address is written anew */
	var falls = Array.prototype.map.call(document.querySelectorAll(".waterfall"), function (root) {
		return new Waterfall(root);
	});
	var fall = falls[0];

	openTarget();
	window.addEventListener("hashchange", openTarget);
	if (search)
		bind("/", "search", function () { search.focus(); search.select(); });
	if (fall) {
		bind("j ArrowDown", "next row", function () { fall.move(1); });
		bind("k ArrowUp", "row before", function () { fall.move(-1); });
		bind("e", "next failed span", function () { fall.nextError(); });
		bind("w +", "zoom in", function () { fall.zoomBy(1.6); });
		bind("s -", "zoom out", function () { fall.zoomBy(1 / 1.6); });
		bind("a ArrowLeft", "to the left", function () { fall.set(fall.from - 0.2 / fall.zoom, fall.zoom); });
		bind("d ArrowRight", "to the right", function () { fall.set(fall.from + 0.2 / fall.zoom, fall.zoom); });
		bind("f 0", "the whole trace", function () { fall.set(0, 1); });
		bind("o", "open all rows", function () { fall.setAll(true); });
		bind("c", "close all rows", function () { fall.setAll(false); });
	}
	beginLive();
	bind("?", "this list", showHelp);
}

/* ---- Traces as they come ---- */

function Live(tools) {
	this.paused = false;
	this.waiting = [];
	this.seen = {}; /* row by span */
	this.kept = []; /* ids of traces that are kept while it is paused */
	this.state = make("span", "live-state");
	this.state.setAttribute("role", "status");
	this.button = makeButton("Live", "l", this.toggle.bind(this));
	this.button.setAttribute("aria-pressed", "false");
	this.pauseButton = makeButton("Pause", "p", this.pause.bind(this));
	this.pauseButton.classList.add("hidden");
	tools.append(" ", this.button, " ", this.pauseButton, " ", this.state);
}

Live.ROWS_MAX = 100;
Live.WAITING_MAX = 1000;
Live.KEPT_MAX = 32; /* rows; the daemon keeps 64 traces in all */
Live.IDS_MAX = 16; /* of one question */

Live.prototype.address = function () {
	var asked = new URLSearchParams(location.search), query = new URLSearchParams();

	asked.forEach(function (value, name) {
		if (value && !/^(sort|n|limit|cursor|refresh|json|text|html)$/.test(name))
			query.append(name, value);
	});
	query.set("stream", "");
	return "/debug/traces?" + query;
};

Live.prototype.toggle = function () {
	if (this.source) {
		if (this.paused)
			this.pause();
		this.source.close();
		this.source = null;
	} else {
		this.open();
	}
	this.button.setAttribute("aria-pressed", String(Boolean(this.source)));
	this.pauseButton.classList.toggle("hidden", !this.source);
	this.say();
};

Live.prototype.open = function () {
	var self = this;

	this.count = this.dropped = 0;
	this.table();
	this.source = new EventSource(this.address());
	this.source.addEventListener("trace", function (event) {
		self.count++;
		if (!self.paused)
			self.show(JSON.parse(event.data));
		else if (self.waiting.push(event.data) > Live.WAITING_MAX)
			self.dropped += self.waiting.splice(0, 1).length;
		self.say();
	});
	this.source.addEventListener("dropped", function (event) {
		self.dropped += JSON.parse(event.data).count;
		self.say();
	});
	this.source.onerror = this.source.onopen = function () { self.say(); };
};

Live.prototype.pause = function () {
	var self = this;

	this.paused = !this.paused;
	this.pauseButton.textContent = this.paused ? "Go on" : "Pause";
	if (this.paused) {
		this.keep();
	} else {
		this.letGo();
		this.waiting.splice(0).forEach(function (data) { self.show(JSON.parse(data)); });
	}
	this.say();
};

Live.prototype.post = function (what, ids) {
	return fetch("/debug/traces/" + what + "?json&id=" + ids.join("&id="), { method: "POST", keepalive: true });
};

/* What is on the screen stays readable while it is paused. */
Live.prototype.keep = function () {
	var self = this, ids = [];

	Array.prototype.slice.call(this.body.rows, 0, Live.KEPT_MAX).forEach(function (row) {
		if (ids.indexOf(row.dataset.id) < 0)
			ids.push(row.dataset.id);
	});
	while (ids.length > 0)
		this.post("pin", ids.splice(0, Live.IDS_MAX)).then(function (answer) {
			return answer.ok ? answer.json() : { changed: [] };
		}).then(function (done) {
			self.kept = self.kept.concat(done.changed);
			if (!self.paused)
				self.letGo();
		});
};

Live.prototype.letGo = function () {
	while (this.kept.length > 0)
		this.post("unpin", this.kept.splice(0, Live.IDS_MAX));
};

Live.prototype.say = function () {
	var text = "";

	if (this.source) {
		text = this.source.readyState === EventSource.OPEN ? "live" : "connecting …";
		text += ", " + this.count + " events";
		if (this.paused)
			text += ", paused with " + this.waiting.length + " waiting";
		if (this.dropped)
			text += ", " + this.dropped + " dropped";
	}
	this.state.textContent = text;
};

/* A table of its own above those that the server has written. */
Live.prototype.table = function () {
	var before, row;

	if (this.body)
		return;
	before = document.querySelector("h2, .empty");
	this.place = make("table", "traces");
	row = this.place.createTHead().insertRow();
	["trace", "outcome", "started", "took", "where the time went"].forEach(function (name, i) {
		var cell = make("th", i === 2 || i === 3 ? "n" : "", name);

		cell.scope = "col";
		row.append(cell);
	});
	this.body = this.place.createTBody();
	before.before(make("h2", "", "As it happens"), this.place);
};

Live.prototype.show = function (t) {
	var row = this.seen[t.span];

	if (!row) {
		row = this.seen[t.span] = make("tr");
		row.dataset.span = t.span;
		row.dataset.id = t.id;
		this.body.prepend(row);
	}
	row.className = t.finished ? "" : "fresh";
	row.replaceChildren(this.what(t), this.cell("", this.outcome(t)),
		this.cell("n", new Date(t.started_ms).toLocaleTimeString()),
		this.cell("n took", duration(t.duration_ns)), this.where(t));
	while (this.body.rows.length > Live.ROWS_MAX) {
		delete this.seen[this.body.lastElementChild.dataset.span];
		this.body.lastElementChild.remove();
	}
};

Live.prototype.cell = function (className, content) {
	var cell = make("td", className);

	cell.append(content);
	return cell;
};

Live.prototype.what = function (t) {
	var link = make("a");

	link.href = "/debug/traces?id=" + encodeURIComponent(t.id);
	link.append(make("b", "", t.category), " ", make("span", "", foreign(t.title)));
	return this.cell("what", link);
};

Live.prototype.outcome = function (t) {
	if (!t.finished)
		return make("span", "out run", "active");
	return make("span", t.errored ? "out bad" : "out ok", t.outcome);
};

Live.prototype.key = function (colour) {
	return make("i", "key c" + (colour >>> 0));
};

Live.prototype.where = function (t) {
	var self = this, sums = {}, most = make("span", "most"), longest = null;
	var bar = makeSvg("svg", { "class": "stack", "aria-hidden": "true" });

	t.stages.forEach(function (s) {
		var sum = sums[s.name] = sums[s.name] || { ns: 0, name: s.name, colour: s.colour };

		sum.ns += s.duration_ns;
		if (!longest || sum.ns > longest.ns)
			longest = sum;
		bar.append(makeSvg("rect", { "class": "c" + (s.colour >>> 0), x: 100 * s.start_ns / t.duration_ns + "%",
			width: 100 * s.duration_ns / t.duration_ns + "%" }));
	});
	if (t.stage)
		most.append("now in ", self.key(sums[t.stage] ? sums[t.stage].colour : 15), t.stage, ", so far ");
	if (longest)
		most.append(Math.round(100 * longest.ns / Math.max(t.duration_ns, 1)) + " % in ", self.key(longest.colour),
			longest.name + " (" + duration(longest.ns) + ")");
	var cell = this.cell("where", bar);

	cell.append(most);
	return cell;
};

function beginLive() {
	var tools = document.querySelector(".bar-of-views #tools"), live;

	if (!tools || !window.EventSource)
		return;
	live = new Live(tools);
	window.addEventListener("pagehide", function () { live.letGo(); });
	bind("l", "follow the traces live, or stop", function () { live.toggle(); });
	bind("p", "pause, or go on", function () { if (live.source) live.pause(); });
}

begin();

})();
