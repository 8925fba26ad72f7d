/* Extras only: every page is complete without this file. */
"use strict";

document.addEventListener("keydown", function (event) {
	var typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
	var search = document.querySelector("input[type=search]");

	if (event.ctrlKey || event.metaKey || event.altKey)
		return;
	if (event.key === "/" && !typing && search) {
		event.preventDefault();
		search.focus();
		search.select();
	} else if (event.key === "Escape" && typing) {
		document.activeElement.blur();
	}
});

/* A link to a span opens it. */
function openTarget() {
	var row = location.hash.length > 1 ? document.getElementById(location.hash.slice(1)) : null;

	if (row && row.firstElementChild instanceof HTMLDetailsElement) {
		row.firstElementChild.open = true;
		row.scrollIntoView({ block: "center" });
	}
}
window.addEventListener("hashchange", openTarget);
openTarget();

/* Open or close all rows of a waterfall. */
document.querySelectorAll(".waterfall").forEach(function (waterfall) {
	var button = document.createElement("button");

	button.type = "button";
	button.className = "all";
	button.textContent = "Open all rows";
	button.addEventListener("click", function () {
		var open = button.textContent === "Open all rows";

		waterfall.querySelectorAll("details").forEach(function (row) {
			row.open = open;
		});
		button.textContent = open ? "Close all rows" : "Open all rows";
	});
	waterfall.after(button);
});
