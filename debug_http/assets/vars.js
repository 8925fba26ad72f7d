/* How fast figures grow, while the page is looked at. The page is complete without this file. */
"use strict";

(function () {

var EVERY_MS = 2000;
var place = document.querySelector(".figures");
var before = null, since = 0;

function cells(root) {
	var found = {};

	root.querySelectorAll(".figures section").forEach(function (group) {
		group.querySelectorAll("tr").forEach(function (row) {
			found[group.id + " " + row.cells[0].textContent] = row.cells;
		});
	});
	return found;
}

function rate(change, seconds) {
	var v = change / seconds;

	return (v > 0 ? "+" : "\u2212") + (Math.abs(v) < 10 ? Math.abs(v).toFixed(1) : Math.round(Math.abs(v))) + "/s";
}

async function look() {
	var text = await (await fetch("/debug/vars?html")).text();
	var now = cells(new DOMParser().parseFromString(text, "text/html")), seconds = (Date.now() - since) / 1000;

	Object.keys(now).forEach(function (name) {
		var row = before[name], change;

		if (!row || !now[name][1].dataset.raw)
			return;
		change = Number(now[name][1].dataset.raw) - Number(row[1].dataset.raw);
		row[1].textContent = now[name][1].textContent;
		row[1].dataset.raw = now[name][1].dataset.raw;
		row[2].textContent = change === 0 || /_m?s$|_[nu]s$/.test(row[0].textContent) ? "" : rate(change, seconds);
	});
	since = Date.now();
}

if (place) {
	before = cells(document);
	since = Date.now();
	setInterval(function () {
		if (!document.hidden)
			look().catch(function () {});
	}, EVERY_MS);
}

})();
