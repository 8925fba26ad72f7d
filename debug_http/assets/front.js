/* The buttons that save something: a countdown, a way to cancel, and what to do with the file. Without this file each
   of them is an ordinary download. */
"use strict";

(function () {

var RETRY_S = 3, RETRIES_MAX = 100;
var BUSY = [409, 429, 503];

function make(tag, className, text) {
	var node = document.createElement(tag);

	if (className)
		node.className = className;
	if (text !== undefined)
		node.textContent = text;
	return node;
}

function size(bytes) {
	return bytes < 1024 ? bytes + " B" : bytes < 1048576 ? (bytes / 1024).toFixed(1) + " KiB" :
		(bytes / 1048576).toFixed(1) + " MiB";
}

function Capture(form) {
	var self = this;

	this.form = form;
	this.button = form.querySelector("button");
	this.label = this.button.textContent;
	this.seconds = form.elements.seconds;
	this.isBundle = /\/bundle$/.test(form.action);
	this.line = make("p", "progress");
	this.line.setAttribute("role", "status");
	this.line.hidden = true;
	form.append(this.line);
	form.addEventListener("submit", function (event) {
		event.preventDefault();
		if (!self.controller)
			self.start();
	});
	if (this.seconds)
		this.seconds.addEventListener("input", function () { self.relabel(); });
	this.relabel();
}

/* The number on the button is the one that will be used. */
Capture.prototype.relabel = function () {
	if (this.seconds && this.seconds.value)
		this.button.textContent = this.label.replace(/\d+s /, this.seconds.value + "s ");
};

Capture.prototype.say = function (text, className) {
	this.words.textContent = text;
	this.line.className = "progress " + (className || "");
};

Capture.prototype.start = function () {
	var self = this;

	this.controller = new AbortController();
	this.words = make("span");
	this.cancel = make("button", "", "Cancel");
	this.cancel.type = "button";
	this.cancel.addEventListener("click", function () { self.stop(); });
	this.line.replaceChildren(this.words, " ", this.cancel);
	this.line.hidden = false;
	this.button.disabled = true;
	this.tries = 0;
	this.cancel.focus();
	this.begin().catch(function (error) {
		if (error.name === "AbortError")
			self.say("Cancelled. Nothing was saved.", "quiet");
		else
			self.say("It did not work: " + error.message, "error");
	}).finally(function () {
		var hadFocus = document.activeElement === self.cancel;

		clearInterval(self.timer);
		self.cancel.remove();
		self.controller = null;
		self.button.disabled = false;
		if (hadFocus)
			self.button.focus();
	});
};

/* What has been collected of a bundle is worth having: it ends early, and is saved. */
Capture.prototype.stop = function () {
	if (!this.isBundle || !this.isRunning) {
		this.controller.abort();
		return;
	}
	this.say("Ending early: what there is will be saved");
	this.isEnding = true;
	fetch("/debug/bundle/cancel", { method: "POST" }).catch(function () {});
};

Capture.prototype.begin = async function () {
	var url = this.form.action + "?" + new URLSearchParams(new FormData(this.form));
	var reply;

	this.isEnding = false;
	this.isRunning = true;
	this.countDown();
	reply = await fetch(url, { signal: this.controller.signal });
	if (!reply.ok)
		return this.retry(reply);
	return this.save(reply);
};

Capture.prototype.countDown = function () {
	var self = this, end = Date.now() + 1000 * (this.seconds ? parseInt(this.seconds.value, 10) || 30 : 0);

	function tick() {
		var left = Math.ceil((end - Date.now()) / 1000);

		if (self.isEnding)
			return;
		if (self.isBundle)
			self.tellStep();
		else
			self.say(left > 0 ? left + " s left" : "Almost there");
	}
	clearInterval(this.timer);
	tick();
	this.timer = setInterval(tick, 500);
};

Capture.prototype.tellStep = function () {
	var self = this;

	fetch("/debug/bundle/status").then(function (reply) {
		return reply.json();
	}).then(function (status) {
		if (status.active && self.controller && !self.isEnding)
			self.say("Step " + status.step + " of " + status.steps + ": " + status.name + ", " +
				Math.round(status.ms / 1000) + " s so far");
	}).catch(function () {});
};

/* Somebody else's capture is no error: ours begins when it can. */
Capture.prototype.retry = async function (reply) {
	var self = this, text = (await reply.text()).trim();
	var isBusy = BUSY.indexOf(reply.status) >= 0 || /already in use/.test(text);
	var wait = parseInt(reply.headers.get("Retry-After"), 10) || RETRY_S;

	clearInterval(this.timer);
	this.isRunning = false;
	if (!isBusy || this.tries++ >= RETRIES_MAX)
		throw new Error(text || "HTTP " + reply.status);
	this.say("Another capture is running. This one begins after it");
	await new Promise(function (resolve, reject) {
		var timer = setTimeout(resolve, 1000 * Math.min(wait, RETRY_S));

		self.controller.signal.addEventListener("abort", function () {
			clearTimeout(timer);
			reject(new DOMException("", "AbortError"));
		});
	});
	return this.begin();
};

Capture.prototype.save = async function (reply) {
	var match = /filename="([^"]+)"/.exec(reply.headers.get("Content-Disposition") || "");
	var name = match ? match[1] : "capture";
	var blob = await reply.blob();
	var link = make("a");

	link.href = URL.createObjectURL(blob);
	link.download = name;
	link.click();
	setTimeout(function () { URL.revokeObjectURL(link.href); }, 60000);
	clearInterval(this.timer);
	this.line.className = "progress done";
	this.line.replaceChildren("Saved ", make("b", "", name), " (" + size(blob.size) + "). Next: ",
		make("code", "", this.isBundle ? "attach it to your report" : "go tool pprof -http=:8080 " + name));
	if (this.isBundle)
		this.line.lastChild.replaceWith("attach it to your report.");
	this.words = make("span");
};

document.querySelectorAll("form.capture").forEach(function (form) {
	new Capture(form);
});

})();
