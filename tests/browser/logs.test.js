/* The pages of the log and of the doctor in headless Chromium, of a real daemon. */
"use strict";

const { test, before, after } = require("node:test");
const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { chromium } = require("playwright-core");

const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
	"--disable-component-update", "--disable-sync"];

let folder, daemon, browser, origin;

before(async () => {
	folder = fs.mkdtempSync(path.join(os.tmpdir(), "peerscope-logs-"));
	const address = path.join(folder, "node", "debug.addr");
	daemon = spawn(process.env.PEERSCOPE, ["daemon", "--data", path.join(folder, "node"), "--dht", "off", "--lan", "off",
		"--listen", "127.0.0.1:0", "--debug-listen", "127.0.0.1:0"], { stdio: "ignore" });
	for (let i = 0; i < 600 && !fs.existsSync(address); i++)
		await new Promise((resolve) => setTimeout(resolve, 50));
	origin = new URL(fs.readFileSync(address, "utf8").trim()).origin;
	browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ARGS });
});

after(async () => {
	if (browser)
		await browser.close();
	if (daemon) {
		const ended = new Promise((resolve) => daemon.once("exit", resolve));
		daemon.kill();
		await ended;
	}
	fs.rmSync(folder, { recursive: true, force: true });
});

/* A page that fails the test when a script fails or the policy forbids something. */
async function open(where, options) {
	const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
	const page = await context.newPage();

	page.troubles = [];
	page.on("pageerror", (error) => page.troubles.push(error.message));
	page.on("console", (message) => message.type() === "error" && page.troubles.push(message.text()));
	page.on("dialog", (dialog) => {
		page.troubles.push(`dialog: ${dialog.message()}`);
		dialog.dismiss();
	});
	await page.goto(origin + where, { waitUntil: "load" });
	return page;
}

async function close(page) {
	assert.deepEqual(page.troubles, []);
	await page.context().close();
}

function change(part, level) {
	return fetch(`${origin}/debug/logs/level?part=${part}&level=${level}`, { method: "POST" });
}

test("the log is a table, complete without scripts", async () => {
	const page = await open("/debug/logs", { javaScriptEnabled: false });

	assert.match(await page.locator("#log tbody").innerText(), /msg=ready/);
	assert.equal(await page.locator("#logs-live").count(), 0);
	await close(page);
});

test("new lines come by themselves, once each", async () => {
	const page = await open("/debug/logs");

	await page.click("#logs-live");
	assert.equal(await page.getAttribute("#logs-live", "aria-pressed"), "true");
	await change("net", "warn");
	await page.waitForFunction(() => document.querySelector("#log tbody").innerText.includes("part=net level=warn"));
	const count = await page.locator("#log tbody tr").count();
	await page.click("#logs-live");
	await change("net", "info");
	await page.waitForTimeout(600);
	assert.equal(await page.locator("#log tbody tr").count(), count);
	await page.click("#logs-live");
	await page.waitForFunction((n) => document.querySelectorAll("#log tbody tr").length === n + 1, count);
	await close(page);
});

test("a button sets the level of a part and says when it goes back", async () => {
	const page = await open("/debug/logs");

	await page.click("summary");
	await page.click("form[action*='part=store&level=debug'] button");
	await page.click("summary");
	assert.match(await page.locator("tr", { hasText: "store" }).first().innerText(), /back to info in \d+ s/);
	assert.equal(await page.isDisabled("form[action*='part=store&level=debug'] button"), true);
	await change("store", "info");
	await close(page);
});

test("the filter narrows it and keeps what was typed", async () => {
	const page = await open("/debug/logs");

	await page.fill("input[name=q]", "\"><img src=x onerror=alert(1)>");
	await page.click("form.filter button[type=submit]");
	assert.equal(await page.locator("#log tbody tr").count(), 0);
	assert.equal(await page.inputValue("input[name=q]"), "\"><img src=x onerror=alert(1)>");
	assert.equal(await page.locator("img").count(), 0);
	await close(page);
});

test("the doctor says something, and the pages fit a small screen in the dark", async () => {
	for (const where of ["/debug/doctor", "/debug/logs", "/debug/sys", "/debug/config", "/debug/buildinfo"]) {
		const page = await open(where, { viewport: { width: 400, height: 800 }, colorScheme: "dark" });

		assert.ok((await page.locator("h1").innerText()).length > 0);
		assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth + 1), where);
		if (process.env.SCREENSHOTS)
			await page.screenshot({ path: path.join(process.env.SCREENSHOTS, `${path.basename(where)}-dark-400.png`) });
		await close(page);
	}
	const page = await open("/debug/doctor");

	assert.ok(await page.locator("ul.doctor li").count() >= 1);
	if (process.env.SCREENSHOTS)
		await page.screenshot({ path: path.join(process.env.SCREENSHOTS, "doctor.png") });
	await close(page);
});
