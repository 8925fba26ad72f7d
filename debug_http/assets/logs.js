/* The log goes on by itself. The page is complete without this file. */
"use strict";

(function () {

var ROWS_MAX = 2000;
var body = document.querySelector("#log tbody");
var more = document.getElementById("logs-more");
var source = null;

function cell(row, text) {
	row.appendChild(document.createElement("td")).textContent = text;
}

function atEnd() {
	return window.innerHeight + window.scrollY >= document.body.scrollHeight - 40;
}

function add(line) {
	var row = document.createElement("tr");
	var follow = atEnd();

	row.className = "at-" + line.level;
	cell(row, line.time);
	cell(row, line.level);
	cell(row, line.part);
	row.appendChild(document.createElement("td")).appendChild(document.createElement("bdi")).textContent = line.text;
	body.appendChild(row);
	while (body.childElementCount > ROWS_MAX)
		body.firstElementChild.remove();
	if (follow)
		row.scrollIntoView({ block: "nearest" });
}

function start() {
	var query = new URLSearchParams(location.search);

	query.set("after", more.dataset.after);
	source = new EventSource("/debug/logs/live?" + query);
	source.addEventListener("line", function (event) {
		more.dataset.after = event.lastEventId;
		add(JSON.parse(event.data));
	});
}

function stop() {
	source.close();
	source = null;
}

var button = document.createElement("button");

button.type = "button";
button.id = "logs-live";
button.setAttribute("aria-pressed", "false");
button.textContent = "Follow";
button.addEventListener("click", function () {
	if (source)
		stop();
	else
		start();
	button.textContent = source ? "Stop following" : "Follow";
	button.setAttribute("aria-pressed", source ? "true" : "false");
});
if (body && more)
	document.querySelector("form.filter").append(" ", button);

})();
